//! Texts that are no bodies of HTTP, such as the messages of a WebSocket: values are taken out of those that come back, and those that
//! leave are watched.

use bytes::Bytes;

use super::inject::{Injected, Place};
use super::misuse::Misuse;
use super::scrub::Placeholders;
use super::search::Found;
use super::stream::{Replace, Replacer};

/// Puts placeholders in the place of values, wherever the text is cut.
pub struct Scrubber(Replacer<Placeholders>);

impl Scrubber {
    pub(super) fn new(placeholders: Placeholders) -> Self {
        let search = placeholders.search.clone();
        Self(Replacer::new(search, placeholders))
    }

    /// The next piece of a text, as far as it is decided.
    pub fn push(&mut self, piece: Bytes) -> Bytes {
        // A placeholder is never missing; if it were, nothing would be better than what was not searched.
        self.0.push(piece).unwrap_or_default()
    }

    /// The rest of the text. What is pushed next belongs to another one.
    pub fn finish(&mut self) -> Bytes {
        self.0.finish().unwrap_or_default()
    }
}

/// Finds placeholders and planted values where nothing is ever put in.
pub struct Watcher(Replacer<Nothing>);

impl Watcher {
    pub(super) fn new(injected: &Injected) -> Self {
        let found_at = |tag| injected.value_for(tag, Place::Path).err();
        let named = (0..injected.placeholders()).map(found_at).collect();
        let others = injected.clone();
        Self(Replacer::new(injected.outgoing().clone(), Nothing { named, others }))
    }

    /// Looks at the next piece of a text.
    pub fn push(&mut self, piece: Bytes) -> Result<(), Misuse> {
        self.0.push(piece).map(drop)
    }

    /// Looks at the rest of the text. What is pushed next belongs to another one.
    pub fn finish(&mut self) -> Result<(), Misuse> {
        self.0.finish().map(drop)
    }
}

/// What is said of each placeholder, and of everything else.
struct Nothing {
    named: Vec<Option<Misuse>>,
    others: Injected,
}

impl Replace for Nothing {
    fn replacement(&self, found: Found) -> Result<&[u8], Misuse> {
        let named = self.named.get(found.tag).cloned().flatten();
        Err(named.unwrap_or_else(|| self.others.misuse_of(found.tag)))
    }
}
