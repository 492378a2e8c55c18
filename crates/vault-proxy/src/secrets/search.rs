//! Finds any of many byte strings in a stream.
//!
//! Wu and Manber's algorithm, written here because what is searched for are secrets: their only copy is zeroed when it is dropped.

use std::collections::BTreeMap;
use std::fmt;

use zeroize::Zeroizing;

use super::strangers::Strangers;

/// Shorter ones would be found everywhere.
pub const SHORTEST: usize = 4;
const LONGEST_SHIFT: usize = 255;
const PAIRS: usize = 1 << 16;

/// What is searched for. `Debug` shows how many there are.
pub struct Search {
    needles: Vec<Needle>,
    /// The part at the beginning of every needle by which it is found.
    window: usize,
    /// How far the window may move when it ends in a pair of bytes.
    shift: Vec<u8>,
    by_pair: BTreeMap<u16, Vec<usize>>,
    longest_graphic: usize,
    /// What is found beside the needles.
    strangers: Option<Strangers>,
}

struct Needle {
    bytes: Zeroizing<Vec<u8>>,
    tag: usize,
    /// Whether it has no white space and nothing but ASCII.
    is_graphic: bool,
}

/// One of the needles, and where it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Found {
    pub start: usize,
    pub end: usize,
    pub tag: usize,
}

impl fmt::Debug for Search {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let needles = self.needles.len();
        formatter.debug_struct("Search").field("needles", &needles).finish_non_exhaustive()
    }
}

impl Search {
    /// Each needle with what it is called when it is found. Those that are too short are left out, and so are repeats.
    pub fn new(needles: impl IntoIterator<Item = (Zeroizing<Vec<u8>>, usize)>) -> Self {
        let mut kept: Vec<Needle> = Vec::new();
        for (bytes, tag) in needles {
            if bytes.len() >= SHORTEST && !kept.iter().any(|needle| needle.bytes == bytes) {
                let is_graphic = bytes.iter().all(u8::is_ascii_graphic);
                kept.push(Needle { bytes, tag, is_graphic });
            }
        }
        let shortest = kept.iter().map(|needle| needle.bytes.len()).min().unwrap_or(SHORTEST);
        let window = shortest.min(LONGEST_SHIFT);
        let farthest = u8::try_from(window - 1).unwrap_or(u8::MAX);
        let mut shift = vec![farthest; PAIRS];
        let mut by_pair: BTreeMap<u16, Vec<usize>> = BTreeMap::new();
        for (index, needle) in kept.iter().enumerate() {
            let beginning = needle.bytes.get(..window).unwrap_or_default();
            for (end, pair) in (2_usize..).zip(beginning.windows(2).filter_map(pair_of)) {
                let distance = u8::try_from(window - end).unwrap_or(u8::MAX);
                if let Some(known) = shift.get_mut(usize::from(pair)) {
                    *known = distance.min(*known);
                }
                if end == window {
                    by_pair.entry(pair).or_default().push(index);
                }
            }
        }
        let graphic = kept.iter().filter(|needle| needle.is_graphic);
        let longest_graphic = graphic.map(|needle| needle.bytes.len()).max().unwrap_or(0);
        Self { needles: kept, window, shift, by_pair, longest_graphic, strangers: None }
    }

    /// Finds placeholders of other sessions as well.
    #[must_use]
    pub fn with_strangers(self, strangers: Strangers) -> Self {
        // They have no white space, as the needles that count there.
        let longest_graphic = self.longest_graphic.max(strangers.longest());
        Self { strangers: Some(strangers), longest_graphic, ..self }
    }

    pub fn is_empty(&self) -> bool {
        self.needles.is_empty() && self.strangers.is_none()
    }

    /// The first needle that begins at `from` or later, and of those that begin there the longest; or a placeholder of another session that
    /// comes before.
    pub fn find(&self, text: &[u8], from: usize) -> Option<Found> {
        let needle = self.find_needle(text, from);
        let Some(strangers) = &self.strangers else { return needle };
        let before = needle.map_or(text, |needle| text.get(..needle.start).unwrap_or(text));
        strangers.find(before, from).or(needle)
    }

