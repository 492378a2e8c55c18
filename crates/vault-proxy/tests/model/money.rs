//! What a call costs is counted before its caller knows that it is over.

use futures::FutureExt;
use http::StatusCode;
use http_body_util::BodyExt;
use platform_core::budget::{Allowance, Budget, NanoDollars};
use platform_core::egress::Verdict;
use platform_core::session::ModelUsage;
use serde_json::{Value, json};
use vault_proxy::model::ledger::{Allowances, Spent};

use crate::house::{House, IDENTITY, Plan};

const STREAM: &str = "data: {\"choices\":[{\"delta\":{\"content\":\"hi\"}}]}\n\n\
    data: {\"choices\":[],\"usage\":{\"prompt_tokens\":10,\"completion_tokens\":5}}\n\n\
    data: [DONE]\n\n";

fn stream() -> Plan {
    let headers = vec![("content-type", "text/event-stream"), ("x-litellm-model-group", "demo")];
    Plan { headers, body: STREAM, ..Plan::default() }
}

fn spent(input_tokens: u64, output_tokens: u64, nano: u64) -> Spent {
    let usage = ModelUsage {
        input_tokens,
        output_tokens,
        cache_creation_input_tokens: 0,
        cache_read_input_tokens: 0,
    };
    Spent { usage, cost: NanoDollars(nano) }
}

#[tokio::test]
async fn a_stream_s_end_waits_for_the_count() {
    let house = House::build(stream()).await;
    house.book.may_write.send_replace(false);
    let mut body = house.call("/v1/chat/completions", "{\"stream\":true}").await.into_body();
    // All came in one piece, so that this is held back as a whole.
    assert!(body.frame().now_or_never().is_none());
    house.book.may_write.send_replace(true);
    let text = body.collect().await.unwrap().to_bytes();
    assert_eq!(text, STREAM);
    assert_eq!(*house.book.spent.lock().unwrap(), [spent(10, 5, 20_000)]);
}

#[tokio::test]
async fn an_account_that_cannot_be_written_holds_nobody_up_for_long() {
    let house = House::build(stream()).await;
    house.book.may_write.send_replace(false);
    let answer = house.call("/v1/chat/completions", "{\"stream\":true}").await;
    assert_eq!(answer.into_body().collect().await.unwrap().to_bytes(), STREAM);
    assert!(house.book.spent.lock().unwrap().is_empty());
}

#[tokio::test]
async fn what_litellm_says_of_a_cost_counts_before_its_list_of_prices() {
    let house = House::build(Plan {
        headers: vec![("content-type", "application/json"), ("x-litellm-response-cost", "4.2e-05")],
        body: r#"{"usage":{"input_tokens":3,"output_tokens":4}}"#,
        ..Plan::default()
    })
    .await;
    let answer = house.call("/v1/messages", "{}").await;
    answer.into_body().collect().await.unwrap();
    assert_eq!(*house.book.spent.lock().unwrap(), [spent(3, 4, 42_000)]);
}

#[tokio::test]
async fn a_chat_stream_is_asked_to_tell_its_usage() {
    let mut house = House::build(stream()).await;
    house.call("/v1/chat/completions", "{\"stream\":true}").await;
    let asked = house.asked.recv().await.unwrap();
    assert_eq!(asked.body, "{\"stream_options\":{\"include_usage\":true},\"stream\":true}");
    assert_eq!(asked.headers["authorization"], "Bearer sk-platform");
    assert!(asked.headers["x-litellm-tags"].to_str().unwrap().contains("session:"));
}

#[tokio::test]
async fn who_hangs_up_pays_for_what_was_said_by_then() {
    let house = House::build(Plan {
        headers: vec![("content-type", "text/event-stream"), ("x-litellm-response-cost", "1e-6")],
        body: "data: {\"type\":\"message_start\",\"message\":{\"usage\":{\"input_tokens\":7,\"output_tokens\":1}}}\n\n",
        ..Plan::default()
    })
    .await;
    house.book.may_write.send_replace(false);
    let mut body = house.call("/v1/messages", "{}").await.into_body();
    body.frame().await.unwrap().unwrap();
    drop(body);
    house.book.may_write.send_replace(true);
    while house.book.spent.lock().unwrap().is_empty() {
        tokio::task::yield_now().await;
    }
    assert_eq!(*house.book.spent.lock().unwrap(), [spent(7, 1, 1_000)]);
}

#[tokio::test]
async fn without_money_no_call_is_made_and_the_turn_ends() {
    let budget = Some(Budget { max_cost: NanoDollars(1_000_000) });
    let used_up = Allowance { budget, spent: NanoDollars(1_000_000) };
    for allowances in [
        Allowances { session: used_up, ..Allowances::default() },
        Allowances { team: used_up, ..Allowances::default() },
    ] {
        let mut house = House::build(Plan { allowances, ..stream() }).await;
        let answer = house.call("/v1/chat/completions", "{\"stream\":true}").await;
        assert_eq!(answer.status(), StatusCode::BAD_REQUEST);
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        let body: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(body["error"]["code"], "budget_reached");
        assert!(house.asked.try_recv().is_err());
        let decision = house.decisions.recv().await.unwrap();
        assert_eq!(decision.verdict, Verdict::Denied);
        assert_eq!(decision.code.as_deref(), Some("budget_reached"));
    }
}

#[tokio::test]
async fn a_call_is_among_the_decisions() {
    let mut house = House::build(stream()).await;
    let answer = house.call("/v1/chat/completions", "{\"stream\":true}").await;
    answer.into_body().collect().await.unwrap();
    let decision = house.decisions.recv().await.unwrap();
    assert_eq!((decision.host.as_str(), decision.status), ("litellm", Some(200)));
    assert_eq!(decision.path.as_deref(), Some("/v1/chat/completions"));
    assert_eq!(decision.bytes_in, u64::try_from(STREAM.len()).unwrap());
    assert!(decision.bytes_out > 15);
}

#[tokio::test]
async fn a_session_s_own_key_is_issued_once_and_given_back() {
    let budget = Some(Budget { max_cost: NanoDollars(2_000_000_000) });
    let session = Allowance { budget, spent: NanoDollars(500_000_000) };
    let allowances = Allowances { session, ..Allowances::default() };
    let mut house = House::build(Plan { allowances, has_own_keys: true, ..stream() }).await;
    for _ in 0..2 {
        house.call("/v1/messages", "{}").await;
    }
    house.keys.as_ref().unwrap().give_back(IDENTITY.session_id).await;
    let mut asked = Vec::new();
    while let Ok(one) = house.asked.try_recv() {
        // Prices are read when the first call has ended, whenever that is.
        if one.path != "/model/info" {
            asked.push(one);
        }
    }
    let paths: Vec<&str> = asked.iter().map(|asked| asked.path.as_str()).collect();
    assert_eq!(paths, ["/key/generate", "/v1/messages", "/v1/messages", "/key/delete"]);
    let wanted: Value = serde_json::from_str(&asked[0].body).unwrap();
    assert_eq!(wanted["max_budget"], 1.5);
    assert_eq!(wanted["metadata"]["session"], json!(IDENTITY.session_id));
    assert_eq!(asked[1].headers["authorization"], "Bearer sk-of-the-session");
    assert_eq!(asked[3].headers["authorization"], "Bearer sk-platform");
    assert_eq!(asked[3].body, "{\"keys\":[\"sk-of-the-session\"]}");
}
