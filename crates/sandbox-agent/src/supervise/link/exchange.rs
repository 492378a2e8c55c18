//! One connection of the link, from `Hello` to its end.

use std::collections::VecDeque;
use std::time::Duration;

use futures::{SinkExt, StreamExt};
use platform_messaging::proto::link::frame::Body;
use platform_messaging::proto::link::{Entry, Frame, Hello, Journal, Pong};
use platform_messaging::{decode, encode};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_tungstenite::tungstenite::Message as Packet;

use super::dial::Socket;
use super::{FAREWELL, LinkEnd, Standing};
use crate::supervise::command::{Command, InvalidCommand};
use crate::supervise::failure::{self, Failure};
use crate::supervise::journal::Written;

/// Entries of one batch. The next one goes up when this one is acknowledged.
const BATCH_ENTRIES: usize = 64;
const BATCH_BYTES: usize = 4 * 1024 * 1024;

/// Entries that wait for their acknowledgement in memory. Beyond this the journal waits, and with it the harness.
const BACKLOG_ENTRIES: usize = 1024;
const BACKLOG_BYTES: usize = 16 * 1024 * 1024;

/// The platform sends a sign of life every 5 s.
const SILENCE: Duration = Duration::from_secs(15);
const WELCOME_WITHIN: Duration = Duration::from_secs(10);
const WRITTEN_WITHIN: Duration = Duration::from_secs(10);

/// Journal entries on disk that the platform has not acknowledged, oldest first.
#[derive(Default)]
pub(super) struct Backlog {
    entries: VecDeque<Written>,
    bytes: usize,
    written_through: u64,
    /// The last entry of the batch that is under way on this connection.
    under_way: Option<u64>,
    /// Nothing more will be written.
    is_complete: bool,
    acknowledged: watch::Sender<u64>,
}

pub(super) struct Exchange<'link> {
    pub(super) hello: Hello,
    pub(super) outgoing: &'link mut mpsc::Receiver<Body>,
    pub(super) standing: &'link mut watch::Receiver<Standing>,
    pub(super) written: &'link mut mpsc::Receiver<Vec<Written>>,
    pub(super) commands: &'link mpsc::Sender<Command>,
    pub(super) backlog: &'link mut Backlog,
}

/// How a connection ended.
pub(super) enum Over {
    Ended(LinkEnd),
    Broken { was_welcome: bool },
}

/// The connection can carry nothing more, or there is nothing more to carry.
enum Stop {
    Broken,
    Ended(LinkEnd),
}

