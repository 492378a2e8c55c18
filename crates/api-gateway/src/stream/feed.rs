//! One reader's stream: the log up to now, then what is committed and previewed, until something ends it.

use std::collections::VecDeque;
use std::time::Duration;

use actix_web::web::Data;
use bytes::{Bytes, BytesMut};
use futures::Stream;
use platform_core::id::{EventId, SessionId};
use platform_core::session::SessionStatus;
use platform_storage::session;
use tokio::sync::watch;
use tokio::time::{Interval, MissedTickBehavior, interval};
use tracing::warn;

use super::backlog::FellBehind;
use super::frame::{self, EventFrame};
use super::hub::{Signal, Subscription};
use super::log;
use super::preview::{PreviewKind, Previews};
use crate::caller::Caller;
use crate::platform::Platform;
use crate::problem::Problem;
use crate::sessions;

/// How soon a stream ends whose key was revoked: well under the promised five seconds.
const CHECK_EVERY: Duration = Duration::from_secs(3);
/// Every third check is a heartbeat, which looks into the log as well: announcements are only hints.
const CHECKS_PER_HEARTBEAT: u32 = 3;
/// Frames that go out together, in bytes.
const CHUNK: usize = 16 * 1024;
const RETRY_LOG_AFTER: Duration = Duration::from_secs(1);

/// Where a stream begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// With what is committed from now on.
    Now,
    /// With everything after the event of this number.
    After(i64),
}

/// What a stream shows beside committed events.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Extras {
    pub previews: Vec<PreviewKind>,
    /// What the way out decides, as it decides it.
    pub egress: bool,
}

/// How the reader keeps up with what happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pace {
    /// It has not seen the log up to now yet. Previews would come too early.
    Replaying,
    Live,
    /// Announcements were lost to it, and it has not caught up since.
    CatchingUp,
}

pub struct Feed {
    platform: Data<Platform>,
    caller: Caller,
    session: SessionId,
    subscription: Subscription,
    interruptions: watch::Receiver<u64>,
    previews: Previews,
    /// The number of the last event that was shown, or that was there before the stream began.
    shown: i64,
    /// The log may hold more than was shown.
    is_behind: bool,
    pace: Pace,
    ready: VecDeque<Bytes>,
    has_ended: bool,
    checks: Interval,
    checked: u32,
}

impl Feed {
    /// Opens the stream. From the moment this returns nothing is missed.
    pub async fn open(
        platform: Data<Platform>,
        caller: Caller,
        session: SessionId,
        start: Start,
        extras: Extras,
    ) -> Result<Self, Problem> {
        let mut connection = platform.database.connection().await?;
        sessions::find(&mut connection, caller.team(), session).await?;
        drop(connection);
        let mut subscription = platform.hub.subscribe(session).await;
        let interruptions = subscription.interruptions();
        if extras.egress {
            subscription.hear_egress();
        }
        let previews = subscription.previews(extras.previews);
        let mut connection = platform.database.connection().await?;
        let now = sessions::find(&mut connection, caller.team(), session).await?;
        drop(connection);

        let shown = match start {
            Start::Now => now.last_event,
            Start::After(number) if number > now.last_event => {
                return Err(beyond_end(number, now.last_event));
            }
            Start::After(number) => number,
        };
        let is_behind = shown < now.last_event;
        let mut checks = interval(CHECK_EVERY);
        checks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        checks.reset();
        platform.figures.streams.inc();
        Ok(Self {
            platform,
            caller,
            session,
            subscription,
            interruptions,
            previews,
            shown,
            is_behind,
            pace: Pace::Replaying,
            ready: VecDeque::from([frame::RETRY]),
            has_ended: now.status == SessionStatus::Terminated && !is_behind,
            checks,
            checked: 0,
        })
    }

    pub fn into_stream(self) -> impl Stream<Item = Result<Bytes, Problem>> {
        futures::stream::unfold(self, |mut feed| async move {
            feed.next().await.map(|bytes| (Ok(bytes), feed))
        })
    }

    /// What goes out next, as soon as there is something.
    async fn next(&mut self) -> Option<Bytes> {
        while self.ready.is_empty() {
            if self.has_ended {
                return None;
            }
            self.advance().await;
        }
        self.take_what_is_there();
        self.take_ready()
    }

    /// A burst goes out in few writes.
    fn take_what_is_there(&mut self) {
        let mut bytes: usize = self.ready.iter().map(Bytes::len).sum();
        while bytes < CHUNK
            && self.pace == Pace::Live
            && !(self.is_behind || self.has_ended)
            && let Ok(Some(signal)) = self.subscription.take()
        {
            let known = self.ready.len();
            self.take(signal);
            bytes += self.ready.iter().skip(known).map(Bytes::len).sum::<usize>();
        }
    }

    fn take_ready(&mut self) -> Option<Bytes> {
        let first = self.ready.pop_front()?;
        if self.ready.is_empty() {
            return Some(first);
        }
        let mut chunk = BytesMut::from(first);
        while chunk.len() < CHUNK
            && let Some(next) = self.ready.pop_front()
        {
            chunk.extend_from_slice(&next);
        }
        Some(chunk.freeze())
    }

