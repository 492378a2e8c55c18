//! A short drill with a fixed seed, as `scripts/drill` would run it.

use std::process::{Command, Stdio};

/// It has a stack of its own and takes about two minutes: more than a minute of blows, then time for the last turns to end.
#[test]
fn conversations_survive_while_everything_around_them_is_broken() {
    let drill = Command::new(env!("CARGO_BIN_EXE_drill"))
        .args(["--seed", "20", "--duration", "75s", "--sessions", "3", "--settle", "60s"])
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let (said, told) =
        (String::from_utf8_lossy(&drill.stdout), String::from_utf8_lossy(&drill.stderr));
    assert!(drill.status.success(), "{told}\n{said}");
    let summary = said.lines().find(|line| line.starts_with("lost=0 duplicated=0")).unwrap();
    let turns = summary.split_whitespace().find_map(|word| word.strip_prefix("turns=")).unwrap();
    assert!(turns.parse::<u32>().unwrap() > 10, "hardly anything was asked: {summary}");
}
