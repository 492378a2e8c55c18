//! session-service and vault-proxy as the test plays them.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex};

use platform_core::id::SessionId;
use platform_messaging::proto::egress::egress_command::Action as EgressAction;
use platform_messaging::proto::egress::egress_reply::Outcome as EgressOutcome;
use platform_messaging::proto::egress::{EgressBound, EgressCommand, EgressReply};
use platform_messaging::proto::session::session_command::Action;
use platform_messaging::proto::session::session_reply::Outcome;
use platform_messaging::proto::session::{
    Done, JournalAccepted, Refused, SessionCommand, SessionReply,
};
use platform_messaging::topology::Queue;
use platform_messaging::{Broker, Verdict, decode, encode};
use tokio::sync::watch;

/// What is planted in every sandbox.
pub const HONEY: &str = "bkp_N0b0dyMayUseThis123";

/// What session-service heard and how it answers.
#[derive(Default)]
pub(super) struct Heard {
    pub(super) journal_refusal: Option<Refused>,
    pub(super) startups: HashMap<SessionId, Vec<(String, String)>>,
    pub(super) others: BTreeMap<SessionId, Vec<Action>>,
    pub(super) closed_egress: BTreeSet<String>,
    pub(super) is_egress_away: bool,
}

pub(super) fn play_session_service(
    broker: &Broker,
    heard: Arc<Mutex<Heard>>,
    news: watch::Sender<u64>,
) {
    let broker = broker.clone();
    tokio::spawn(async move {
        let handler = move |message: platform_messaging::Incoming| {
            let command: SessionCommand = decode(&message.body).unwrap();
            let outcome = take_note(&heard, command);
            news.send_modify(|count| *count += 1);
            async move { Verdict::Answer(encode(&SessionReply { outcome: Some(outcome) })) }
        };
        let end = tokio_util::sync::CancellationToken::new();
        broker.consume(Queue::SESSION_COMMANDS, 10, 1, end, handler).await;
    });
}

fn take_note(heard: &Mutex<Heard>, command: SessionCommand) -> Outcome {
    let mut heard = heard.lock().unwrap();
    let session = command.session_id.parse().unwrap();
    let action = command.action.unwrap();
    if let Action::ReportStartup(startup) = action {
        heard.startups.entry(session).or_default().push((startup.phase, startup.detail));
        return Outcome::Done(Done {});
    }
    let outcome = match (&action, &heard.journal_refusal) {
        (Action::AppendJournal(_), Some(refused)) => Outcome::Refused(refused.clone()),
        (Action::AppendJournal(batch), None) => {
            let through = batch.entries.last().map_or(0, |entry| entry.number);
            Outcome::JournalAccepted(JournalAccepted { through })
        }
        _ => Outcome::Done(Done {}),
    };
    heard.others.entry(session).or_default().push(action);
    outcome
}

pub(super) fn play_vault_proxy(
    broker: &Broker,
    heard: Arc<Mutex<Heard>>,
    news: watch::Sender<u64>,
) {
    let broker = broker.clone();
    tokio::spawn(async move {
        let handler = move |message: platform_messaging::Incoming| {
            let command: EgressCommand = decode(&message.body).unwrap();
            if let Some(EgressAction::Close(_)) = command.action {
                heard.lock().unwrap().closed_egress.insert(command.sandbox_id);
                news.send_modify(|count| *count += 1);
            }
            let outcome = match command.action {
                Some(EgressAction::Bind(_)) => Some(EgressOutcome::Bound(EgressBound {
                    honey_values: vec![HONEY.to_owned()],
                    ..EgressBound::default()
                })),
                _ => None,
            };
            let reply = EgressReply { outcome, ..EgressReply::default() };
            let is_away = heard.lock().unwrap().is_egress_away;
            async move { if is_away { Verdict::Done } else { Verdict::Answer(encode(&reply)) } }
        };
        let end = tokio_util::sync::CancellationToken::new();
        broker.consume(Queue::EGRESS_COMMANDS, 10, 1, end, handler).await;
    });
}
