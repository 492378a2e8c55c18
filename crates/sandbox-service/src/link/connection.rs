//! One link from its first frame to its end.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use futures::{SinkExt, StreamExt};
use platform_core::id::{SandboxId, SessionId};
use platform_core::sandbox::{Sandbox, StartupPhase};
use platform_messaging::proto::event;
use platform_messaging::proto::link::{self, frame::Body};
use platform_messaging::proto::link::{Frame, Hello, Ping, Preview, Welcome};
use platform_messaging::topology::{SANDBOX_LINKS, kind, previews_of};
use platform_messaging::{Outgoing as Message, decode, encode};
use platform_storage::{StorageError, sandbox as rows};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};
use tokio_tungstenite::tungstenite::{Message as Packet, protocol::WebSocketConfig};
use tokio_tungstenite::{WebSocketStream, accept_async_with_config};

use super::hello::{Admission, admit, admit_pod};
use super::uplink::{self, Upward};
use super::{Held, Outgoing, grace, greeting, pod_identity};
use crate::backend::WayOut;
use crate::ending;
use crate::notes::{Loss, Notes};
use crate::service::Service;
use crate::{tickets, watch};

const FIRST_FRAME_WITHIN: Duration = Duration::from_secs(5);
pub(super) const PING_PERIOD: Duration = Duration::from_secs(5);
pub(super) const LOST_AFTER: Duration = Duration::from_secs(15);
const WRITTEN_WITHIN: Duration = Duration::from_secs(10);
/// What came over a link that ended is still dealt with; beyond this the sandbox will have sent it again.
const SETTLED_WITHIN: Duration = Duration::from_secs(30);
/// How long a sandbox that gave up may take to close its link.
const LAST_WORDS: Duration = Duration::from_secs(5);
/// A batch of 64 journal entries of 256 KiB, and some air.
const LARGEST_MESSAGE: usize = 32 << 20;

/// A stream to a sandbox: a socket of this machine, or a connection from a pod.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Sync + Unpin + 'static {}
impl<T: AsyncRead + AsyncWrite + Send + Sync + Unpin + 'static> Stream for T {}

pub(super) type Socket = WebSocketStream<Box<dyn Stream>>;

/// Where sandboxes dial, which says how they prove who they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Entrance {
    /// The token that this service minted for the sandbox.
    OfMachine,
    /// The token that the cluster minted for the pod.
    OfPods,
}

/// Serves one connection to its end.
pub(super) async fn serve(service: Arc<Service>, stream: impl Stream, entrance: Entrance) {
    let settings = WebSocketConfig::default()
        .max_message_size(Some(LARGEST_MESSAGE))
        .max_frame_size(Some(LARGEST_MESSAGE));
    let greeting = async {
        let stream: Box<dyn Stream> = Box::new(stream);
        let mut socket = accept_async_with_config(stream, Some(settings)).await.ok()?;
        let hello = first_frame(&mut socket).await?;
        Some((socket, hello))
    };
    let Ok(Some((mut socket, hello))) = timeout(FIRST_FRAME_WITHIN, greeting).await else {
        tracing::warn!("a connection did not say who it is");
        return;
    };
    let admitted = match entrance {
        Entrance::OfMachine => Box::pin(admit(&service, &hello)).await,
        Entrance::OfPods => {
            let Some(caller) = Box::pin(pod_identity::find(&service, &hello, &mut socket)).await
            else {
                return;
            };
            Box::pin(admit_pod(&service, &caller, &hello)).await
        }
    };
    match admitted {
        Ok(Admission::Accepted(sandbox)) => {
            Link { service, sandbox: *sandbox, hello, socket }.serve().await;
        }
        Ok(Admission::Superseded) => {
            tracing::info!(sandbox.id = hello.sandbox_id, "a sandbox came back whose time is over");
            let _gone = write(
                &mut socket,
                Body::Welcome(Welcome { superseded: true, ..Welcome::default() }),
            )
            .await;
            let _gone = socket.close(None).await;
        }
        Ok(Admission::Refused(reason)) => {
            tracing::warn!(sandbox.id = hello.sandbox_id, reason, "a link was refused");
        }
        Err(error) => {
            tracing::warn!(error = &error as &dyn Error, "a link cannot be checked now");
        }
    }
}

