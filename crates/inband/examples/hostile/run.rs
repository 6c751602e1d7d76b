//! The scenarios, one after the other.

use std::{env, fs, time::Instant};

use crate::{
    chapter9, dfu, own,
    target::{Outcome, Target},
};

/// A scenario by itself. Whatever it leaves behind, the next session has to work.
pub(crate) type Scenario = fn(&mut Target) -> Outcome;

struct Arguments {
    package: Vec<u8>,
    bus_reset: bool,
    names: Vec<String>,
}

fn arguments() -> Outcome<Arguments> {
    let (mut package, mut bus_reset, mut names) = (None, true, Vec::new());
    let mut words = env::args().skip(1);
    while let Some(word) = words.next() {
        match word.as_str() {
            "--package" => package = words.next(),
            "--no-bus-reset" => bus_reset = false,
            _ => names.push(word),
        }
    }
    let file = package.ok_or("--package FILE: which package does the device take?")?;
    let package = fs::read(&file).map_err(|e| format!("{file}: {e}"))?;
    Ok(Arguments { package, bus_reset, names })
}

/// Runs every scenario, or those that the command line names; whether all passed.
pub(crate) fn run() -> Outcome<bool> {
    let Arguments { package, bus_reset, names } = arguments()?;
    let mut scenarios = [dfu::SCENARIOS, chapter9::SCENARIOS, own::SCENARIOS].concat();
    if bus_reset {
        scenarios.extend(own::BUS_RESETS);
    }
    let unknown = |name: &&String| !scenarios.iter().any(|(known, _)| known == name);
    if let Some(name) = names.iter().find(unknown) {
        return Err(format!("there is no scenario {name}"));
    }
    let mut target = Target::new(package, bus_reset)?;
    let mut passed = true;
    for (name, scenario) in scenarios {
        if !names.is_empty() && !names.iter().any(|wanted| wanted == name) {
            continue;
        }
        let start = Instant::now();
        let result = scenario(&mut target)
            .and_then(|()| target.works().map_err(|why| format!("the next session: {why}")));
        match result {
            Ok(()) => println!("ok {name} {} ms", start.elapsed().as_millis()),
            Err(why) => {
                passed = false;
                println!("failed {name} {}", why.replace('\n', " "));
                // Whatever it was, the others are to find a device as the first one did.
                target.close();
            }
        }
    }
    Ok(passed)
}
