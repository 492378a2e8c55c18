//! The real time and real identifiers, without the weight of the services' runtime.

use std::time::SystemTime;

use chrono::{DateTime, Utc};
use platform_core::clock::{Clock, IdSource, to_microseconds};
use uuid::Uuid;

pub(crate) struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> DateTime<Utc> {
        to_microseconds(SystemTime::now().into())
    }
}

pub(crate) struct SystemIds;

impl IdSource for SystemIds {
    fn uuid(&self) -> Uuid {
        Uuid::now_v7()
    }
}