impl Exchange<'_> {
    pub(super) async fn run(mut self, mut socket: Socket) -> Over {
        match self.greet(&mut socket).await {
            Ok(()) => {}
            Err(Stop::Ended(end)) => return Over::Ended(end),
            Err(Stop::Broken) => return Over::Broken { was_welcome: false },
        }
        tracing::info!("linked");
        let stop = match self.carry(&mut socket).await {
            Ok(never) => match never {},
            Err(stop) => stop,
        };
        timeout(WRITTEN_WITHIN, socket.close(None)).await.ok();
        match stop {
            Stop::Ended(end) => Over::Ended(end),
            Stop::Broken => {
                tracing::info!("the link broke");
                Over::Broken { was_welcome: true }
            }
        }
    }

    async fn greet(&mut self, socket: &mut Socket) -> Result<(), Stop> {
        write(socket, [Body::Hello(self.hello.clone())]).await?;
        let welcome = async {
            loop {
                match read(socket).await? {
                    Some(Body::Welcome(welcome)) if welcome.superseded => {
                        break Err(Stop::Ended(LinkEnd::Superseded));
                    }
                    Some(Body::Welcome(_)) => break Ok(()),
                    Some(_) | None => {}
                }
            }
        };
        timeout(WELCOME_WITHIN, welcome).await.unwrap_or(Err(Stop::Broken))?;
        // What waited for a link is old by now: previews have gaps, phases were passed. The state is said anew.
        while self.outgoing.try_recv().is_ok() {}
        self.backlog.under_way = None;
        let startup = self.standing.borrow_and_update().startup.clone();
        write(socket, startup.map(Body::Startup)).await
    }

    async fn carry(&mut self, socket: &mut Socket) -> Result<std::convert::Infallible, Stop> {
        let mut last_heard = Instant::now();
        let mut farewell_until = None;
        loop {
            write(socket, self.backlog.next_batch().map(Body::Journal)).await?;
            if farewell_until.is_none() && self.standing.borrow_and_update().failed.is_some() {
                farewell_until = Some(Instant::now() + FAREWELL);
            }
            if let Some(until) = farewell_until
                && (self.backlog.is_told() || Instant::now() >= until)
            {
                let failed = self.standing.borrow().failed.clone();
                write(socket, failed.map(Body::Failed)).await?;
                return Err(Stop::Ended(LinkEnd::Failed));
            }
            tokio::select! {
                body = self.outgoing.recv() => {
                    let Some(body) = body else { return Err(Stop::Ended(LinkEnd::Stopped)) };
                    write(socket, [body]).await?;
                }
                body = read(socket) => {
                    last_heard = Instant::now();
                    if let Some(body) = body? {
                        self.take(socket, body).await?;
                    }
                }
                written = self.written.recv(), if self.backlog.has_room() => {
                    self.backlog.extend(written);
                }
                changed = self.standing.changed() => {
                    changed.map_err(|_| Stop::Ended(LinkEnd::Stopped))?;
                }
                () = sleep_until(last_heard + SILENCE) => return Err(Stop::Broken),
                () = sleep_until(farewell_until.unwrap_or(last_heard)), if farewell_until.is_some() => {}
            }
        }
    }

    async fn take(&mut self, socket: &mut Socket, body: Body) -> Result<(), Stop> {
        match body {
            Body::JournalAck(ack) => {
                self.backlog.acknowledge(ack.through);
                Ok(())
            }
            Body::Ping(ping) => write(socket, [Body::Pong(Pong { nonce: ping.nonce })]).await,
            Body::Stop(stop) => {
                tracing::info!(reason = stop.reason, "stopped by the platform");
                Err(Stop::Ended(LinkEnd::Stopped))
            }
            Body::Welcome(welcome) if welcome.superseded => Err(Stop::Ended(LinkEnd::Superseded)),
            Body::Prepare(frame) => self.command(socket, frame.try_into()).await,
            Body::Hydrate(frame) => self.command(socket, frame.try_into()).await,
            Body::StartTurn(frame) => self.command(socket, frame.try_into()).await,
            Body::InterruptTurn(frame) => self.command(socket, frame.try_into()).await,
            Body::AnswerAction(frame) => self.command(socket, frame.try_into()).await,
            Body::Welcome(_)
            | Body::Hello(_)
            | Body::Startup(_)
            | Body::Journal(_)
            | Body::Preview(_)
            | Body::Pong(_)
            | Body::Failed(_) => {
                tracing::warn!("a frame for the other side was ignored");
                Ok(())
            }
        }
    }

    /// Never waits, so that signs of life go on. What finds no room is sent again by the platform over the next connection.
    async fn command(
        &mut self,
        socket: &mut Socket,
        command: Result<Command, InvalidCommand>,
    ) -> Result<(), Stop> {
        match command {
            Ok(command) => self.commands.try_send(command).map_err(|_| Stop::Broken),
            Err(error) => {
                // It would wait for ever for what cannot be understood.
                let failed = failure::frame(&Failure::Command(error));
                write(socket, [Body::Failed(failed)]).await?;
                Err(Stop::Ended(LinkEnd::Failed))
            }
        }
    }
}

impl Backlog {
    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The number of the last entry that is acknowledged, as it rises.
    pub(super) fn acknowledged(&self) -> watch::Receiver<u64> {
        self.acknowledged.subscribe()
    }

    pub(super) fn written_through(&self) -> u64 {
        self.written_through
    }

    /// Whether everything that ever will be written is acknowledged.
    fn is_told(&self) -> bool {
        self.is_complete && self.entries.is_empty()
    }

    fn has_room(&self) -> bool {
        !self.is_complete && self.entries.len() < BACKLOG_ENTRIES && self.bytes < BACKLOG_BYTES
    }

