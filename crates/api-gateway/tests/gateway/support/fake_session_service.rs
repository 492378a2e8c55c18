//! A fake session-service: the real rules of a conversation without sandboxes, and a hand to play the agent.

mod fork;
mod sandbox;

use std::collections::BTreeMap;
use std::sync::Arc;

use platform_core::clock::Clock;
use platform_core::conversation::{Conversation, Moment, Unfinished};
use platform_core::egress::EgressDecision;
use platform_core::id::{CommandId, EventId, Id, SessionId, TeamId, TurnId};
use platform_core::session::{ContentBlock, Event, EventBody, Session};
use platform_core::turn::{StopReason, TurnState};
use platform_messaging::proto::event::{CommittedEvent, EgressDecided, EventsCommitted, Preview};
use platform_messaging::proto::session::session_command::Action;
use platform_messaging::proto::session::session_reply::Outcome;
use platform_messaging::proto::session::{
    Done, EventsAppended, OpenSession, Refused, SessionCommand, SessionOpened, SessionReply,
};
use platform_messaging::topology::{self, Queue, kind};
use platform_messaging::{Broker, Incoming, Outgoing, Verdict, decode, encode};
use platform_runtime::clock::{SystemClock, SystemIds};
use platform_storage::{
    Database, command_answer, egress_decision, event, idempotency, session, turn,
};
use secrecy::SecretString;
use serde::de::DeserializeOwned;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

#[derive(Clone)]
pub struct FakeSessionService {
    database: Database,
    broker: Broker,
    end: CancellationToken,
}

struct Settled {
    outcome: Outcome,
    announced: Vec<Event>,
}

impl FakeSessionService {
    pub async fn new(database: Database, broker: &str, end: CancellationToken) -> Self {
        let broker = Broker::connect(&SecretString::from(broker), "fake").await.unwrap();
        Self { database, broker, end }
    }

    /// Takes commands from now on.
    pub fn run(&self) {
        let fake = Arc::new(self.clone());
        let (broker, end) = (self.broker.clone(), self.end.clone());
        tokio::spawn(async move {
            let handle = move |incoming: Incoming| {
                let fake = fake.clone();
                async move { fake.carry_out(&incoming).await }
            };
            broker.consume(Queue::SESSION_COMMANDS, 32, 32, end, handle).await;
        });
    }

    async fn carry_out(&self, incoming: &Incoming) -> Verdict {
        let command: SessionCommand = decode(&incoming.body).unwrap();
        let id: CommandId = command.command_id.parse().unwrap();
        let mut connection = self.database.connection().await.unwrap();
        if let Some(answer) = command_answer::find(&mut connection, id).await.unwrap() {
            return Verdict::Answer(answer);
        }
        let (team, session) =
            (command.team_id.parse().unwrap(), command.session_id.parse().unwrap());
        let settled = self.settle(team, session, command.action.unwrap()).await;
        let reply = encode(&SessionReply { outcome: Some(settled.outcome) });
        command_answer::put(&mut connection, id, &reply, SystemClock.now()).await.unwrap();
        self.announce(team, session, &settled.announced).await;
        Verdict::Answer(reply)
    }

    async fn settle(&self, team: TeamId, id: SessionId, action: Action) -> Settled {
        let moment = Moment { now: SystemClock.now(), ids: &SystemIds };
        if let Action::Open(open) = action {
            return self.open(team, id, open).await;
        }
        if let Action::Fork(fork) = action {
            return self.fork(team, id, fork).await;
        }
        let Some(mut conversation) = self.take_up(team, id).await else {
            return refused("not_found", "session_not_found", "there is no such session");
        };
        let outcome = match action {
            Action::SendEvents(send) => {
                match conversation.send(json(&send.events), Unfinished::default(), moment) {
                    Ok(taken) => Outcome::Appended(EventsAppended {
                        numbers: taken.iter().map(|taken| taken.number).collect(),
                        turn_ids: taken
                            .iter()
                            .map(|taken| taken.turn.map_or_else(String::new, bare))
                            .collect(),
                    }),
                    Err(refusal) => {
                        let kind = refusal.kind().as_word();
                        return refused(kind, refusal.code(), &refusal.to_string());
                    }
                }
            }
            Action::Update(update) => {
                if let Err(refusal) = conversation.update(json(&update.patch), moment) {
                    let kind = refusal.kind().as_word();
                    return refused(kind, refusal.code(), &refusal.to_string());
                }
                Outcome::Done(Done {})
            }
            Action::Archive(_) => {
                conversation.archive(Unfinished::default(), moment);
                Outcome::Done(Done {})
            }
            Action::Delete(_) => {
                let number = conversation.session().last_event + 1;
                let mut connection = self.database.connection().await.unwrap();
                idempotency::forget_session(&mut connection, team, id).await.unwrap();
                session::delete(&mut connection, team, id).await.unwrap();
                let announced = vec![an_event(number, EventBody::SessionDeleted {})];
                return Settled { outcome: Outcome::Done(Done {}), announced };
            }
            Action::Open(_)
            | Action::Fork(_)
            | Action::Resume(_)
            | Action::RecordUsage(_)
            | Action::RaiseAlarm(_)
            | Action::AppendJournal(_)
            | Action::ReportStartup(_)
            | Action::ReportLoss(_)
            | Action::ReleaseSandbox(_)
            | Action::ReportUndeliverable(_) => panic!("the gateway does not send this"),
        };
        Settled { outcome, announced: self.store(conversation).await }
    }

