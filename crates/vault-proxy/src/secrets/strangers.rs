//! Placeholders of this installation that are of no use to the session: known by their marks, without a lookup.

use std::fmt;
use std::sync::Arc;

use aho_corasick::{AhoCorasick, MatchKind};
use platform_core::id::SessionId;
use platform_sealing::{EncryptionKeys, Marks};

use super::search::Found;
use super::shape::Shape;

/// The tag of a placeholder that was made for another session.
pub const FOREIGN: usize = usize::MAX - 1;
/// The tag of one that was made for a session from which this one was forked: it came with that one's files.
pub const INHERITED: usize = usize::MAX - 2;

/// Knows every placeholder of this installation that has a mark.
pub struct Recogniser {
    marks: Marks,
    /// The beginnings of `shapes`.
    beginnings: Option<AhoCorasick>,
    shapes: Vec<Shape>,
}

/// What a session must not send, beside misplaced values of its own.
#[derive(Clone)]
pub struct Strangers {
    pub recogniser: Arc<Recogniser>,
    pub session: SessionId,
    /// From which it was forked, and those from which they were.
    pub ancestors: Vec<SessionId>,
}

impl Recogniser {
    pub fn new(keys: &EncryptionKeys) -> Self {
        let shapes: Vec<Shape> = Shape::marked().collect();
        // It fails only for millions of letters.
        // Of this kind it looks at many bytes at once; where one begins is the same.
        let beginnings = AhoCorasick::builder()
            .match_kind(MatchKind::LeftmostFirst)
            .build(shapes.iter().map(|shape| shape.prefix()))
            .ok();
        Self { marks: Marks::new(keys), beginnings, shapes }
    }

    /// The first place from `from` on where a placeholder of this installation stands.
    fn find(&self, text: &[u8], from: usize) -> Option<(usize, usize)> {
        let mut from = from;
        loop {
            let start = from + self.beginnings.as_ref()?.find(text.get(from..)?)?.start();
            let rest = text.get(start..)?;
            // One beginning may be that of another: `sk-` of `sk-proj-`.
            let mut known = self.shapes.iter().filter_map(|shape| shape.at_start_of(rest));
            if let Some(known) = known.find(|known| self.marks.know(known)) {
                return Some((start, start + known.len()));
            }
            from = start + 1;
        }
    }
}

impl Strangers {
    /// The first one that begins at `from` or later.
    pub fn find(&self, text: &[u8], from: usize) -> Option<Found> {
        let mut from = from;
        loop {
            let (start, end) = self.recogniser.find(text, from)?;
            let known = text.get(start..end)?;
            let is_for = |session: &SessionId| self.recogniser.marks.are_for(*session, known);
            if self.ancestors.iter().any(is_for) {
                return Some(Found { start, end, tag: INHERITED });
            }
            if !is_for(&self.session) {
                return Some(Found { start, end, tag: FOREIGN });
            }
            // Its own, of a secret that was taken away meanwhile: a text like any other.
            from = end;
        }
    }

    /// The longest one's length.
    pub fn longest(&self) -> usize {
        self.recogniser.shapes.iter().map(|shape| shape.length()).max().unwrap_or(0)
    }
}

impl fmt::Debug for Strangers {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Strangers").field("session", &self.session).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use secrecy::SecretString;
    use uuid::Uuid;

    use super::*;

    fn session(number: u128) -> SessionId {
        SessionId::from_uuid(Uuid::from_u128(number))
    }

    #[test]
    fn another_session_s_placeholder_is_known_wherever_it_stands() {
        let keys = EncryptionKeys::new(&SecretString::from("a key of enough characters"), &[]);
        let keys = keys.unwrap();
        let strangers = Strangers {
            recogniser: Arc::new(Recogniser::new(&keys)),
            session: session(1),
            ancestors: vec![session(2)],
        };
        let placeholder = |of, name: &str, value: &str| {
            Shape::of(name, value.as_bytes()).placeholder(keys.current(), session(of), name)
        };
        let tag = |text: &str| strangers.find(text.as_bytes(), 0).map(|found| found.tag);
        for (name, value) in [
            ("GITHUB_TOKEN", ""),
            ("MY_OWN", "sk-ant-api03-x"),
            ("MY_OWN", "sk-x"),
            ("MY_OWN", "sk-proj-x"),
            ("MY_OWN", "SG.x"),
            ("MY_OWN", "hunter2"),
        ] {
            let [own, inherited, foreign] = [1, 2, 3].map(|of| placeholder(of, name, value));
            let around = |text: &str| format!("sk-sk-ghp_ghp_a{text}bghp_");
            assert_eq!(tag(&around(&own)), None, "{own}");
            assert_eq!(tag(&around(&inherited)), Some(INHERITED), "{inherited}");
            assert_eq!(tag(&around(&foreign)), Some(FOREIGN), "{foreign}");
            assert_eq!(tag(&format!("{own}{foreign}")), Some(FOREIGN), "{foreign}");
            let (begun, _) = foreign.split_at(foreign.len() - 1);
            assert_eq!(tag(begun), None, "{begun}");
            assert_eq!(tag(&format!("{begun}-")), None, "{begun}");
            assert!(foreign.len() <= strangers.longest());
        }
        // There is no room for a mark in this one.
        assert_eq!(tag(&placeholder(3, "GITLAB_TOKEN", "")), None);
    }
}
