//! Runs a fuzz target: under libFuzzer where `cargo xtask fuzz` built it, else over files, which needs nothing but
//! the compiler and is how a finding is looked into.
#![cfg_attr(fuzzing, no_main)]

#[cfg(fuzzing)]
mod under_libfuzzer {
    use std::sync::LazyLock;

    // libFuzzer reads the command line itself, so the target's name comes through the environment.
    static TARGET: LazyLock<fn(&[u8])> = LazyLock::new(|| {
        let name = std::env::var("INBAND_FUZZ_TARGET").unwrap_or_default();
        inband_fuzz::target(&name).unwrap_or_else(|| panic!("INBAND_FUZZ_TARGET names no target: {name:?}"))
    });

    libfuzzer_sys::fuzz_target!(|input: &[u8]| TARGET(input));
}

#[cfg(not(fuzzing))]
fn main() -> std::process::ExitCode {
    use std::process::ExitCode;

    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["--list"] => {
            for (name, _) in inband_fuzz::TARGETS {
                println!("{name}");
            }
            ExitCode::SUCCESS
        }
        [name, files @ ..] if !files.is_empty() => {
            let Some(target) = inband_fuzz::target(name) else {
                eprintln!("there is no target {name}: see --list");
                return ExitCode::FAILURE;
            };
            for file in files {
                match std::fs::read(file) {
                    Ok(input) => target(&input),
                    Err(e) => {
                        eprintln!("cannot read {file}: {e}");
                        return ExitCode::FAILURE;
                    }
                }
                println!("{file}: ok");
            }
            ExitCode::SUCCESS
        }
        _ => {
            eprintln!("usage: inband-fuzz --list | inband-fuzz TARGET FILE...");
            ExitCode::FAILURE
        }
    }
}
