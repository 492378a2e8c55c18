//! One target a file.

pub mod acp_lines;
pub mod chat_bodies;
pub mod cursors;
pub mod journal_entries;
pub mod link_frames;
pub mod model_answers;
pub mod model_requests;
pub mod names_asked;
pub mod network_rules;
pub mod openings;
pub mod room_frames;
pub mod secrets;
pub mod websockets;
