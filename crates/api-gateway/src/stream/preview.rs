//! Previews in an order that clients can follow: a start before its deltas, no holes, one at a time, and never after the event itself.

use std::collections::VecDeque;

use bytes::Bytes;
use platform_core::id::EventId;
use platform_messaging::proto::event::Preview;
use uuid::Uuid;

use super::frame::{self, EventFrame};

/// Finished events are remembered this long, so that a preview that arrives late is recognised.
const REMEMBERED: usize = 64;
/// A preview longer than this is not kept up; its event will bring the whole.
const LONGEST: usize = 1024 * 1024;

/// The types of events that have previews.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PreviewKind {
    Message,
    Thinking,
}

impl PreviewKind {
    pub fn from_word(word: &str) -> Option<Self> {
        match word {
            "agent.message" => Some(Self::Message),
            "agent.thinking" => Some(Self::Thinking),
            _ => None,
        }
    }

    pub fn as_word(self) -> &'static str {
        match self {
            Self::Message => "agent.message",
            Self::Thinking => "agent.thinking",
        }
    }
}

/// A piece of a preview, as it comes from a sandbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    id: EventId,
    kind: PreviewKind,
    epoch: u64,
    /// Absent in the part that announces the event.
    text: Option<String>,
    /// Bytes of text that went before.
    offset: usize,
}

impl Part {
    /// `None` for a message that is not understood: previews are best effort.
    pub fn from_message(preview: Preview) -> Option<Self> {
        Some(Self {
            id: EventId::from_uuid(Uuid::try_parse(&preview.event_id).ok()?),
            kind: PreviewKind::from_word(&preview.event_type)?,
            epoch: preview.epoch,
            text: preview.text,
            offset: usize::try_from(preview.offset).ok()?,
        })
    }

    /// Bytes of its text.
    pub fn length(&self) -> usize {
        self.text.as_ref().map_or(0, String::len)
    }
}

/// A preview so far.
#[derive(Debug, Clone)]
struct Partial {
    id: EventId,
    kind: PreviewKind,
    epoch: u64,
    /// From the beginning, without holes.
    text: String,
}

impl Partial {
    /// Begins with this part, unless its beginning was missed.
    fn begin(part: &Part) -> Option<Self> {
        if part.text.is_some() && part.offset > 0 {
            return None;
        }
        let text = part.text.clone().unwrap_or_default();
        Some(Self { id: part.id, kind: part.kind, epoch: part.epoch, text })
    }

    /// Takes more text; answers what is new in it. Nothing, when something before it was missed: sandboxes repeat the whole text
    /// from time to time, and that closes the hole.
    fn extend<'part>(&mut self, part: &'part Part) -> Option<&'part str> {
        let text = part.text.as_deref()?;
        let known = self.text.get(part.offset..)?;
        let new = text.strip_prefix(known).filter(|new| !new.is_empty())?;
        if self.text.len() + new.len() > LONGEST {
            return None;
        }
        self.text.push_str(new);
        Some(new)
    }

    fn frames(&self) -> impl Iterator<Item = Bytes> {
        let shows_text = self.kind == PreviewKind::Message && !self.text.is_empty();
        let text = shows_text.then(|| frame::event_delta(self.id, &self.text));
        std::iter::once(frame::event_start(self.kind, self.id)).chain(text)
    }
}

/// The previews of one session, as one reader sees them.
///
/// The next preview begins while the event of the one before is still being committed; it is held back until then, because
/// clients keep only one and do not look whose a delta is.
#[derive(Debug, Clone, Default)]
pub struct Previews {
    wanted: Vec<PreviewKind>,
    open: Option<Partial>,
    waiting: Option<Partial>,
    finished: VecDeque<EventId>,
}

impl Previews {
    pub fn wanting(wanted: Vec<PreviewKind>) -> Self {
        Self { wanted, ..Self::default() }
    }

    /// For a reader who joins in the middle: what is open now, of the kinds that it wants.
    pub fn join(&self, wanted: Vec<PreviewKind>) -> Self {
        let partials = self.open.iter().chain(&self.waiting);
        let mut partials = partials.filter(|partial| wanted.contains(&partial.kind)).cloned();
        let (open, waiting) = (partials.next(), partials.next());
        Self { open, waiting, finished: self.finished.clone(), wanted }
    }

    /// What brings a reader who has seen nothing yet up to date.
    pub fn so_far(&self) -> Vec<Bytes> {
        self.open.iter().flat_map(Partial::frames).collect()
    }

    /// Takes a part; answers what the reader is to see of it.
    pub fn take(&mut self, part: &Part) -> Vec<Bytes> {
        if !self.wanted.contains(&part.kind) || self.finished.contains(&part.id) {
            return Vec::new();
        }
        match &mut self.open {
            Some(open) if open.id == part.id => {
                let new = open.extend(part);
                let shown = new.filter(|_| part.kind == PreviewKind::Message);
                shown.map(|text| frame::event_delta(part.id, text)).into_iter().collect()
            }
            // What an earlier sandbox began is not finished by a later one.
            Some(open) if open.epoch >= part.epoch => {
                self.hold_back(part);
                Vec::new()
            }
            Some(_) | None => {
                self.waiting = None;
                self.open = Partial::begin(part);
                self.so_far()
            }
        }
    }

    /// Notes a committed event; answers the preview that was held back for it.
    pub fn committed(&mut self, event: &EventFrame) -> Vec<Bytes> {
        if self.finished.len() == REMEMBERED {
            self.finished.pop_front();
        }
        self.finished.push_back(event.id);
        if self.waiting.as_ref().is_some_and(|waiting| waiting.id == event.id) {
            self.waiting = None;
        }
        let is_over = self.open.as_ref().is_some_and(|open| open.id == event.id);
        if !is_over && !event.closes_previews {
            return Vec::new();
        }
        self.open = self.waiting.take();
        self.so_far()
    }