    async fn advance(&mut self) {
        if self.platform.shutdown.is_cancelled() {
            return self.say_farewell();
        }
        if self.pace == Pace::CatchingUp && self.subscription.fell_behind() {
            return self.leave_behind();
        }
        if self.is_behind {
            return self.read_log().await;
        }
        if self.pace == Pace::Replaying {
            self.pace = Pace::Live;
            self.ready.extend(self.previews.so_far());
            return;
        }
        if self.subscription.is_up_to_date() {
            self.pace = Pace::Live;
        }
        let shutdown = self.platform.shutdown.clone();
        tokio::select! {
            signal = self.subscription.next() => match signal {
                Ok(signal) => self.take(signal),
                Err(FellBehind) => self.fall_behind(),
            },
            changed = self.interruptions.changed() => {
                self.is_behind = true;
                self.has_ended |= changed.is_err();
            }
            _ = self.checks.tick() => self.check().await,
            () = shutdown.cancelled() => self.say_farewell(),
        }
    }

    fn take(&mut self, signal: Signal) {
        match signal {
            Signal::Committed(frame) => {
                if frame.number <= self.shown {
                    self.close_previews(&frame);
                } else if frame.number == self.shown + 1 || frame.is_deletion {
                    self.show(&frame);
                } else {
                    self.is_behind = true;
                }
            }
            Signal::Preview(part) => self.ready.extend(self.previews.take(&part)),
            Signal::Egress(frame) if self.subscription.hears_egress() => {
                self.ready.push_back(frame);
            }
            Signal::Egress(_) => {}
        }
    }

    /// A burst, or a long replay: the log has the events that were missed.
    fn fall_behind(&mut self) {
        self.pace = Pace::CatchingUp;
        self.subscription.skip();
        self.is_behind = true;
    }

    /// A second backlog's worth came before the reader had caught up with the first: it is too slow.
    fn leave_behind(&mut self) {
        self.platform.figures.slow_readers.inc();
        self.ready.extend(frame::overloaded(self.shown));
        self.has_ended = true;
    }

    /// Spread a little, so that not all readers of this process come to the next one in the same moment.
    fn say_farewell(&mut self) {
        let chance = self.platform.ids.uuid().as_bytes().last().copied().unwrap_or_default();
        self.ready.push_back(frame::farewell(100 + 2 * u16::from(chance)));
        self.has_ended = true;
    }

    fn show(&mut self, frame: &EventFrame) {
        self.shown = frame.number;
        self.ready.push_back(frame.bytes.clone());
        self.close_previews(frame);
        self.has_ended |= frame.is_last;
    }

    fn close_previews(&mut self, frame: &EventFrame) {
        let next = self.previews.committed(frame);
        if self.pace != Pace::Replaying {
            self.ready.extend(next);
        }
    }

    async fn read_log(&mut self) {
        match log::read_after(&self.platform, self.caller, self.session, self.shown).await {
            Ok(piece) => {
                self.is_behind = piece.is_more;
                for event in &piece.events {
                    match EventFrame::from_event(event) {
                        Ok(frame) => self.show(&frame),
                        Err(failure) => {
                            warn!(%failure, event.id = %event.id, "an event cannot be shown");
                        }
                    }
                }
            }
            Err(failure) => {
                warn!(%failure, session.id = %self.session, "the log cannot be read now");
                tokio::time::sleep(RETRY_LOG_AFTER).await;
                self.ready.push_back(frame::HEARTBEAT);
            }
        }
    }

    async fn check(&mut self) {
        if !self.platform.keys.is_still_valid(self.caller).await {
            self.ready.push_back(frame::key_ended());
            self.has_ended = true;
            return;
        }
        self.checked += 1;
        if self.checked.is_multiple_of(CHECKS_PER_HEARTBEAT) {
            self.ready.push_back(frame::HEARTBEAT);
            self.look_for_more().await;
        }
    }

    /// Finds what was never announced. A failing database is no reason to end a stream.
    async fn look_for_more(&mut self) {
        let Ok(mut connection) = self.platform.database.connection().await else { return };
        match session::find(&mut connection, self.caller.team(), self.session).await {
            Ok(Some(session)) => self.is_behind = session.last_event > self.shown,
            Ok(None) => {
                let id = EventId::mint(&*self.platform.ids);
                self.ready.push_back(frame::deleted(id));
                self.has_ended = true;
            }
            Err(failure) => {
                warn!(%failure, session.id = %self.session, "the log cannot be read now");
            }
        }
    }
}

fn beyond_end(number: i64, last: i64) -> Problem {
    let message = format!(
        "the session has no event {number} to go on after; its last one is {last}, and 0 is the beginning"
    );
    Problem::invalid(message).with_code("cursor_beyond_end")
}

impl Drop for Feed {
    fn drop(&mut self) {
        self.platform.figures.streams.dec();
    }
}