    fn extend(&mut self, written: Option<Vec<Written>>) {
        self.is_complete = written.is_none();
        for entry in written.into_iter().flatten() {
            self.bytes += entry.body.len();
            self.written_through = entry.number;
            self.entries.push_back(entry);
        }
    }

    /// What goes up next, unless something is under way or there is nothing.
    fn next_batch(&mut self) -> Option<Journal> {
        if self.under_way.is_some() {
            return None;
        }
        let mut bytes = 0;
        let batch: Vec<Entry> = self
            .entries
            .iter()
            .take(BATCH_ENTRIES)
            .take_while(|entry| {
                let fits = bytes == 0 || bytes + entry.body.len() <= BATCH_BYTES;
                bytes += entry.body.len();
                fits
            })
            .map(|entry| Entry { number: entry.number, body: entry.body.clone() })
            .collect();
        self.under_way = Some(batch.last()?.number);
        Some(Journal { entries: batch })
    }

    fn acknowledge(&mut self, through: u64) {
        while let Some(entry) = self.entries.pop_front_if(|entry| entry.number <= through) {
            self.bytes -= entry.body.len();
            self.acknowledged.send_replace(entry.number);
        }
        if self.under_way.is_some_and(|last| last <= through) {
            self.under_way = None;
        }
    }
}

/// Writes the frames and sends them off at once.
async fn write(socket: &mut Socket, bodies: impl IntoIterator<Item = Body>) -> Result<(), Stop> {
    for body in bodies {
        let packet = Packet::Binary(encode(&Frame { body: Some(body) }).into());
        match timeout(WRITTEN_WITHIN, socket.send(packet)).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) | Err(_) => return Err(Stop::Broken),
        }
    }
    Ok(())
}

/// The next frame; `None` for a packet without one.
async fn read(socket: &mut Socket) -> Result<Option<Body>, Stop> {
    match socket.next().await {
        Some(Ok(Packet::Binary(bytes))) => match decode::<Frame>(&bytes) {
            Ok(frame) => Ok(frame.body),
            Err(error) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "no frame");
                Err(Stop::Broken)
            }
        },
        Some(Ok(Packet::Text(_) | Packet::Ping(_) | Packet::Pong(_) | Packet::Frame(_))) => {
            Ok(None)
        }
        Some(Ok(Packet::Close(_)) | Err(_)) | None => Err(Stop::Broken),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn backlog(count: u64) -> Backlog {
        let mut backlog = Backlog::default();
        let written = |number| Written { number, body: vec![0; 10] };
        backlog.extend(Some((1..=count).map(written).collect()));
        backlog
    }

    fn next(backlog: &mut Backlog) -> Option<(u64, u64)> {
        let batch = backlog.next_batch()?.entries;
        Some((batch.first()?.number, batch.last()?.number))
    }

    #[test]
    fn one_batch_is_under_way_at_a_time_and_has_at_most_64_entries() {
        let mut backlog = backlog(100);
        assert_eq!(next(&mut backlog), Some((1, 64)));
        assert_eq!(next(&mut backlog), None);
        backlog.acknowledge(64);
        assert_eq!(next(&mut backlog), Some((65, 100)));
        backlog.acknowledge(100);
        assert_eq!(next(&mut backlog), None);
        assert_eq!((backlog.bytes, backlog.written_through()), (0, 100));
    }

    #[test]
    fn after_a_new_connection_everything_not_acknowledged_goes_up_again() {
        let mut backlog = backlog(3);
        assert_eq!(next(&mut backlog), Some((1, 3)));
        backlog.acknowledge(1);
        backlog.under_way = None;
        assert_eq!(next(&mut backlog), Some((2, 3)));
    }

    #[test]
    fn an_entry_larger_than_a_batch_goes_up_alone() {
        let mut backlog = Backlog::default();
        let written = |number| Written { number, body: vec![0; BATCH_BYTES + 1] };
        backlog.extend(Some(vec![written(1), written(2)]));
        assert_eq!(next(&mut backlog), Some((1, 1)));
    }

    #[test]
    fn everything_is_told_only_when_nothing_more_can_come() {
        let mut backlog = backlog(1);
        next(&mut backlog);
        backlog.acknowledge(1);
        assert!(!backlog.is_told());
        backlog.extend(None);
        assert!(backlog.is_told());
    }
}
