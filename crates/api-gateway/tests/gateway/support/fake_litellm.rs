//! A fake LiteLLM that serves nothing but its list of models.

use actix_web::web::Json;
use actix_web::{App, HttpServer, get};
use serde_json::{Value, json};

#[get("/v1/models")]
async fn models() -> Json<Value> {
    let model = |id: &str| json!({"id": id, "object": "model", "created": 1_677_610_602, "owned_by": "openai"});
    Json(json!({"data": [model("demo"), model("anthropic/*")], "object": "list"}))
}

/// Starts it; answers its address. It ends with the test's runtime.
pub fn start() -> String {
    let server = HttpServer::new(|| App::new().service(models))
        .workers(1)
        .disable_signals()
        .bind(("127.0.0.1", 0))
        .unwrap();
    let address = server.addrs()[0];
    tokio::spawn(server.run());
    format!("http://{address}")
}