    async fn open(&self, team: TeamId, id: SessionId, open: OpenSession) -> Settled {
        let moment = Moment { now: SystemClock.now(), ids: &SystemIds };
        let agent_id = open.agent_id.parse().unwrap();
        let mut connection = self.database.connection().await.unwrap();
        if let Some(context) = &open.context
            && let Some(live) =
                session::find_live_by_context(&mut connection, team, agent_id, context)
                    .await
                    .unwrap()
        {
            return opened(live.id, false);
        }
        let (agent, environment) =
            (json(&open.agent_snapshot), open.environment_id.parse().unwrap());
        let session = Session {
            context: open.context,
            title: open.title,
            metadata: json(&open.metadata),
            vault_ids: open.vault_ids,
            budget: (!open.budget.is_empty()).then(|| json(&open.budget)),
            environment_variables: match open.environment_variables.as_slice() {
                [] => BTreeMap::new(),
                variables => json(variables),
            },
            ..Session::new(id, team, agent, environment, moment.now)
        };
        let mut conversation = Conversation::begin(session, moment);
        conversation.send(json(&open.initial_events), Unfinished::default(), moment).unwrap();
        assert!(session::insert(&mut connection, conversation.session()).await.unwrap());
        Settled { announced: self.store(conversation).await, ..opened(id, true) }
    }

    async fn take_up(&self, team: TeamId, id: SessionId) -> Option<Conversation> {
        let mut connection = self.database.connection().await.unwrap();
        let session = session::find(&mut connection, team, id).await.unwrap()?;
        let open = turn::open_turns(&connection, team, id).await.unwrap();
        let last = turn::last_ordinal(&connection, team, id).await.unwrap();
        Some(Conversation::resume(session, open, last))
    }

    async fn store(&self, conversation: Conversation) -> Vec<Event> {
        let (session, changes) = conversation.into_parts();
        let (team, id, now) = (session.team_id, session.id, SystemClock.now());
        let connection = self.database.connection().await.unwrap();
        session::update(&connection, &session).await.unwrap();
        turn::save(&connection, team, id, changes.turns.values()).await.unwrap();
        event::append(&connection, team, id, now, &changes.events).await.unwrap();
        changes.events
    }

    /// Tells the gateways what was committed.
    pub async fn announce(&self, team: TeamId, session: SessionId, events: &[Event]) {
        let events = events.iter().map(|event| CommittedEvent {
            number: event.number,
            body: serde_json::to_vec(event).unwrap(),
        });
        let committed = EventsCommitted {
            team_id: bare(team),
            session_id: bare(session),
            events: events.collect(),
        };
        let route = topology::events_of(session);
        let body = encode(&committed);
        let message = Outgoing::new(route, kind::EVENTS_COMMITTED, Uuid::new_v4(), body);
        self.broker.publish(message.transient()).await.unwrap();
    }

    /// Plays the agent: appends events to a session's log without telling anybody.
    pub async fn commit(&self, session: &str, bodies: Vec<EventBody>) -> (TeamId, Vec<Event>) {
        let bodies = bodies.into_iter().map(|body| (EventId::from_uuid(Uuid::now_v7()), body));
        self.commit_as(session, bodies.collect()).await
    }

