//! The OpenAPI document is part of the contract: a change of it is a change of a file.

use std::path::Path;

use api_gateway::routes::document;

use crate::support::Gateway;

#[expect(clippy::disallowed_methods, reason = "UPDATE is for whoever runs the test")]
#[test]
fn the_document_is_the_one_in_the_repository() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("openapi.json");
    let made = format!("{}\n", document().to_pretty_json().unwrap());
    if std::env::var("UPDATE").is_ok() {
        std::fs::write(&path, &made).unwrap();
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        made == kept,
        "openapi.json is not what the code says: run this test with UPDATE=1 and look at the difference"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_document_and_a_page_for_people_are_open_to_all() {
    let gateway = Gateway::start_alone().await;
    let anonymous = gateway.anonymous();
    assert!(anonymous.get("/openapi.json").await.ok()["paths"]["/v1/agents"]["post"].is_object());
    let page = anonymous.get("/docs").await;
    assert_eq!(page.header("content-type"), Some("text/html; charset=utf-8"));
    assert!(page.text.contains("/v1/sessions/{session_id}/events/stream"));
    assert_eq!(anonymous.get("/healthz").await.status, 200);
    assert_eq!(anonymous.get("/readyz").await.status, 200);
    assert!(anonymous.get("/metrics").await.text.contains("# EOF"));
}
