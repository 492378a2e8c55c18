//! One connection of the link, from `Hello` to its end.

use std::time::Duration;

use futures::{SinkExt, StreamExt};
use platform_messaging::proto::link::frame::Body;
use platform_messaging::proto::link::{Frame, Hello, Pong, Welcome};
use platform_messaging::{decode, encode};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_tungstenite::tungstenite::Message as Packet;

use super::backlog::Backlog;
use super::dial::Socket;
use super::{FAREWELL, LinkEnd, Standing};
use crate::supervise::command::{Command, InvalidCommand};
use crate::supervise::failure::{self, Failure};
use crate::supervise::journal::Written;
use crate::supervise::linked::LinkedFile;
use crate::supervise::way_out::WayOut;

/// The platform sends a sign of life every 5 s.
const SILENCE: Duration = Duration::from_secs(15);
const WRITTEN_WITHIN: Duration = Duration::from_secs(10);

pub(super) struct Exchange<'link> {
    pub(super) hello: Hello,
    pub(super) admitted_as: &'link mut String,
    pub(super) linked: &'link LinkedFile,
    pub(super) way_out: Option<&'link WayOut>,
    pub(super) outgoing: &'link mut mpsc::Receiver<Body>,
    pub(super) standing: &'link mut watch::Receiver<Standing>,
    pub(super) written: &'link mut mpsc::Receiver<Vec<Written>>,
    pub(super) commands: &'link mpsc::Sender<Command>,
    pub(super) backlog: &'link mut Backlog,
    /// The platform has heard the greeting and has not said yet whose this sandbox is.
    pub(super) is_parked: bool,
}

/// How a connection ended.
pub(super) enum Over {
    Ended(LinkEnd),
    Broken { was_linked: bool },
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
            Err(Stop::Broken) => return Over::Broken { was_linked: self.is_parked },
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
                Over::Broken { was_linked: true }
            }
        }
    }

    async fn greet(&mut self, socket: &mut Socket) -> Result<(), Stop> {
        write(socket, [Body::Hello(self.hello.clone())]).await?;
        let welcome = self.welcome(socket).await?;
        if let Err(failure) = self.be_admitted(&welcome) {
            let failed = failure::frame(&failure);
            tracing::error!(failed.message, "the sandbox cannot go on");
            write(socket, [Body::Failed(failed)]).await?;
            return Err(Stop::Ended(LinkEnd::Failed));
        }
        // What waited for a link is old by now: previews have gaps, phases were passed. The state is said anew.
        while self.outgoing.try_recv().is_ok() {}
        self.backlog.begin_again();
        let startup = self.standing.borrow_and_update().startup.clone();
        write(socket, startup.map(Body::Startup)).await
    }

    /// Waits for as long as there are signs of life: a pod of a warm pool is nobody's yet.
    async fn welcome(&mut self, socket: &mut Socket) -> Result<Welcome, Stop> {
        loop {
            let body = timeout(SILENCE, read(socket)).await.map_err(|_| Stop::Broken)??;
            match body {
                Some(Body::Welcome(welcome)) if welcome.superseded || self.is_another(&welcome) => {
                    return Err(Stop::Ended(LinkEnd::Superseded));
                }
                Some(Body::Welcome(welcome)) => {
                    self.linked.write();
                    return Ok(welcome);
                }
                Some(Body::Ping(ping)) => {
                    if !self.is_parked {
                        tracing::info!("linked, and nobody's yet");
                        self.is_parked = true;
                        self.linked.write();
                    }
                    write(socket, [Body::Pong(Pong { nonce: ping.nonce })]).await?;
                }
                Some(_) | None => {}
            }
        }
    }

    /// Whether this pod has become another sandbox since it began with a session: then nothing of what runs here belongs to it.
    fn is_another(&self, welcome: &Welcome) -> bool {
        let has_begun = self.standing.borrow().session.is_some();
        let (before, now) = (self.admitted_as.as_str(), welcome.sandbox_id.as_str());
        has_begun && !before.is_empty() && !now.is_empty() && before != now
    }

    /// Takes over what the welcome says, before anything else is read.
    fn be_admitted(&mut self, welcome: &Welcome) -> Result<(), Failure> {
        if !welcome.sandbox_id.is_empty() {
            self.admitted_as.clone_from(&welcome.sandbox_id);
            tracing::info!(sandbox.id = welcome.sandbox_id, "admitted");
        }
        if let (Some(way_out), Some(leads)) = (self.way_out, &welcome.way_out) {
            way_out.lead_to(leads)?;
        }
        Ok(())
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
