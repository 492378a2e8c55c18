//! The byte stream between a sandbox's two rooms: lengths, then messages.

use futures::executor::block_on;
use platform_messaging::framing::{FrameReader, FrameWriter};
use platform_messaging::proto::link::RoomFrame;

use crate::Target;

pub const TARGET: Target = Target {
    name: "room_frames",
    check,
    words: &["\0\0\0\x02", "\0\0\0\0", "\0\x01\0\x01", "\x7f\x7f\x7f\x7f", "\n", "\x12", "\x1a"],
};

/// Bounds one frame, below what an input may announce.
const LONGEST: usize = 1 << 16;

/// What was read is written and read again.
fn check(input: &[u8]) {
    let frames = read(input);
    let mut written = Vec::new();
    let mut writer = FrameWriter::new(&mut written, 2 * LONGEST);
    for frame in &frames {
        assert!(block_on(writer.send(frame)).is_ok(), "a frame that was read cannot be written");
    }
    assert_eq!(read(&written), frames);
}

/// The frames until the stream ends or is no longer understood.
fn read(bytes: &[u8]) -> Vec<RoomFrame> {
    let mut reader = FrameReader::<RoomFrame, _>::new(bytes, LONGEST);
    let mut frames = Vec::new();
    while let Ok(Some(frame)) = block_on(reader.next()) {
        frames.push(frame);
    }
    frames
}
