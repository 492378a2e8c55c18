//! Messages that the broker did not take, and when each is tried again.

use std::collections::HashMap;

use chrono::{DateTime, TimeDelta, Utc};
use platform_storage::outbox::{OutboxMessage, PassedOver};
use uuid::Uuid;

const LONGEST_PAUSE: TimeDelta = TimeDelta::minutes(1);
/// A message that was not tried for so long was sent by someone else, or went with its session.
const REMEMBERED: TimeDelta = TimeDelta::minutes(10);

/// Kept in memory only: whoever takes the job over tries everything once.
#[derive(Debug, Default)]
pub(super) struct Patience {
    held: HashMap<Uuid, Held>,
}

#[derive(Debug)]
struct Held {
    session: Option<Uuid>,
    pause: TimeDelta,
    again_at: DateTime<Utc>,
}

impl Patience {
    /// Notes that the message was tried in vain; each time it waits longer for the next try.
    pub(super) fn hold(&mut self, message: &OutboxMessage, now: DateTime<Utc>) {
        let before = self.held.get(&message.id).map(|held| held.pause);
        let pause = before.map_or(TimeDelta::seconds(1), |pause| LONGEST_PAUSE.min(pause * 2));
        let held = Held { session: message.session_id, pause, again_at: now + pause };
        self.held.insert(message.id, held);
    }

    /// What is not to be tried at `now`.
    pub(super) fn not_due(&mut self, now: DateTime<Utc>) -> PassedOver {
        self.held.retain(|_, held| now - held.again_at < REMEMBERED);
        let mut passed_over = PassedOver::default();
        for (message, held) in self.held.iter().filter(|(_, held)| held.again_at > now) {
            pass_over(&mut passed_over, *message, held.session);
        }
        passed_over
    }
}

/// Leaves the message where it is, and with it what comes behind it in its session.
pub(super) fn pass_over(passed_over: &mut PassedOver, message: Uuid, session: Option<Uuid>) {
    match session {
        Some(session) => passed_over.sessions.push(session),
        None => passed_over.messages.push(message),
    }
}
