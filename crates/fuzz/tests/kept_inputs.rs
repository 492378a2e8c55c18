//! Every target holds for the inputs that are kept for it, and for variations of them.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use fuzz::mutation::Mutator;
use fuzz::{TARGETS, Target};
use libtest_mimic::{Arguments, Failed, Trial};

/// For each target. Longer searches are for `scripts/fuzz`.
const VARIED_FOR: Duration = Duration::from_secs(1);

fn main() -> ExitCode {
    let trials = TARGETS.iter().map(|target| Trial::test(target.name, || hold(target))).collect();
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

fn hold(target: &'static Target) -> Result<(), Failed> {
    let seeds = target.seeds()?;
    if seeds.is_empty() {
        return Err("no inputs are kept for it".into());
    }
    for seed in &seeds {
        check(target, seed)?;
    }
    let mut mutator = Mutator::new(rand::random(), target.words);
    let begun = Instant::now();
    while begun.elapsed() < VARIED_FOR {
        check(target, &mutator.vary(&seeds))?;
    }
    Ok(())
}

fn check(target: &Target, input: &[u8]) -> Result<(), Failed> {
    let checked = catch_unwind(AssertUnwindSafe(|| (target.check)(input)));
    checked.map_err(|_panic| {
        let shown = input.escape_ascii();
        Failed::from(format!(
            "does not hold for b\"{shown}\"; keep it as a file in seeds/{}",
            target.name
        ))
    })
}