    fn hold_back(&mut self, part: &Part) {
        match &mut self.waiting {
            Some(waiting) if waiting.id == part.id => {
                waiting.extend(part);
            }
            Some(_) | None => {
                if let Some(begun) = Partial::begin(part) {
                    self.waiting = Some(begun);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: u128) -> EventId {
        EventId::from_uuid(Uuid::from_u128(number))
    }

    fn part(number: u128, text: Option<&str>, offset: usize) -> Part {
        let kind = PreviewKind::Message;
        Part { id: id(number), kind, epoch: 1, text: text.map(str::to_owned), offset }
    }

    fn event(number: u128, kind: &str) -> EventFrame {
        let body = serde_json::json!({"id": id(number), "type": kind}).to_string();
        EventFrame::from_json(1, body.as_bytes()).unwrap()
    }

    /// Frames in short: `start 1`, `1 text`.
    fn seen(frames: Vec<Bytes>) -> Vec<String> {
        let short = |frame: Bytes| {
            let text = String::from_utf8(frame.to_vec()).unwrap();
            let data = text.lines().find_map(|line| line.strip_prefix("data: ")).unwrap();
            let data: serde_json::Value = serde_json::from_str(data).unwrap();
            let number = |value: &serde_json::Value| {
                let id: EventId = value.as_str().unwrap().parse().unwrap();
                id.uuid().as_u128()
            };
            match data["type"].as_str().unwrap() {
                "event_start" => format!("start {}", number(&data["event"]["id"])),
                _ => format!(
                    "{} {}",
                    number(&data["event_id"]),
                    data["delta"]["content"]["text"].as_str().unwrap()
                ),
            }
        };
        frames.into_iter().map(short).collect()
    }

    fn messages() -> Previews {
        Previews::wanting(vec![PreviewKind::Message])
    }

    #[test]
    fn text_comes_piece_by_piece_after_its_start() {
        let mut previews = messages();
        assert_eq!(seen(previews.take(&part(1, None, 0))), ["start 1"]);
        assert_eq!(seen(previews.take(&part(1, Some("hel"), 0))), ["1 hel"]);
        assert_eq!(seen(previews.take(&part(1, Some("hel"), 0))), [""; 0]);
        assert_eq!(seen(previews.take(&part(1, Some("lo"), 3))), ["1 lo"]);
    }

    #[test]
    fn after_a_hole_nothing_is_shown_until_the_whole_text_comes() {
        let mut previews = messages();
        previews.take(&part(1, None, 0));
        assert!(previews.take(&part(1, Some("lo"), 3)).is_empty());
        assert!(previews.take(&part(1, Some("!"), 5)).is_empty());
        assert_eq!(seen(previews.take(&part(1, Some("hello!"), 0))), ["1 hello!"]);
        assert_eq!(seen(previews.take(&part(1, Some(" You"), 6))), ["1  You"]);
        assert!(previews.take(&part(1, Some("hello! You"), 0)).is_empty());
    }

    #[test]
    fn who_missed_the_beginning_gets_it_with_the_whole_text() {
        let mut previews = messages();
        assert!(previews.take(&part(1, Some("lo"), 3)).is_empty());
        assert_eq!(seen(previews.take(&part(1, Some("hello"), 0))), ["start 1", "1 hello"]);
    }

    #[test]
    fn the_next_preview_waits_for_the_event_of_the_one_before() {
        let mut previews = messages();
        previews.take(&part(1, Some("one"), 0));
        assert!(previews.take(&part(2, None, 0)).is_empty());
        assert!(previews.take(&part(2, Some("tw"), 0)).is_empty());
        assert_eq!(seen(previews.committed(&event(1, "agent.message"))), ["start 2", "2 tw"]);
        assert_eq!(seen(previews.take(&part(2, Some("o"), 2))), ["2 o"]);
    }

    #[test]
    fn a_preview_without_an_event_is_closed_by_the_end_of_its_request() {
        let mut previews = messages();
        previews.take(&part(1, Some("one"), 0));
        assert!(previews.committed(&event(9, "span.model_request_end")).is_empty());
        assert_eq!(seen(previews.take(&part(2, None, 0))), ["start 2"]);
    }

    #[test]
    fn a_preview_that_comes_after_its_event_is_not_shown() {
        let mut previews = messages();
        previews.committed(&event(1, "agent.message"));
        assert!(previews.take(&part(1, None, 0)).is_empty());
    }

    #[test]
    fn a_new_sandbox_does_not_wait_for_what_the_old_one_began() {
        let mut previews = messages();
        previews.take(&part(1, Some("one"), 0));
        let newer = Part { epoch: 2, ..part(2, None, 0) };
        assert_eq!(seen(previews.take(&newer)), ["start 2"]);
    }

    #[test]
    fn who_joins_in_the_middle_gets_a_start_and_the_text_so_far() {
        let mut all = Previews::wanting(vec![PreviewKind::Message, PreviewKind::Thinking]);
        all.take(&part(1, Some("hel"), 0));
        let mut joined = all.join(vec![PreviewKind::Message]);
        assert_eq!(seen(joined.so_far()), ["start 1", "1 hel"]);
        assert_eq!(seen(joined.take(&part(1, Some("lo"), 3))), ["1 lo"]);
    }

    #[test]
    fn what_was_not_asked_for_is_not_shown() {
        let mut previews = Previews::wanting(Vec::new());
        assert!(previews.take(&part(1, None, 0)).is_empty());
    }
}
