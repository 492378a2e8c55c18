//! Free ports for everything that is not public.

use std::net::{Ipv4Addr, TcpListener};

use crate::failure::StackError;

/// Below the range from which Linux takes the ports of outgoing connections, so that a port chosen now is
/// not taken by somebody's connection before its process binds it.
const CHOICES: std::ops::Range<u16> = 20_000..32_000;
const TRIES: u32 = 1_000;

/// Chooses ports that are free now, each one once. Keeps them bound until it is dropped, so that two
/// stacks that start side by side do not choose the same.
#[derive(Default)]
pub(crate) struct PortChooser {
    held: Vec<TcpListener>,
}

impl PortChooser {
    pub(crate) fn choose(&mut self) -> Result<u16, StackError> {
        let mut last = std::io::Error::from(std::io::ErrorKind::AddrInUse);
        for _ in 0..TRIES {
            let port = rand::random_range(CHOICES);
            match TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
                Ok(listener) => {
                    self.held.push(listener);
                    return Ok(port);
                }
                Err(error) => last = error,
            }
        }
        Err(StackError::NoFreePort(last))
    }
}

/// Refuses a public port on which somebody else already answers.
pub(crate) fn require_free(port: u16) -> Result<(), StackError> {
    TcpListener::bind((Ipv4Addr::UNSPECIFIED, port))
        .map(drop)
        .map_err(|_| StackError::PortTaken(port))
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_chosen_port_is_another_one() {
        let mut chooser = PortChooser::default();
        let ports: HashSet<u16> = (0..50).map(|_| chooser.choose().unwrap()).collect();
        assert_eq!(ports.len(), 50);
    }

    #[test]
    fn a_public_port_that_is_taken_is_refused() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        assert!(matches!(require_free(port), Err(StackError::PortTaken(taken)) if taken == port));
    }
}
