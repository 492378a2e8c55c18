//! A message made durable through the API, against a bare `INSERT … COMMIT` into the same database.

use std::time::Instant;

use serde_json::json;
use system_tests::{Client, House};

use crate::figures::{Report, Series};
use crate::postgres;

const ROUNDS: usize = 200;

pub async fn measure(house: &House, client: &Client, report: &mut Report) -> anyhow::Result<()> {
    let agent = client.create_agent().await?;
    let session = client.open_session(&agent).await?;
    client.until_ready(&session).await?;
    // Behind a turn that does not end, messages only queue: what is measured is the append.
    client.say(&session, "@hang").await?;
    let database = postgres::connect(house).await?;
    database
        .batch_execute("create table bench_appends (id bigserial primary key, body json not null)")
        .await?;
    let insert =
        database.prepare("insert into bench_appends (body) values ($1::text::json)").await?;
    let body = json!({ "content": [{ "type": "text", "text": "@say nothing" }] }).to_string();
    let (mut ours, mut bare) = (Series::default(), Series::default());
    for _ in 0..ROUNDS {
        let begun = Instant::now();
        client.say(&session, "@say nothing").await?;
        ours.add(begun.elapsed().as_secs_f64() * 1000.0);
        let begun = Instant::now();
        database.execute(&insert, &[&body]).await?;
        bare.add(begun.elapsed().as_secs_f64() * 1000.0);
    }
    database.batch_execute("drop table bench_appends").await?;
    for quantile in [0.5, 0.99] {
        let what = "durable append by POST …/events";
        report.compare(what, quantile, &ours, ("bare INSERT … COMMIT", &bare));
    }
    client.post(&format!("/v1/sessions/{session}/archive"), &json!({})).await?;
    Ok(())
}
