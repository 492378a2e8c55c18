//! Runs one target under libFuzzer: `FUZZ_TARGET=name guided CORPUS… -max_total_time=60`. `scripts/fuzz` builds and calls it.

#![no_main]

use std::sync::OnceLock;

use fuzz::{TARGETS, Target};
use libfuzzer_sys::fuzz_target;

static CHOSEN: OnceLock<Target> = OnceLock::new();

fn chosen() -> Target {
    #[expect(clippy::disallowed_methods, reason = "libFuzzer takes the arguments for itself")]
    let name = std::env::var("FUZZ_TARGET").unwrap_or_default();
    let Some(target) = Target::named(&name) else {
        let names: Vec<&str> = TARGETS.iter().map(|target| target.name).collect();
        eprintln!("FUZZ_TARGET is one of {}", names.join(", "));
        std::process::exit(2);
    };
    target
}

fuzz_target!(|input: &[u8]| (CHOSEN.get_or_init(chosen).check)(input));
