//! How long records are kept that nobody deletes.

use std::time::Duration;

use super::{Reader, Section};

const EGRESS: &str = "retention.egress_days";
const DAY: Duration = Duration::from_hours(24);
/// A hundred years.
const LONGEST: u32 = 36_500;

#[derive(Debug, Clone, Copy)]
pub struct RetentionSettings {
    /// Decisions of the way out.
    pub egress: Duration,
}

impl Section for RetentionSettings {
    fn read(reader: &mut Reader) -> Option<Self> {
        let days = reader.parsed(EGRESS, "a whole number of days", 30)?;
        if !(1..=LONGEST).contains(&days) {
            reader.fault(EGRESS, &format!("must be from 1 to {LONGEST}"));
            return None;
        }
        Some(Self { egress: DAY * days })
    }
}
