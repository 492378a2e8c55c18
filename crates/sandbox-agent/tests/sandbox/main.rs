//! Both roles as real processes, the platform's side of the link played by the test, the harness by a fake.

#![expect(clippy::unwrap_used, clippy::wildcard_enum_match_arm, reason = "tests")]

mod approvals;
mod custom_tools;
mod names;
mod platform;
mod pod;
mod restored;
mod turns;
