//! Frames of the socket between the two rooms, as both roles use them.

use platform_messaging::proto::link::RoomFrame;
use platform_messaging::proto::link::room_frame::Body;

/// Bounds one frame in either direction, so that neither room can make the other one allocate without end.
pub(crate) const LONGEST: usize = 8 * 1024 * 1024;

/// How much of a process's input or output travels in one frame.
pub(crate) const CHUNK: usize = 64 * 1024;

pub(crate) fn room(body: Body) -> RoomFrame {
    RoomFrame { body: Some(body) }
}
