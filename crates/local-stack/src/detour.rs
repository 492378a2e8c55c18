//! A way round for one process to its database or broker, so that whoever stands there can cut it.

use std::sync::{Arc, OnceLock};

use serde::{Deserialize, Serialize};

use crate::process::{Part, ProcessName};

/// One process reaches one other part at `port` instead of directly. Whoever listens there passes on to [`Detour::destination`].
#[derive(Debug, Clone)]
pub struct Detour {
    pub(crate) process: ProcessName,
    pub(crate) to: Part,
    pub(crate) port: u16,
    destination: Arc<OnceLock<u16>>,
}

/// What of a detour outlives the one who asked for it: a process that is started again takes it, too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PlannedDetour {
    pub(crate) process: ProcessName,
    pub(crate) to: ProcessName,
    pub(crate) port: u16,
}

impl Detour {
    /// `to` is [`Part::Postgres`] or [`Part::Rabbitmq`]; other parts are not reached by an address that a service is given.
    #[must_use]
    pub fn new(process: ProcessName, to: Part, port: u16) -> Self {
        Self { process, to, port, destination: Arc::default() }
    }

    /// Where the part really listens on this machine. Known before the first process starts that could ask for it.
    pub fn destination(&self) -> Option<u16> {
        self.destination.get().copied()
    }

    pub(crate) fn leads_to(&self, port: u16) {
        // A stack that was up already keeps its ports, so the first answer stays right.
        let _ = self.destination.set(port);
    }

    pub(crate) fn planned(&self) -> PlannedDetour {
        PlannedDetour { process: self.process, to: self.to.into(), port: self.port }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::draw;
    use crate::plan::tests::{data, request};

    #[test]
    fn a_detour_is_taken_by_its_own_process_alone() {
        let (_directory, data) = data();
        let taken = Detour::new(Part::Worker.into(), Part::Postgres, 7);
        let mut request = request(&[]);
        request.detours.push(taken);
        let plan = draw(&request, &data).unwrap();
        let direct = plan.setting("DATABASE_URL").unwrap();
        let port = plan.port_of(Part::Postgres.into()).unwrap();

        let led = plan.address_for(Part::Worker.into(), Part::Postgres).unwrap();
        assert_eq!(led, direct.replace(&format!(":{port}/"), ":7/"));
        let others = plan.address_for(Part::SessionService.into(), Part::Postgres);
        assert_eq!(others.as_deref(), Some(direct));
        let broker = plan.address_for(Part::Worker.into(), Part::Rabbitmq);
        assert_eq!(broker.as_deref(), plan.setting("AMQP_URL"));
    }

    #[test]
    fn a_destination_is_known_to_every_copy_and_stays() {
        let detour = Detour::new(Part::Worker.into(), Part::Postgres, 7);
        let copy = detour.clone();
        assert_eq!(copy.destination(), None);
        detour.leads_to(5432);
        detour.leads_to(1);
        assert_eq!(copy.destination(), Some(5432));
    }
}
