//! What model calls cost, and sessions that stand still for want of money.

use platform_core::budget::{Budget, NanoDollars};
use platform_core::id::SessionId;
use platform_core::journal::Entry;
use platform_core::session::{ModelUsage, SessionPatch, Usage};
use platform_core::turn::StopReason;
use platform_messaging::proto::sandbox::sandbox_command;
use platform_messaging::proto::session::session_command::Action;
use platform_messaging::proto::session::session_reply::Outcome;
use platform_messaging::proto::session::{RecordUsage, ResumeSession, UpdateSession};
use platform_storage::{session, team};
use uuid::Uuid;

use crate::house::{AtWork, House};

fn call(cost: u64) -> Action {
    let usage = ModelUsage { input_tokens: 7, output_tokens: 3, ..ModelUsage::default() };
    let usage = serde_json::to_vec(&usage).unwrap();
    Action::RecordUsage(RecordUsage { usage, cost_nano_usd: cost })
}

async fn usage_of(house: &House, id: SessionId) -> Usage {
    let mut connection = house.context.database.connection().await.unwrap();
    session::find(&mut connection, house.team, id).await.unwrap().unwrap().usage
}

async fn stand_still(house: &House, at_work: &mut AtWork) {
    let ended = Entry::TurnEnded {
        turn_id: at_work.turn,
        stop_reason: StopReason::Error,
        message: Some("no money".to_owned()),
    };
    house.tell(at_work, ended).await;
}

async fn set_team_budget(house: &House, nano: u64) {
    let mut connection = house.context.database.connection().await.unwrap();
    let budget = Some(Budget { max_cost: NanoDollars(nano) });
    team::set_budget(&mut connection, house.team, budget).await.unwrap();
}

#[tokio::test]
async fn a_model_call_is_counted_once_however_often_it_is_reported() {
    let house = House::build().await;
    let id = house.opened().await;
    let command = Uuid::now_v7();
    for _ in 0..2 {
        let outcome = house.ask_as(command, house.team, id, call(40)).await;
        assert!(matches!(outcome, Outcome::Done(_)));
    }
    house.ask(id, call(2)).await;
    let expected = Usage {
        input_tokens: 14,
        output_tokens: 6,
        cost_nano_usd: NanoDollars(42),
        ..Usage::default()
    };
    assert_eq!(usage_of(&house, id).await, expected);
    assert_eq!(house.types(id).await, ["session.usage", "session.usage"]);
    let connection = house.context.database.connection().await.unwrap();
    let allowance = team::allowance(&connection, house.team).await.unwrap();
    assert_eq!(allowance.spent, NanoDollars(42));
}

#[tokio::test]
async fn a_turn_goes_on_when_its_team_has_money_again() {
    let mut house = House::build().await;
    let mut at_work = house.at_work().await;
    set_team_budget(&house, 40).await;
    house.ask(at_work.session, call(40)).await;
    stand_still(&house, &mut at_work).await;
    assert_eq!(house.types(at_work.session).await.last(), Some(&"session.status_idle"));
    let stopped = house.told().await;
    assert!(matches!(stopped.action, Some(sandbox_command::Action::Stop(_))));

    house.ask(at_work.session, Action::Resume(ResumeSession {})).await;
    set_team_budget(&house, 41).await;
    house.ask(at_work.session, Action::Resume(ResumeSession {})).await;
    let provision = house.told().await;
    assert!(matches!(provision.action, Some(sandbox_command::Action::Provision(_))));
    assert!(provision.epoch > at_work.epoch);
    assert_eq!(house.types(at_work.session).await.last(), Some(&"session.status_running"));
}

#[tokio::test]
async fn a_budget_cannot_be_given_to_a_session_that_was_opened_without_one() {
    let house = House::build().await;
    let id = house.opened().await;
    let budget = Some(Some(Budget { max_cost: NanoDollars(1) }));
    let patch = serde_json::to_vec(&SessionPatch { budget, ..SessionPatch::default() }).unwrap();
    let outcome = house.ask(id, Action::Update(UpdateSession { patch })).await;
    let Outcome::Refused(refused) = outcome else { panic!("{outcome:?}") };
    assert_eq!(refused.code, "budget_create_only");
}