async fn first_frame(socket: &mut Socket) -> Option<Hello> {
    let packet = socket.next().await?.ok()?;
    let frame = decode::<Frame>(&packet.into_data()).ok()?;
    let Some(Body::Hello(hello)) = frame.body else { return None };
    Some(hello)
}

/// The socket took nothing more.
pub(super) struct Broken;

pub(super) async fn write(socket: &mut Socket, body: Body) -> Result<(), Broken> {
    let packet = Packet::Binary(encode(&Frame { body: Some(body) }).into());
    match timeout(WRITTEN_WITHIN, socket.send(packet)).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(_)) | Err(_) => Err(Broken),
    }
}

struct Link {
    service: Arc<Service>,
    sandbox: Sandbox,
    hello: Hello,
    socket: Socket,
}

impl Link {
    async fn serve(self) {
        let Self { service, sandbox, hello, mut socket } = self;
        let id = sandbox.id;
        let welcome = match welcome(&service, &sandbox).await {
            Ok(welcome) => welcome,
            Err(error) => {
                tracing::warn!(sandbox.id = %id, error = &error as &dyn Error, "a sandbox cannot be welcomed now");
                return;
            }
        };
        let routing_key = id.uuid().to_string();
        let mut held = service.links().open(id, service.shutdown().child_token());
        // Before anybody hears that the sandbox is ready, so that nothing meant for it goes astray.
        if let Err(error) = service.link_queue().bind(SANDBOX_LINKS, &routing_key).await {
            tracing::warn!(
                error = &error as &dyn Error,
                "the link is bound once the broker is back"
            );
        }
        // One that is just being started here is watched by the one who starts it.
        if service.backend().adopt(id) {
            watch::spawn(&service, id);
        }

        let (steps, waiting) = mpsc::channel(uplink::WAITING);
        let uplink = tokio::spawn(uplink::run(service.clone(), id, waiting));
        let why = if write(&mut socket, Body::Welcome(welcome)).await.is_ok() {
            tracing::info!(sandbox.id = %id, "linked");
            let is_hydrated = hello.epoch != 0;
            greeting::spawn(&service, id, hello, steps.clone());
            let occupied = sandbox.session_id.zip(sandbox.epoch.map(|epoch| epoch.0));
            let link = Exchange {
                service: &service,
                id,
                occupied,
                is_hydrated,
                steps,
                socket: &mut socket,
            };
            link.run(&mut held).await
        } else {
            drop(steps);
            "it broke at once"
        };
        let is_last = service.links().close(id, held.number);
        if is_last {
            service.link_queue().unbind(SANDBOX_LINKS, &routing_key).await;
        }
        tracing::info!(sandbox.id = %id, why, "link ended");
        drop(socket);
        settle(uplink).await;
        service.links().settle(held.number);
        if is_last && !service.shutdown().is_cancelled() {
            grace::spawn(&service, id);
        }
    }
}

/// What a sandbox has to know that its backend did not tell it.
async fn welcome(service: &Service, sandbox: &Sandbox) -> Result<Welcome, StorageError> {
    let WayOut::Ticket(address) = service.backend().way_out(sandbox.id) else {
        return Ok(Welcome::default());
    };
    let ticket = service.tickets().of(sandbox.id);
    let mut connection = service.database().connection().await?;
    rows::set_egress_ticket_hash(&mut connection, sandbox.id, &tickets::hash(&ticket)).await?;
    let way_out = link::WayOut {
        address: address.to_string(),
        ticket: ticket.to_vec(),
        ca_certificate_pem: Notes::of(sandbox).egress_authority,
    };
    Ok(Welcome {
        superseded: false,
        sandbox_id: sandbox.id.uuid().to_string(),
        way_out: Some(way_out),
    })
}

async fn settle(mut uplink: tokio::task::JoinHandle<()>) {
    match timeout(SETTLED_WITHIN, &mut uplink).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::error!(%error, "what came over a link was not dealt with"),
        Err(_elapsed) => uplink.abort(),
    }
}

