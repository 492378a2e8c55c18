//! What LiteLLM told, for as long as it is believed.

use std::future::Future;
use std::time::{Duration, Instant};

use tokio::sync::Mutex;
use tracing::warn;

/// How long an answer is good for.
const GOOD_FOR: Duration = Duration::from_secs(30);
/// How long a failure is believed, so that a gateway that hangs does not hold up every request.
const DOWN_FOR: Duration = Duration::from_secs(3);

pub(super) struct Kept<T>(Mutex<Option<Known<T>>>);

struct Known<T> {
    answer: Option<T>,
    until: Instant,
}

impl<T> Default for Kept<T> {
    fn default() -> Self {
        Self(Mutex::new(None))
    }
}

impl<T: Clone> Kept<T> {
    /// What was told not long ago, else what `ask` brings; `None` while it brings nothing. One asks for all who wait.
    pub(super) async fn get(
        &self,
        ask: impl Future<Output = Result<T, reqwest::Error>>,
    ) -> Option<T> {
        let mut known = self.0.lock().await;
        if let Some(Known { answer, until }) = &*known
            && Instant::now() < *until
        {
            return answer.clone();
        }
        let asked = ask.await;
        let answer =
            asked.inspect_err(|failure| warn!(%failure, "LiteLLM does not tell its models")).ok();
        let good_for = if answer.is_some() { GOOD_FOR } else { DOWN_FOR };
        *known = Some(Known { answer: answer.clone(), until: Instant::now() + good_for });
        answer
    }
}
