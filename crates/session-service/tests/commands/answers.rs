//! Calls that wait for a person or a client.

use platform_core::id::EventId;
use platform_core::journal::Entry;
use platform_core::session::{ClientEvent, ContentBlock, EventBody};
use platform_core::turn::{ActionAnswer, AnsweredAction};
use platform_messaging::proto::sandbox::sandbox_command;
use platform_messaging::proto::session::session_command::Action;
use platform_messaging::proto::session::session_reply::Outcome;
use platform_messaging::proto::session::{ReleaseSandbox, SendEvents};
use platform_runtime::clock::SystemIds;
use serde_json::json;

use crate::house::{AtWork, House, hold_links};

fn asking() -> EventBody {
    let serde_json::Value::Object(input) = json!({"command": "touch f"}) else { unreachable!() };
    let evaluated_permission = Some("ask".to_owned());
    EventBody::AgentToolUse { name: "bash".to_owned(), input, evaluated_permission }
}

fn confirming(call: EventId, result: &str) -> Action {
    let result = result.to_owned();
    sending(EventBody::UserToolConfirmation { tool_use_id: call, result, deny_message: None })
}

fn sending(body: EventBody) -> Action {
    let events = [ClientEvent { id: EventId::mint(&SystemIds), body }];
    Action::SendEvents(SendEvents { events: serde_json::to_vec(&events).unwrap() })
}

async fn answer_over_link(at_work: &mut AtWork) -> (EventId, ActionAnswer) {
    match at_work.links.recv().await.unwrap().action {
        Some(sandbox_command::Action::AnswerAction(answer)) => {
            (answer.event_id.parse().unwrap(), serde_json::from_slice(&answer.answer).unwrap())
        }
        other => panic!("no answer but {other:?}"),
    }
}

/// What the next `StartTurn` over the link hands over.
async fn answers_with_the_turn(house: &mut House, at_work: &AtWork) -> Vec<AnsweredAction> {
    let provision = house.told().await;
    assert!(matches!(provision.action, Some(sandbox_command::Action::Provision(_))));
    let session = at_work.session;
    let sandbox = house.get_ready(session, provision.epoch).await;
    let mut links = hold_links(house, &sandbox).await;
    // Whatever was sent before the link was held came back; the sandbox that links anew is told again.
    house.link_anew(session, provision.epoch, &sandbox).await;
    match links.recv().await.unwrap().action {
        Some(sandbox_command::Action::StartTurn(start)) => {
            assert!(start.attempt > 1);
            serde_json::from_slice(&start.answers).unwrap()
        }
        other => panic!("no turn but {other:?}"),
    }
}

#[tokio::test]
async fn an_answer_goes_to_the_sandbox_that_holds_the_call() {
    let mut house = House::build().await;
    let mut at_work = house.at_work().await;
    let call = house.act(&mut at_work, asking()).await;
    assert_eq!(
        house.types(at_work.session).await,
        ["user.message", "session.status_running", "agent.tool_use", "session.status_idle"]
    );
    house.ask(at_work.session, confirming(call, "allow")).await;
    assert_eq!(answer_over_link(&mut at_work).await, (call, ActionAnswer::Allow));
    let resumed = Entry::ActionResumed { turn_id: at_work.turn, event_id: call };
    house.tell(&mut at_work, resumed).await;
    let again = house.ask(at_work.session, confirming(call, "allow")).await;
    let Outcome::Refused(refused) = again else { panic!("{again:?}") };
    assert_eq!((refused.kind.as_str(), refused.code.as_str()), ("invalid", "nothing_to_answer"));
}

#[tokio::test]
async fn a_call_that_outlived_its_sandbox_is_handed_with_its_answer_to_the_next_one() {
    let mut house = House::build().await;
    let mut at_work = house.at_work().await;
    let call = house.act(&mut at_work, asking()).await;
    house.lose(&at_work).await;
    house.ask(at_work.session, confirming(call, "deny")).await;
    let answers = answers_with_the_turn(&mut house, &at_work).await;
    assert_eq!(answers.len(), 1);
    assert_eq!((answers[0].event_id, answers[0].name.as_str()), (call, "bash"));
    assert_eq!(answers[0].input["command"], "touch f");
    assert_eq!(answers[0].answer, ActionAnswer::Deny { message: None });
    assert!(!house.types(at_work.session).await.contains(&"agent.tool_result"));
}

#[tokio::test]
async fn a_clients_result_may_hold_anything_and_outlives_the_sandbox_too() {
    let mut house = House::build().await;
    let mut at_work = house.at_work().await;
    let (name, input) = ("weather".to_owned(), serde_json::Map::new());
    let call = house.act(&mut at_work, EventBody::AgentCustomToolUse { name, input }).await;
    let release = ReleaseSandbox {
        sandbox_id: at_work.sandbox.clone(),
        epoch: at_work.epoch,
        reason: "idle".to_owned(),
    };
    let released = house.ask(at_work.session, Action::ReleaseSandbox(release)).await;
    assert!(matches!(released, Outcome::Done(_)), "a turn that waits needs no sandbox");
    assert!(matches!(house.told().await.action, Some(sandbox_command::Action::Stop(_))));
    let content = vec![ContentBlock::text("sunny \0 \u{1F980}")];
    let body = EventBody::UserCustomToolResult {
        custom_tool_use_id: call,
        content: content.clone(),
        is_error: false,
    };
    house.ask(at_work.session, sending(body)).await;
    let answers = answers_with_the_turn(&mut house, &at_work).await;
    assert_eq!(answers[0].answer, ActionAnswer::Result { content, is_error: false });
}
