//! An answer of a model on its way back: what it took is counted before its last piece is let through.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use http_body_util::BodyExt;
use hyper::body::{Frame, SizeHint};
use platform_core::budget::NanoDollars;
use platform_core::session::ModelUsage;
use platform_runtime::lifecycle::Tasks;
use platform_storage::sandbox::SandboxIdentity;
use tokio::sync::oneshot;

use super::ledger::{Ledger, Spent};
use super::prices::Prices;
use super::usage::UsageMeter;
use crate::rules::{Body, BoxError};

/// How long the last piece waits for the count.
const COUNTED_WITHIN: Duration = Duration::from_secs(2);

/// On whose account an answer goes.
pub struct Account {
    pub ledger: Arc<dyn Ledger>,
    pub prices: Arc<Prices>,
    pub identity: SandboxIdentity,
    /// As LiteLLM told it in a header.
    pub told_cost: Option<NanoDollars>,
    /// By which its price is found, best first.
    pub names: Vec<String>,
    pub tasks: Tasks,
}

impl Account {
    /// Counts in the background, and tells when that is done.
    fn charge(self, usage: ModelUsage) -> oneshot::Receiver<()> {
        let (done, counted) = oneshot::channel();
        let Self { ledger, prices, identity, told_cost, names, tasks } = self;
        tasks.spawn("usage", async move {
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            let cost = match told_cost {
                Some(cost) => cost,
                None => prices.cost_of(&names, usage).await,
            };
            ledger.record(identity, Spent { usage, cost }).await;
            let _nobody_waits_any_more = done.send(());
        });
        counted
    }
}

/// Called once with the number of bytes that came back.
pub type WhenOver = Box<dyn FnOnce(u64) + Send>;

struct Metered {
    inner: Body,
    meter: UsageMeter,
    is_stream: bool,
    account: Option<Account>,
    counting: Option<BoxFuture<'static, ()>>,
    has_counted: bool,
    /// What waits for the count.
    held: Option<Frame<Bytes>>,
    has_ended: bool,
    bytes: u64,
    when_over: Option<WhenOver>,
}

/// Counts a passing answer. Without an `account` only its bytes are.
pub fn metered(
    inner: Body,
    meter: UsageMeter,
    is_stream: bool,
    account: Option<Account>,
    when_over: WhenOver,
) -> Body {
    let body = Metered {
        inner,
        meter,
        is_stream,
        has_counted: account.is_none(),
        account,
        counting: None,
        held: None,
        has_ended: false,
        bytes: 0,
        when_over: Some(when_over),
    };
    body.boxed_unsync()
}

impl Metered {
    fn count(&mut self) {
        self.has_counted = true;
        let (Some(account), Some(usage)) = (self.account.take(), self.meter.finish()) else {
            return;
        };
        let counted = account.charge(usage);
        self.counting = Some(Box::pin(async move {
            let _counted_or_not = tokio::time::timeout(COUNTED_WITHIN, counted).await;
        }));
    }

    /// What to do with a frame: let it through, or go on without one.
    fn pass(&mut self, frame: Frame<Bytes>) -> Option<Frame<Bytes>> {
        if let Some(data) = frame.data_ref() {
            self.bytes += u64::try_from(data.len()).unwrap_or(u64::MAX);
            if !self.has_counted {
                self.meter.push(data);
            }
        }
        if self.has_counted {
            return Some(frame);
        }
        if !self.is_stream {
            return self.held.replace(frame);
        }
        if !self.meter.has_ended() {
            return Some(frame);
        }
        self.held = Some(frame);
        self.count();
        None
    }
}

impl hyper::body::Body for Metered {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = &mut *self;
        loop {
            if let Some(counting) = &mut this.counting {
                ready!(counting.as_mut().poll(context));
                this.counting = None;
            }
            if this.has_counted
                && let Some(frame) = this.held.take()
            {
                return Poll::Ready(Some(Ok(frame)));
            }
            if this.has_ended {
                return Poll::Ready(None);
            }
            match ready!(Pin::new(&mut this.inner).poll_frame(context)) {
                Some(Ok(frame)) => {
                    if let Some(frame) = this.pass(frame) {
                        return Poll::Ready(Some(Ok(frame)));
                    }
                }
                Some(Err(error)) => {
                    this.has_ended = true;
                    return Poll::Ready(Some(Err(error)));
                }
                None => {
                    this.has_ended = true;
                    if !this.has_counted {
                        this.count();
                    }
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.has_ended && self.held.is_none() && self.counting.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        if self.held.is_none() { self.inner.size_hint() } else { SizeHint::default() }
    }
}

impl Drop for Metered {
    /// A client that hangs up has spent what it has read so far.
    fn drop(&mut self) {
        if let (Some(account), Some(usage)) = (self.account.take(), self.meter.finish()) {
            let _nobody_waits = account.charge(usage);
        }
        if let Some(when_over) = self.when_over.take() {
            when_over(self.bytes);
        }
    }
}
