//! Calls of the client's tools that wait for their result.

use futures::future::select_all;
use platform_core::id::EventId;
use platform_core::turn::ActionAnswer;
use tokio::sync::oneshot;

use crate::supervise::tools::CustomResult;

#[derive(Default)]
pub(super) struct Customs(Vec<(EventId, oneshot::Sender<CustomResult>)>);

impl Customs {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn add(&mut self, call: EventId, answer: oneshot::Sender<CustomResult>) {
        self.0.push((call, answer));
    }

    /// Hands a result on. False when it is none, or nothing waits for it.
    pub(super) fn answer(&mut self, call: EventId, answer: ActionAnswer) -> bool {
        let ActionAnswer::Result { content, is_error } = answer else { return false };
        let Some(position) = self.0.iter().position(|(known, _)| *known == call) else {
            return false;
        };
        let (_, waiting) = self.0.remove(position);
        waiting.send(CustomResult { content, is_error }).is_ok()
    }

    /// Gives up all that are left.
    pub(super) fn abandon(&mut self) -> Vec<EventId> {
        std::mem::take(&mut self.0).into_iter().map(|(call, _)| call).collect()
    }

    /// The next call that the harness gives up by itself. May be dropped at any await point without losing anything.
    pub(super) async fn given_up(&mut self) -> EventId {
        if self.0.is_empty() {
            return std::future::pending().await;
        }
        let closed = self.0.iter_mut().map(|(_, answer)| Box::pin(answer.closed()));
        let ((), position, _) = select_all(closed).await;
        self.0.remove(position).0
    }
}