    /// The same, with ids of the caller's choice.
    pub async fn commit_as(
        &self,
        session: &str,
        bodies: Vec<(EventId, EventBody)>,
    ) -> (TeamId, Vec<Event>) {
        let id: SessionId = session.parse().unwrap();
        let mut connection = self.database.connection().await.unwrap();
        let team = self.team_of(id).await;
        let mut session = session::find(&mut connection, team, id).await.unwrap().unwrap();
        let turn = turn::open_turns(&connection, team, id).await.unwrap();
        let turn_id = turn.first().map(|turn| turn.id);
        let mut events = Vec::new();
        for (event_id, body) in bodies {
            session.last_event += 1;
            let event = Event { id: event_id, turn_id, ..an_event(session.last_event, body) };
            events.push(event);
        }
        session::update(&connection, &session).await.unwrap();
        event::append(&connection, team, id, SystemClock.now(), &events).await.unwrap();
        (team, events)
    }

    /// Plays the agent: commits events and announces them.
    pub async fn tell(&self, session: &str, bodies: Vec<EventBody>) -> Vec<Event> {
        let (team, events) = self.commit(session, bodies).await;
        self.announce(team, session.parse().unwrap(), &events).await;
        events
    }

    /// Plays the agent: many long events at once.
    pub async fn burst(&self, session: &str, count: i64) {
        let text = ContentBlock::text("x".repeat(40_000));
        let long = EventBody::AgentMessage { content: vec![text] };
        let bodies = vec![long; usize::try_from(count).unwrap()];
        let (team, events) = self.commit(session, bodies).await;
        for some in events.chunks(50) {
            self.announce(team, session.parse().unwrap(), some).await;
        }
    }

    /// Plays the agent: a turn ends.
    pub async fn end_turn(&self, session: &str, id: TurnId, reason: StopReason) {
        let session: SessionId = session.parse().unwrap();
        let team = self.team_of(session).await;
        let mut connection = self.database.connection().await.unwrap();
        let mut ended = turn::find(&mut connection, team, id).await.unwrap().unwrap();
        ended.state = TurnState::Ended { reason, at: SystemClock.now() };
        turn::save(&connection, team, session, [&ended]).await.unwrap();
    }

    /// Plays the agent: a piece of text, or the announcement of it.
    pub async fn preview(&self, session: &str, event: EventId, text: Option<&str>, offset: u64) {
        let session: SessionId = session.parse().unwrap();
        let preview = Preview {
            session_id: bare(session),
            event_id: bare(event),
            event_type: "agent.message".to_owned(),
            text: text.map(str::to_owned),
            offset,
            epoch: 1,
        };
        let route = topology::previews_of(session);
        let message = Outgoing::new(route, kind::PREVIEW, Uuid::new_v4(), encode(&preview));
        self.broker.publish(message.transient()).await.unwrap();
    }

    /// Plays the way out: tells the gateways of a decision, which it stores as well.
    pub async fn decide(&self, decision: &EgressDecision) {
        let decided = EgressDecided {
            session_id: bare(decision.session_id),
            decision: serde_json::to_vec(decision).unwrap(),
        };
        let mut connection = self.database.connection().await.unwrap();
        egress_decision::insert(&mut connection, std::slice::from_ref(decision)).await.unwrap();
        let route = topology::previews_of(decision.session_id);
        let id = Uuid::new_v4();
        let message = Outgoing::new(route, kind::EGRESS_DECISION, id, encode(&decided));
        self.broker.publish(message.transient()).await.unwrap();
    }

    pub async fn team_of(&self, id: SessionId) -> TeamId {
        let mut connection = self.database.connection().await.unwrap();
        let request = platform_storage::PageRequest {
            position: platform_storage::Position::Start,
            order: platform_storage::Order::OldestFirst,
            limit: 100,
        };
        let teams = platform_storage::team::list(&mut connection, request).await.unwrap();
        for team in teams.items {
            if session::find(&mut connection, team.id, id).await.unwrap().is_some() {
                return team.id;
            }
        }
        panic!("no team has {id}");
    }
}

fn an_event(number: i64, body: EventBody) -> Event {
    Event {
        id: EventId::from_uuid(Uuid::now_v7()),
        number,
        turn_id: None,
        processed_at: Some(SystemClock.now()),
        body,
    }
}

fn opened(session: SessionId, created: bool) -> Settled {
    let opened = SessionOpened { session_id: bare(session), created };
    Settled { outcome: Outcome::Opened(opened), announced: Vec::new() }
}

fn refused(kind: &str, code: &str, message: &str) -> Settled {
    let refused =
        Refused { kind: kind.to_owned(), code: code.to_owned(), message: message.to_owned() };
    Settled { outcome: Outcome::Refused(refused), announced: Vec::new() }
}

fn bare<T>(id: Id<T>) -> String {
    id.uuid().to_string()
}

fn json<T: DeserializeOwned>(bytes: &[u8]) -> T {
    serde_json::from_slice(bytes).unwrap()
}
