//! Programs that are run to their end.

use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::failure::NodeError;

/// How often a state that nothing announces is looked at.
const INTERVAL: Duration = Duration::from_millis(100);

/// Runs a command and gives what it wrote to its standard output; when it fails, all that it wrote is the error.
pub(crate) fn run(command: &mut Command) -> Result<String, NodeError> {
    let shown = shown(command);
    let output = command.stdin(Stdio::null()).output();
    let output = output.map_err(|error| NodeError::Command {
        command: shown.clone(),
        output: error.to_string(),
    })?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() {
        return Ok(text);
    }
    let output = format!("{text}{}", String::from_utf8_lossy(&output.stderr));
    Err(NodeError::Command { command: shown, output })
}

/// Asks `is_so` again until it answers yes, and fails with its last answer when it never does.
pub(crate) fn wait_until(
    what: &str,
    patience: Duration,
    mut is_so: impl FnMut() -> Result<(), String>,
) -> Result<(), NodeError> {
    let deadline = Instant::now() + patience;
    loop {
        let last = match is_so() {
            Ok(()) => return Ok(()),
            Err(last) => last,
        };
        if Instant::now() > deadline {
            return Err(NodeError::NotSo { what: what.to_owned(), patience, last });
        }
        thread::sleep(INTERVAL);
    }
}

/// Where a program lies: in `PATH`, or where Debian keeps programs of the administrator.
pub(crate) fn find(program: &str) -> Option<std::path::PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/sbin".into()]);
    folders.map(|folder| folder.join(program)).find(|candidate| Path::is_file(candidate))
}

fn shown(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_failing_command_wrote_is_told() {
        let failed = run(Command::new("sh").args(["-c", "echo out; echo err >&2; exit 3"]));
        let Err(NodeError::Command { output, .. }) = failed else { panic!("{failed:?}") };
        assert_eq!(output, "out\nerr\n");
    }

    #[test]
    fn what_never_comes_about_is_told_with_what_was_seen_last() {
        let mut seen = 0;
        let failed = wait_until("three", Duration::from_millis(1), || {
            seen += 1;
            Err(format!("seen {seen}"))
        });
        let Err(NodeError::NotSo { last, .. }) = failed else { panic!("{failed:?}") };
        assert_eq!(last, format!("seen {seen}"));
    }
}
