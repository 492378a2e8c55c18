//! Generates the Rust types of `/proto` without `protoc`.

use std::error::Error;
use std::path::Path;

const FILES: [&str; 6] = [
    "platform/session/v1/session.proto",
    "platform/sandbox/v1/sandbox.proto",
    "platform/link/v1/link.proto",
    "platform/link/v1/room.proto",
    "platform/egress/v1/egress.proto",
    "platform/event/v1/event.proto",
];

fn main() -> Result<(), Box<dyn Error>> {
    // Seen from this package's folder, in which cargo runs it: a path that is compiled in would be another checkout's when both share
    // what is built.
    let root = Path::new("../../proto");
    println!("cargo::rerun-if-changed={}", root.display());
    let descriptors = protox::compile(FILES, [root])?;
    prost_build::Config::new().compile_fds(descriptors)?;
    Ok(())
}
