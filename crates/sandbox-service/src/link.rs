//! The links of this replica: which sandboxes are connected here, and how to send to them.

mod connection;
mod grace;
pub mod greeting;
mod hello;
pub mod listener;
mod pod_identity;
pub mod replica;
mod uplink;

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use platform_core::id::SandboxId;
use platform_messaging::proto::link::StartTurn;
use platform_messaging::proto::link::frame::Body;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

pub use grace::{is_reachable, spawn as spawn_grace};

/// Frames that wait to be written to one link.
const OUTGOING: usize = 64;

/// No link of the sandbox is held here, or it broke while something was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the sandbox is not linked to this replica")]
pub struct NotLinked;

/// All links that are open here.
#[derive(Debug, Default)]
pub struct Links {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    opened: u64,
    open: BTreeMap<SandboxId, OpenLink>,
    /// Links, open or ended, over which something came that may not be dealt with yet.
    unsettled: BTreeMap<u64, (SandboxId, CancellationToken)>,
    /// The newest turn that each sandbox was told to take up. A link may break between the writing and the reading of it.
    turns: BTreeMap<SandboxId, StartTurn>,
}

#[derive(Debug)]
struct OpenLink {
    number: u64,
    frames: mpsc::Sender<Outgoing>,
    closing: CancellationToken,
}

/// A frame on its way into a sandbox.
#[derive(Debug)]
struct Outgoing {
    body: Body,
    /// Told once the frame was written.
    written: oneshot::Sender<()>,
}

/// The connection's own side of an open link.
struct Held {
    number: u64,
    frames: mpsc::Receiver<Outgoing>,
    /// Cancelled when a newer link takes this one's place, or the sandbox is gone.
    closing: CancellationToken,
}

impl Links {
    pub fn is_open(&self, sandbox: SandboxId) -> bool {
        self.lock().open.contains_key(&sandbox)
    }

    /// The sandboxes that are linked here.
    pub fn all(&self) -> Vec<SandboxId> {
        self.lock().open.keys().copied().collect()
    }

    /// Sends a frame, and answers once it was written to the socket: what a kernel holds survives this process.
    pub async fn send(&self, sandbox: SandboxId, body: Body) -> Result<(), NotLinked> {
        let frames = self.lock().open.get(&sandbox).map(|link| link.frames.clone());
        let (written, confirmed) = oneshot::channel();
        let outgoing = Outgoing { body, written };
        frames.ok_or(NotLinked)?.send(outgoing).await.map_err(|_closed| NotLinked)?;
        confirmed.await.map_err(|_closed| NotLinked)
    }

    /// As [`Links::send`]; the turn is sent again when the sandbox comes back without it.
    pub async fn start_turn(&self, sandbox: SandboxId, turn: StartTurn) -> Result<(), NotLinked> {
        if !self.is_open(sandbox) {
            return Err(NotLinked);
        }
        self.lock().turns.insert(sandbox, turn.clone());
        self.send(sandbox, Body::StartTurn(turn)).await
    }

    /// Closes what is left of the links of a sandbox that is gone.
    pub fn forget(&self, sandbox: SandboxId) {
        let mut state = self.lock();
        state.turns.remove(&sandbox);
        if let Some(link) = state.open.get(&sandbox) {
            link.closing.cancel();
        }
    }

    /// Waits until the sandbox's links, if it has any, have ended and what came over them was dealt with.
    pub async fn wait_until_settled(&self, sandbox: SandboxId, at_most: Duration) {
        let links: Vec<CancellationToken> = {
            let state = self.lock();
            let all = state.unsettled.values();
            all.filter(|(of, _)| *of == sandbox).map(|(_, settled)| settled.clone()).collect()
        };
        let all_settled = async {
            for settled in &links {
                settled.cancelled().await;
            }
        };
        let _elapsed = tokio::time::timeout(at_most, all_settled).await;
    }

    /// Opens the link of a sandbox. An earlier one is closed: the sandbox dialled anew.
    fn open(&self, sandbox: SandboxId, closing: CancellationToken) -> Held {
        let (sender, frames) = mpsc::channel(OUTGOING);
        let mut state = self.lock();
        state.opened += 1;
        let number = state.opened;
        state.unsettled.insert(number, (sandbox, CancellationToken::new()));
        let link = OpenLink { number, frames: sender, closing: closing.clone() };
        if let Some(earlier) = state.open.insert(sandbox, link) {
            earlier.closing.cancel();
        }
        Held { number, frames, closing }
    }

    /// Takes a link out; `false` when a newer one has its place.
    fn close(&self, sandbox: SandboxId, number: u64) -> bool {
        let mut state = self.lock();
        let is_current = state.open.get(&sandbox).is_some_and(|link| link.number == number);
        if is_current {
            state.open.remove(&sandbox);
        }
        is_current
    }

    /// Notes that everything which came over a link was dealt with.
    fn settle(&self, number: u64) {
        if let Some((_, settled)) = self.lock().unsettled.remove(&number) {
            settled.cancel();
        }
    }

    fn last_turn(&self, sandbox: SandboxId) -> Option<StartTurn> {
        self.lock().turns.get(&sandbox).cloned()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use platform_messaging::proto::link::Ping;
    use uuid::Uuid;

    use super::*;

    fn sandbox() -> SandboxId {
        SandboxId::from_uuid(Uuid::from_u128(7))
    }

    #[tokio::test]
    async fn a_newer_link_takes_the_place_of_an_earlier_one() {
        let links = Links::default();
        let earlier = links.open(sandbox(), CancellationToken::new());
        let newer = links.open(sandbox(), CancellationToken::new());
        assert!(earlier.closing.is_cancelled());
        assert!(!links.close(sandbox(), earlier.number));
        assert!(links.is_open(sandbox()));
        assert!(links.close(sandbox(), newer.number));
        assert!(!links.is_open(sandbox()));
    }

    #[tokio::test]
    async fn a_link_that_ended_is_waited_for_until_all_that_came_over_it_was_dealt_with() {
        let links = Links::default();
        let held = links.open(sandbox(), CancellationToken::new());
        links.close(sandbox(), held.number);
        let forever = Duration::from_hours(1);
        let waiting = links.wait_until_settled(sandbox(), forever);
        tokio::pin!(waiting);
        assert!(futures::poll!(&mut waiting).is_pending());
        links.settle(held.number);
        waiting.await;
    }

    #[tokio::test]
    async fn a_frame_counts_as_sent_only_once_it_was_written() {
        let links = Links::default();
        let mut held = links.open(sandbox(), CancellationToken::new());
        let body = Body::Ping(Ping { nonce: 1 });
        let (sent, ()) = tokio::join!(links.send(sandbox(), body.clone()), async {
            let outgoing = held.frames.recv().await.unwrap();
            assert_eq!(outgoing.body, body);
            outgoing.written.send(()).unwrap();
        });
        assert_eq!(sent, Ok(()));

        let (unsent, ()) = tokio::join!(links.send(sandbox(), body), async {
            drop(held.frames.recv().await);
        });
        assert_eq!(unsent, Err(NotLinked));
    }
}