    fn find_needle(&self, text: &[u8], from: usize) -> Option<Found> {
        if self.needles.is_empty() {
            return None;
        }
        let mut end = from + self.window;
        while let Some(pair) = text.get(end - 2..end).and_then(pair_of) {
            match self.shift.get(usize::from(pair)) {
                Some(0) | None => {
                    let start = end - self.window;
                    if let Some(found) = self.longest_at(text, start, pair) {
                        return Some(found);
                    }
                    end += 1;
                }
                Some(distance) => end += usize::from(*distance),
            }
        }
        None
    }

    fn longest_at(&self, text: &[u8], start: usize, pair: u16) -> Option<Found> {
        let rest = text.get(start..)?;
        let candidates =
            self.by_pair.get(&pair)?.iter().filter_map(|index| self.needles.get(*index));
        let longest = candidates
            .filter(|needle| rest.starts_with(&needle.bytes))
            .max_by_key(|needle| needle.bytes.len())?;
        Some(Found { start, end: start + longest.bytes.len(), tag: longest.tag })
    }

    /// From where on the text may belong to a needle of which more is to come.
    ///
    /// For needles without white space that is the whole last word, whatever it is: how long something is held back must not tell
    /// whether it is the beginning of a secret.
    pub fn undecided_from(&self, text: &[u8]) -> usize {
        let ending = text.iter().rev().take(self.longest_graphic.saturating_sub(1));
        let word = ending.take_while(|byte| byte.is_ascii_graphic()).count();
        let others = self.needles.iter().filter(|needle| !needle.is_graphic);
        let longest = others.map(|needle| longest_beginning(&needle.bytes, text)).max();
        text.len() - word.max(longest.unwrap_or(0))
    }
}

/// The length of the longest end of `text` that is a beginning of `needle`.
fn longest_beginning(needle: &[u8], text: &[u8]) -> usize {
    let most = text.len().min(needle.len() - 1);
    let is_beginning = |length: &usize| text.ends_with(needle.get(..*length).unwrap_or_default());
    (1..=most).rev().find(is_beginning).unwrap_or(0)
}

fn pair_of(bytes: &[u8]) -> Option<u16> {
    bytes.first_chunk::<2>().map(|pair| u16::from_be_bytes(*pair))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn search(needles: &[&str]) -> Search {
        let needles = needles.iter().enumerate();
        Search::new(needles.map(|(tag, text)| (Zeroizing::new(text.as_bytes().to_vec()), tag)))
    }

    fn found(needles: &[&str], text: &str) -> Vec<(usize, usize)> {
        let search = search(needles);
        let mut from = 0;
        let next = || {
            let found = search.find(text.as_bytes(), from)?;
            from = found.end;
            Some((found.start, found.tag))
        };
        std::iter::from_fn(next).collect()
    }

    #[test]
    fn every_needle_is_found_wherever_it_stands() {
        assert_eq!(found(&["abcd", "xyzw1"], "abcd..xyzw1abcdxyzw"), [(0, 0), (6, 1), (11, 0)]);
        assert_eq!(found(&["aaaa"], "aaaaaaaaa"), [(0, 0), (4, 0)]);
        assert_eq!(found(&["abcd"], "abc"), []);
        assert_eq!(found(&[], "abc"), []);
    }

    #[test]
    fn of_needles_within_each_other_the_first_and_longest_is_found() {
        assert_eq!(found(&["abcd", "abcdef", "cdefg"], "abcdefg"), [(0, 1)]);
    }

    #[test]
    fn a_last_word_is_held_back_whatever_it_is() {
        let search = search(&["secret-value"]);
        assert_eq!(search.undecided_from(b"data: word"), 6);
        assert_eq!(search.undecided_from(b"data: secr"), 6);
        assert_eq!(search.undecided_from(b"data: x\n\n"), 9);
        assert_eq!(search.undecided_from(b"0123456789abcdefg"), 6);
    }

    #[test]
    fn nothing_of_a_needle_is_printed() {
        assert_eq!(format!("{:?}", search(&["secret-value"])), "Search { needles: 1, .. }");
    }
}
