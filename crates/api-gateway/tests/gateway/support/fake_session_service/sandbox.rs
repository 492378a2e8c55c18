//! A hand to play a session's sandbox, whose reports count by the real rules.

use platform_core::conversation::{Moment, NumberedEntry, PhaseReport, Unfinished};
use platform_core::environment::SandboxSpec;
use platform_core::id::{EventId, SandboxId, SessionId, TurnId};
use platform_core::journal::Entry;
use platform_core::sandbox::{Backend, Sandbox, SandboxState, StartupPhase};
use platform_core::session::{Event, EventBody};
use platform_core::turn::StopReason;
use platform_runtime::clock::{SystemClock, SystemIds};
use platform_storage::{sandbox, session, turn};
use uuid::Uuid;

use super::{Clock, FakeSessionService};

impl FakeSessionService {
    /// The session's sandbox waits for room.
    pub async fn give_sandbox(&self, session: &str) -> SandboxId {
        let id: SessionId = session.parse().unwrap();
        let team = self.team_of(id).await;
        let mut connection = self.database.connection().await.unwrap();
        let session = session::find(&mut connection, team, id).await.unwrap().unwrap();
        let queued = Sandbox {
            id: SandboxId::from_uuid(Uuid::now_v7()),
            team_id: Some(team),
            session_id: Some(id),
            agent_id: Some(session.agent_id),
            epoch: Some(session.epoch),
            environment_id: session.environment_id,
            harness: session.agent.definition.harness,
            backend: Backend::Local,
            host: "a machine".to_owned(),
            state: SandboxState::Queued,
            spec: SandboxSpec::default(),
            detail: serde_json::json!({}),
            token_hash: None,
            exit_reason: None,
            created_at: SystemClock.now(),
            ready_at: None,
            gone_at: None,
        };
        sandbox::insert_queued(&mut connection, &queued).await.unwrap();
        queued.id
    }

    /// The sandbox comes up and takes up the session's first turn.
    pub async fn begin_turn(&self, session: &str) -> TurnId {
        let id: SessionId = session.parse().unwrap();
        let team = self.team_of(id).await;
        let moment = Moment { now: SystemClock.now(), ids: &SystemIds };
        let mut conversation = self.take_up(team, id).await.unwrap();
        let report = PhaseReport {
            epoch: conversation.session().epoch,
            sandbox: Some(SandboxId::from_uuid(Uuid::now_v7())),
            phase: StartupPhase::Ready,
            detail: String::new(),
            reached_at: moment.now,
            spawn_mode: None,
        };
        conversation.report_startup(report, Unfinished::default(), moment).unwrap();
        let events = self.store(conversation).await;
        self.announce(team, id, &events).await;
        let connection = self.database.connection().await.unwrap();
        let open = turn::open_turns(&connection, team, id).await.unwrap();
        let turn_id = open[0].id;
        self.journal(session, vec![Entry::TurnStarted { turn_id }]).await;
        turn_id
    }

    /// The agent does something in a turn. The id is that of the event, and of the call if it is one.
    pub async fn act(&self, session: &str, turn: TurnId, body: EventBody) -> EventId {
        let id = EventId::from_uuid(Uuid::now_v7());
        self.journal(session, vec![Entry::Event { turn_id: Some(turn), id, body }]).await;
        id
    }

    /// The harness is done with the turn.
    pub async fn finish_turn(&self, session: &str, turn_id: TurnId, stop_reason: StopReason) {
        self.journal(session, vec![Entry::TurnEnded { turn_id, stop_reason, message: None }]).await;
    }

    /// What the journal says comes into the log.
    pub async fn journal(&self, session: &str, entries: Vec<Entry>) -> Vec<Event> {
        let id: SessionId = session.parse().unwrap();
        let team = self.team_of(id).await;
        let moment = Moment { now: SystemClock.now(), ids: &SystemIds };
        let mut conversation = self.take_up(team, id).await.unwrap();
        let (epoch, through) =
            (conversation.session().epoch, conversation.session().journal_through);
        let numbered = entries.into_iter().zip(through + 1..);
        let batch = numbered.map(|(entry, number)| NumberedEntry { number, entry }).collect();
        conversation.take_journal(epoch, batch, moment).unwrap();
        let events = self.store(conversation).await;
        self.announce(team, id, &events).await;
        events
    }
}
