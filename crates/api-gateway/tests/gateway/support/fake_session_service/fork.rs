//! Forks by the real rules, but for the files: there are none.

use platform_core::conversation::{Conversation, ForkDescription, ForkPoint, Moment};
use platform_core::id::{SessionId, TeamId};
use platform_core::turn::TurnState;
use platform_messaging::proto::session::ForkSession;
use platform_runtime::clock::{SystemClock, SystemIds};
use platform_storage::{event, session, turn};

use super::{Clock, FakeSessionService, Settled, json, opened, refused};

impl FakeSessionService {
    pub(super) async fn fork(&self, team: TeamId, id: SessionId, fork: ForkSession) -> Settled {
        let moment = Moment { now: SystemClock.now(), ids: &SystemIds };
        let mut connection = self.database.connection().await.unwrap();
        let source: SessionId = fork.source_session_id.parse().unwrap();
        let Some(source) = session::find(&mut connection, team, source).await.unwrap() else {
            return refused("not_found", "session_not_found", "there is no such session");
        };
        if !(0..=source.last_event).contains(&fork.at_event) {
            return refused("invalid", "no_such_event", "the session has no such event");
        }
        let at_event = if fork.at_event == 0 { source.last_event } else { fork.at_event };
        let turns = turn::opened_through(&mut connection, team, source.id, at_event).await.unwrap();
        let ended = turns.iter().filter(|turn| matches!(turn.state, TurnState::Ended { .. }));
        let point = ForkPoint {
            at_event,
            ended: ended.map(|turn| turn.id).collect(),
            ..ForkPoint::default()
        };
        let description = ForkDescription {
            context: fork.context,
            title: fork.title,
            metadata: json(&fork.metadata),
        };
        let fork = Conversation::fork(&source, id, description, turns, &point, moment);
        if !session::insert(&mut connection, fork.conversation.session()).await.unwrap() {
            return refused("conflict", "context_taken", "another live session has the context");
        }
        event::copy(&mut connection, team, source.id, at_event, id, &fork.turns).await.unwrap();
        Settled { announced: self.store(fork.conversation).await, ..opened(id, true) }
    }
}
