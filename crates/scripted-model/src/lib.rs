//! A scripted stand-in for a language model: the prompt itself says what the model does next.
//!
//! It keeps no state between requests. What it answers follows from the request alone, so retries,
//! resumed sessions and parallel sessions are deterministic. [`conversation`] reads a request of any
//! of the three APIs, [`script`] and [`answer`] decide what to say, and [`chat`], [`responses`] and
//! [`messages`] write it down.

pub mod answer;
pub mod chat;
pub mod conversation;
pub mod dialect;
pub mod messages;
pub mod request_log;
pub mod responses;
pub mod script;
pub mod server;
pub mod streaming;
pub mod tool;
