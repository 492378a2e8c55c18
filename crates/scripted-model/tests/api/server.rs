//! What the server does whichever API it is asked by: log, refuse, hang, notice a hang-up.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use crate::demo::Demo;

fn asked(script: &str) -> Value {
    json!({"model": "demo", "stream": true, "messages": [{"role": "user", "content": script}],
        "tools": [{"type": "function", "function": {"name": "bash"}}]})
}

/// Sends a chat request over a connection that the test can break.
async fn connect_and_ask(demo: &Demo, script: &str) -> TcpStream {
    let mut connection = TcpStream::connect(demo.host()).await.expect("a connection");
    let body = asked(script).to_string();
    let head = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: demo\r\ncontent-type: application/json\r\n\
         content-length: {}\r\n\r\n",
        body.len()
    );
    connection.write_all(format!("{head}{body}").as_bytes()).await.expect("the request is sent");
    connection
}

/// Asks until that many answers are under way.
async fn wait_for_open_answers(demo: &Demo, count: u64) {
    let reached = async { while demo.get("/healthz").await["open_answers"] != count {} };
    timeout(Duration::from_secs(10), reached).await.expect("the count is reached");
}

#[tokio::test]
async fn each_model_request_is_logged_with_what_the_agent_sent() {
    let demo = Demo::start();
    demo.send("/v1/chat/completions", &asked("@say hi")).await;
    demo.get("/v1/models").await;
    let logged = demo.logged();
    let [record] = logged.as_slice() else { panic!("one request was made, not {logged:?}") };
    assert_eq!(record["path"], "/v1/chat/completions");
    assert_eq!(record["model"], "demo");
    assert_eq!(record["stream"], true);
    assert_eq!(record["tools"], json!(["bash"]));
    assert_eq!(record["bytes"], asked("@say hi").to_string().len());
    assert_eq!(record["script"], "@say hi");
    assert_eq!(record["tool_results"], 0);
    assert!(record["time"].as_str().unwrap().ends_with('Z'));
    demo.stop().await;
}

#[tokio::test]
async fn the_models_are_listed_and_say_that_they_are_a_demo() {
    let demo = Demo::start();
    let models = demo.get("/v1/models").await;
    assert_eq!(models["data"][0]["id"], "demo");
    assert_eq!(models["data"][0]["owned_by"], "scripted-demo");
    demo.stop().await;
}

#[tokio::test]
async fn a_body_that_is_not_json_is_refused() {
    let demo = Demo::start();
    let url = format!("http://{}/v1/chat/completions", demo.host());
    let client = reqwest::Client::builder().build().unwrap();
    let response = client.post(url).body("{").send().await.unwrap();
    assert_eq!(response.status(), 400);
    let body: Value = response.json().await.unwrap();
    assert!(body["error"]["message"].as_str().unwrap().starts_with("the body is not JSON"));
    demo.stop().await;
}

#[tokio::test]
async fn a_hang_up_ends_a_stream_that_is_under_way() {
    let demo = Demo::start();
    let mut connection = connect_and_ask(&demo, "@stream 1000000 5").await;
    let mut beginning = [0; 64];
    connection.read_exact(&mut beginning).await.expect("the stream begins");
    assert!(beginning.starts_with(b"HTTP/1.1 200 OK"));
    wait_for_open_answers(&demo, 1).await;
    drop(connection);
    wait_for_open_answers(&demo, 0).await;
    demo.stop().await;
}

#[tokio::test]
async fn a_hang_answers_nothing_until_the_client_hangs_up() {
    let demo = Demo::start();
    let mut connection = connect_and_ask(&demo, "@hang").await;
    wait_for_open_answers(&demo, 1).await;
    let mut answer = [0; 1];
    let silence = timeout(Duration::from_millis(200), connection.read(&mut answer)).await;
    assert!(silence.is_err(), "something was answered");
    drop(connection);
    wait_for_open_answers(&demo, 0).await;
    demo.stop().await;
}

#[tokio::test]
async fn a_hang_up_ends_the_wait_before_a_reply() {
    let demo = Demo::start();
    let connection = connect_and_ask(&demo, "@sleep 600000\n@say late").await;
    wait_for_open_answers(&demo, 1).await;
    drop(connection);
    wait_for_open_answers(&demo, 0).await;
    demo.stop().await;
}
