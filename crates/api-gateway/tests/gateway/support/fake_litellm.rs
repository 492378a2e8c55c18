//! A fake LiteLLM that serves nothing but its list of models and their prices.

use actix_web::web::Json;
use actix_web::{App, HttpServer, get};
use serde_json::{Value, json};

#[get("/v1/models")]
async fn models() -> Json<Value> {
    let model = |id: &str| json!({"id": id, "object": "model", "created": 1_677_610_602, "owned_by": "openai"});
    Json(
        json!({"data": [model("demo"), model("free-for-all"), model("anthropic/*")], "object": "list"}),
    )
}

#[get("/model/info")]
async fn prices() -> Json<Value> {
    let model = |name: &str, cost: Value| json!({"model_name": name, "model_info": {"input_cost_per_token": cost}});
    let priced = model("demo", json!(0.000_001));
    Json(
        json!({"data": [priced, model("free-for-all", Value::Null), model("anthropic/*", Value::Null)]}),
    )
}

/// Starts it; answers its address. It ends with the test's runtime.
pub fn start() -> String {
    let server = HttpServer::new(|| App::new().service(models).service(prices))
        .workers(1)
        .disable_signals()
        .bind(("127.0.0.1", 0))
        .unwrap();
    let address = server.addrs()[0];
    tokio::spawn(server.run());
    format!("http://{address}")
}
