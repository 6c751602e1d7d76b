//! Every committed input runs through its target with the stable compiler, in each test run.

use std::fs;
use std::path::PathBuf;

use inband_fuzz::TARGETS;

fn corpus() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("corpus")
}

#[test]
fn every_target_runs_over_its_corpus() {
    assert!(!TARGETS.is_empty());
    for (name, run) in TARGETS {
        let folder = corpus().join(name);
        let mut inputs = 0;
        for entry in fs::read_dir(&folder).unwrap_or_else(|e| panic!("{name} has no corpus: {e}")) {
            let file = entry.unwrap().path();
            // Shown if the target panics: the input to look into.
            println!("{}", file.display());
            run(&fs::read(file).unwrap());
            inputs += 1;
        }
        assert!(inputs > 0, "the corpus of {name} is empty");
    }
}

#[test]
fn every_corpus_belongs_to_a_target() {
    for entry in fs::read_dir(corpus()).unwrap() {
        let name = entry.unwrap().file_name();
        assert!(TARGETS.iter().any(|(known, _)| name == *known), "no target is named {}", name.display());
    }
}
