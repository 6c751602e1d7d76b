//! The scenarios, one after the other.

use std::{env, fs, time::Instant};

use crate::{
    chapter9, dfu, loops, own, sweep,
    target::{Outcome, Target},
};

/// A scenario by itself. Whatever it leaves behind, the next session has to work.
pub(crate) type Scenario = fn(&mut Target) -> Outcome;

struct Arguments {
    package: Vec<u8>,
    bus_reset: bool,
    loops: Option<(u64, String)>,
    seed: u64,
    sweep: Option<sweep::Pairs>,
    names: Vec<String>,
}

fn arguments() -> Outcome<Arguments> {
    let (mut package, mut bus_reset, mut names) = (None, true, Vec::new());
    let (mut rounds, mut udc, mut seed, mut sweep) = (None, None, None, None);
    let mut words = env::args().skip(1);
    while let Some(word) = words.next() {
        match word.as_str() {
            "--package" => package = words.next(),
            "--rounds" => rounds = words.next(),
            "--udc" => udc = words.next(),
            "--seed" => seed = words.next(),
            "--sweep" => {
                let pairs = words.next().as_deref().and_then(sweep::Pairs::named);
                sweep = Some(pairs.ok_or("--sweep quarter|all")?);
            }
            "--no-bus-reset" => bus_reset = false,
            _ => names.push(word),
        }
    }
    let file = package.ok_or("--package FILE: which package does the device take?")?;
    let package = fs::read(&file).map_err(|e| format!("{file}: {e}"))?;
    let number = |text: String| text.parse::<u64>().map_err(|_| format!("{text} is no number"));
    let seed = seed.map_or(Ok(0), number)?;
    let loops = match (rounds, udc) {
        (Some(rounds), Some(udc)) => Some((number(rounds)?, udc)),
        (None, None) => None,
        _ => return Err("--rounds and --udc go together".into()),
    };
    Ok(Arguments { package, bus_reset, loops, seed, sweep, names })
}

/// Runs every scenario, or those that the command line names; or the loops. Whether all passed.
pub(crate) fn run() -> Outcome<bool> {
    let Arguments { package, bus_reset, loops, seed, sweep, names } = arguments()?;
    if let Some(pairs) = sweep {
        return Ok(told("sweep", || sweep::run(pairs)));
    }
    let mut target = Target::new(package, bus_reset)?;
    if let Some((rounds, udc)) = loops {
        let detached = one(&mut target, "detach-attach-loops", |target| loops::detach_attach(target, rounds));
        return Ok(
            one(&mut target, "unplug-loops", |target| loops::unplug(target, rounds, seed, udc)) && detached
        );
    }
    let mut scenarios = [dfu::SCENARIOS, chapter9::SCENARIOS, own::SCENARIOS].concat();
    if bus_reset {
        scenarios.extend(own::BUS_RESETS);
    }
    let unknown = |name: &&String| !scenarios.iter().any(|(known, _)| known == name);
    if let Some(name) = names.iter().find(unknown) {
        return Err(format!("there is no scenario {name}"));
    }
    let mut passed = true;
    for (name, scenario) in scenarios {
        if names.is_empty() || names.iter().any(|wanted| wanted == name) {
            passed &= one(&mut target, name, scenario);
        }
    }
    Ok(passed)
}

/// Runs one, and looks whether the next session works; whether both passed.
fn one(target: &mut Target, name: &str, scenario: impl FnOnce(&mut Target) -> Outcome) -> bool {
    let works = |target: &mut Target| target.works().map_err(|why| format!("the next session: {why}"));
    let passed = told(name, || scenario(target).and_then(|()| works(target)));
    if !passed {
        // Whatever it was, the others are to find a device as the first one did.
        target.close();
    }
    passed
}

/// Runs something, and tells what came of it; whether it passed.
fn told(name: &str, act: impl FnOnce() -> Outcome) -> bool {
    let start = Instant::now();
    let result = act();
    match &result {
        Ok(()) => println!("ok {name} {} ms", start.elapsed().as_millis()),
        Err(why) => println!("failed {name} {}", why.replace('\n', " ")),
    }
    result.is_ok()
}
