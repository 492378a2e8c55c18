//! How many connections of each address have not shown a ticket yet.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Those who wait. Cheap to clone.
#[derive(Clone)]
pub(super) struct Crowd {
    most_of_one: usize,
    waiting: Arc<Mutex<HashMap<IpAddr, usize>>>,
}

/// One that waits, until this is dropped.
pub(super) struct Waiting {
    crowd: Crowd,
    address: IpAddr,
}

impl Crowd {
    pub(super) fn new(most_of_one: usize) -> Self {
        Self { most_of_one, waiting: Arc::default() }
    }

    /// `None` when that address has as many as it may.
    pub(super) fn join(&self, address: IpAddr) -> Option<Waiting> {
        let mut waiting = self.lock();
        let count = waiting.entry(address).or_default();
        if *count >= self.most_of_one {
            return None;
        }
        *count += 1;
        Some(Waiting { crowd: self.clone(), address })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let mut waiting = self.crowd.lock();
        let Some(count) = waiting.get_mut(&self.address) else { return };
        *count -= 1;
        if *count == 0 {
            waiting.remove(&self.address);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_that_has_too_many_does_not_hinder_another() {
        let crowd = Crowd::new(2);
        let [here, there] = ["10.0.0.1", "10.0.0.2"].map(|text| text.parse::<IpAddr>().unwrap());
        let first = crowd.join(here).unwrap();
        let _second = crowd.join(here).unwrap();
        assert!(crowd.join(here).is_none());
        assert!(crowd.join(there).is_some());
        drop(first);
        assert!(crowd.join(here).is_some());
        assert_eq!(crowd.lock().len(), 1, "who is gone is forgotten");
    }
}