/// The frames that go both ways while a link lasts.
struct Exchange<'a> {
    service: &'a Arc<Service>,
    id: SandboxId,
    /// The session and its epoch, once there is one.
    occupied: Option<(SessionId, u64)>,
    /// Whether the sandbox has taken its session up: what it says of phases before was about being warm.
    is_hydrated: bool,
    steps: mpsc::Sender<Upward>,
    socket: &'a mut Socket,
}

impl Exchange<'_> {
    /// Answers why the link ended.
    async fn run(mut self, held: &mut Held) -> &'static str {
        let mut pings = tokio::time::interval(PING_PERIOD);
        let mut last_sign = Instant::now();
        let mut nonce = 0;
        loop {
            tokio::select! {
                () = held.closing.cancelled() => return "it was closed here",
                outgoing = held.frames.recv() => {
                    let Some(Outgoing { body, written }) = outgoing else { return "it was closed here" };
                    if let Body::Hydrate(hydrate) = &body {
                        self.occupied = hydrate.session_id.parse().ok().zip(Some(hydrate.epoch));
                    }
                    if write(self.socket, body).await.is_err() {
                        return "it could not be written";
                    }
                    let _nobody_waits = written.send(());
                }
                packet = self.socket.next() => {
                    last_sign = Instant::now();
                    let Some(Ok(packet)) = packet else { return "the sandbox closed it" };
                    if let Err(why) = self.take(packet).await {
                        return why;
                    }
                }
                _ = pings.tick() => {
                    if last_sign.elapsed() > LOST_AFTER {
                        return "the sandbox fell silent";
                    }
                    nonce += 1;
                    if write(self.socket, Body::Ping(Ping { nonce })).await.is_err() {
                        return "it could not be written";
                    }
                }
            }
        }
    }

    async fn take(&mut self, packet: Packet) -> Result<(), &'static str> {
        let Packet::Binary(bytes) = packet else { return Ok(()) };
        let frame = decode::<Frame>(&bytes).map_err(|_malformed| "it carried a malformed frame")?;
        // A frame without a body is one of a newer version.
        let Some(body) = frame.body else { return Ok(()) };
        match body {
            Body::Startup(startup) => {
                self.is_hydrated |= startup.phase == StartupPhase::PreparingWorkspace.as_word();
                let is_of_session = self.is_hydrated;
                self.step(Upward::Startup { startup, is_of_session })
            }
            Body::Journal(journal) => self.step(Upward::Journal(journal.entries)),
            Body::Preview(preview) => {
                self.forward(preview).await;
                Ok(())
            }
            Body::Failed(failed) => {
                let (service, id) = (self.service.clone(), self.id);
                let loss = Loss::new(&failed.reason, failed.message);
                self.service.tasks().spawn("end of a failed sandbox", async move {
                    // What it wrote before goes into the log before its epoch is over.
                    service.links().wait_until_settled(id, LAST_WORDS).await;
                    ending::lose(&service, id, loss).await;
                });
                Ok(())
            }
            Body::Pong(_) => Ok(()),
            Body::Hello(_)
            | Body::Welcome(_)
            | Body::Prepare(_)
            | Body::Hydrate(_)
            | Body::StartTurn(_)
            | Body::InterruptTurn(_)
            | Body::AnswerAction(_)
            | Body::JournalAck(_)
            | Body::Ping(_)
            | Body::Stop(_) => Err("it carried a frame that is not for us"),
        }
    }

    /// Never waits: pings have to go on. A sandbox that sends without waiting for acknowledgements is cut.
    fn step(&self, step: Upward) -> Result<(), &'static str> {
        self.steps.try_send(step).map_err(|_full_or_over| "more came than was acknowledged")
    }

    /// Previews are worth nothing later, so nobody waits for them and nobody repeats them.
    async fn forward(&self, preview: Preview) {
        let Some((session, epoch)) = self.occupied else { return };
        let message = event::Preview {
            session_id: session.uuid().to_string(),
            event_id: preview.event_id,
            event_type: preview.event_type,
            text: preview.text,
            offset: preview.offset,
            epoch,
        };
        let message_id = self.service.ids().uuid();
        let outgoing =
            Message::new(previews_of(session), kind::PREVIEW, message_id, encode(&message));
        if let Err(error) = self.service.broker().publish_transient(outgoing.transient()).await {
            tracing::debug!(error = &error as &dyn Error, "a preview was lost");
        }
    }
}
