//! Frames of a server-sent event stream, each made once however many read it.

use std::borrow::Cow;

use bytes::Bytes;
use platform_core::egress::EgressDecision;
use platform_core::id::EventId;
use platform_core::session::Event;
use serde::Deserialize;
use serde_json::{Value, json};

use super::preview::PreviewKind;
use crate::egress::EgressDecisionView;

/// How soon a browser comes back after a broken connection. Goes out first, so that the headers do at once.
pub const RETRY: Bytes = Bytes::from_static(b"retry: 2000\n\n");
/// Nothing happened, and the connection is alive.
pub const HEARTBEAT: Bytes = Bytes::from_static(b": heartbeat\n\n");

/// A committed event on its way to readers.
#[derive(Debug)]
pub struct EventFrame {
    pub id: EventId,
    pub number: i64,
    pub bytes: Bytes,
    /// Nothing comes after it.
    pub is_last: bool,
    /// The session's rows are gone, and with them whatever came before it.
    pub is_deletion: bool,
    /// No preview that was open goes on after it.
    pub closes_previews: bool,
}

/// What the hub has to know of an event that it passes on as it is.
#[derive(Deserialize)]
struct Outline<'event> {
    id: EventId,
    #[serde(borrow, rename = "type")]
    kind: Cow<'event, str>,
}

impl EventFrame {
    /// From the event's JSON as the API shows it.
    pub fn from_json(number: i64, body: &[u8]) -> Result<Self, serde_json::Error> {
        let Outline { id, kind } = serde_json::from_slice(body)?;
        Ok(Self::new(id, number, &kind, body))
    }

    pub fn from_event(event: &Event) -> Result<Self, serde_json::Error> {
        let body = serde_json::to_vec(event)?;
        Ok(Self::new(event.id, event.number, event.body.type_name(), &body))
    }

    fn new(id: EventId, number: i64, kind: &str, body: &[u8]) -> Self {
        let mut bytes = format!("id: {number}\nevent: {kind}\ndata: ").into_bytes();
        bytes.extend_from_slice(body);
        bytes.extend_from_slice(b"\n\n");
        Self {
            id,
            number,
            bytes: bytes.into(),
            is_last: matches!(kind, "session.deleted" | "session.status_terminated"),
            is_deletion: kind == "session.deleted",
            closes_previews: matches!(
                kind,
                "span.model_request_end"
                    | "session.status_idle"
                    | "session.status_rescheduled"
                    | "session.status_terminated"
            ),
        }
    }
}

/// The process ends. Whoever resumes streams by itself comes back after `milliseconds`, and finds another one.
pub fn farewell(milliseconds: u16) -> Bytes {
    format!(
        ": this server ends; open the stream again with Last-Event-ID\nretry: {milliseconds}\n\n"
    )
    .into()
}

/// The session is gone, and nobody told in time.
pub fn deleted(id: EventId) -> Bytes {
    let event = json!({"id": id, "type": "session.deleted", "processed_at": null});
    plain("session.deleted", &event)
}

/// A preview begins. It has no `id:` line: there is nothing to resume at.
pub fn event_start(kind: PreviewKind, id: EventId) -> Bytes {
    let event = json!({"type": kind.as_word(), "id": id});
    plain("event_start", &json!({"type": "event_start", "event": event}))
}

/// More text of the preview.
pub fn event_delta(id: EventId, text: &str) -> Bytes {
    let content = json!({"type": "text", "text": text});
    let delta = json!({"type": "content_delta", "index": 0, "content": content});
    plain("event_delta", &json!({"type": "event_delta", "event_id": id, "delta": delta}))
}

/// A decision of the way out, from its JSON. It has no `id:` line: it is no event of the log, and is not shown again.
pub fn egress(decision: &[u8]) -> Result<Bytes, serde_json::Error> {
    let decision: EgressDecision = serde_json::from_slice(decision)?;
    Ok(plain("egress", &serde_json::to_value(EgressDecisionView::from(decision))?))
}

/// A reader that is too slow is told so in a form that clients ignore, then in one that they act on.
pub fn overloaded(last: i64) -> [Bytes; 2] {
    let message = "this stream was read too slowly and has gaps; open it again with Last-Event-ID";
    let gap = json!({"type": "gap", "last_event_id": last, "message": message});
    let error = json!({"type": "overloaded_error", "message": message});
    [plain("gap", &gap), plain("error", &json!({"type": "error", "error": error}))]
}

/// The key that opened the stream is not valid any more.
pub fn key_ended() -> Bytes {
    let message = "the key that opened this stream has expired or was revoked";
    let error = json!({"type": "authentication_error", "message": message});
    plain("error", &json!({"type": "error", "error": error}))
}

fn plain(name: &str, data: &Value) -> Bytes {
    format!("event: {name}\ndata: {data}\n\n").into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_passed_on_with_its_number_as_the_id_to_resume_at() {
        let body = br#"{"id":"sevt_01935a7e7c1b7e2a8f000123456789ab","seq":41,"type":"agent.message","content":[]}"#;
        let frame = EventFrame::from_json(41, body).unwrap();
        let text = String::from_utf8(frame.bytes.to_vec()).unwrap();
        assert_eq!(
            text,
            format!(
                "id: 41\nevent: agent.message\ndata: {}\n\n",
                std::str::from_utf8(body).unwrap()
            )
        );
        assert!(!frame.is_last);
    }

    #[test]
    fn text_of_any_kind_stays_on_one_line() {
        let id: EventId = "01935a7e-7c1b-7e2a-8f00-0123456789ab".parse().unwrap();
        let text = String::from_utf8(event_delta(id, "a\nb\r\n\u{2028}").to_vec()).unwrap();
        assert_eq!(text.lines().count(), 3);
        assert!(text.contains(r"a\nb\r\n"));
    }
}
