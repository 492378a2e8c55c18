//! Live streams: what was committed, in order and without gaps, and in between what is still being written.

mod backlog;
mod feed;
mod frame;
mod hub;
mod log;
mod preview;

pub use feed::{Extras, Feed, Start};
pub use hub::{Hub, Signal, Subscription};
pub use preview::PreviewKind;
