//! What sandboxes wrote down, on a machine where that can be read: all of it has to come into the log.

use std::fs;
use std::path::Path;

use serde::Deserialize;
use serde_json::Value;

/// Every entry begins like this; what frames it is the journal's own business.
const BEGINNING: &[u8] = br#"{"entry":"#;

/// The events in all journals of a session: their ids and their types.
pub(crate) fn events(workspace: &Path) -> Vec<(String, String)> {
    let files = fs::read_dir(workspace.join("journal")).into_iter().flatten().flatten();
    files.flat_map(|file| entries(&fs::read(file.path()).unwrap_or_default())).collect()
}

fn entries(bytes: &[u8]) -> Vec<(String, String)> {
    let starts = bytes.windows(BEGINNING.len()).enumerate();
    let starts = starts.filter(|(_, window)| *window == BEGINNING).map(|(start, _)| start);
    starts.filter_map(|start| event(bytes.get(start..)?)).collect()
}

/// The event at the beginning of these bytes. An entry that was not written to its end is none.
fn event(bytes: &[u8]) -> Option<(String, String)> {
    let entry = Value::deserialize(&mut serde_json::Deserializer::from_slice(bytes)).ok()?;
    let word = |value: &Value| value.as_str().map(str::to_owned);
    Some((word(&entry["id"])?, word(&entry["body"]["type"])?)).filter(|_| entry["entry"] == "event")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_entries_are_found_between_whatever_frames_them() {
        let journal = br#"..{"entry":"turn_started","turn_id":"t"}\xff{"entry":"event","id":"e1","body":{"type":"agent.message"}}xx{"entry":"event","id":"e2","bo"#;
        assert_eq!(entries(journal), [("e1".to_owned(), "agent.message".to_owned())]);
    }
}
