//! What is deleted is gone: searched for in every table and every file.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use memchr::memmem;
use serde_json::json;
use system_tests::{Client, House};
use tokio::time::sleep;
use tokio_postgres::{Client as Postgres, NoTls};
use uuid::Uuid;

use crate::{Scenarios, Shared};

/// Between the answer and the last file lies the end of a sandbox.
const PATIENCE: Duration = Duration::from_mins(1);
/// What PostgreSQL and RabbitMQ keep on disk is theirs: rows and messages that are gone from a table or a queue lie there until the
/// space is used again.
const NOT_OURS: [&str; 2] = ["postgres", "rabbitmq"];
/// What the model was sent is the model's: here it notes it down, elsewhere it is another company's.
const OF_THE_MODEL: &str = "scripted-model.requests.jsonl";

pub(crate) fn add_to(scenarios: &mut Scenarios<'_>) {
    scenarios.add("nothing_of_a_deleted_session_is_left_in_tables_and_files", nothing_is_left);
}

async fn nothing_is_left(house: Shared) -> anyhow::Result<()> {
    let house = house.lock().await;
    let client = house.team().await?;
    let word = format!("planted{}", Uuid::new_v4().simple());
    let session = plant(&client, &word).await?;
    let (postgres, connection) = tokio_postgres::connect(house.stack.database_url(), NoTls).await?;
    let connection = tokio::spawn(connection);

    let in_tables = tables_with(&postgres, &word).await?;
    for table in ["sessions", "events", "idempotency_keys"] {
        ensure!(in_tables.iter().any(|found| found == table), "planted, but only in {in_tables:?}");
    }
    let in_files = files_with(&house, &word)?;
    let is_in_workspace = |path: &PathBuf| path.ends_with("workspace/note.txt");
    ensure!(in_files.iter().any(is_in_workspace), "planted, but only in {in_files:?}");

    client.delete(&format!("/v1/sessions/{session}")).await?;
    let begun = Instant::now();
    loop {
        // The tables last: looking through all files takes a while, in which rows go.
        let files = files_with(&house, &word)?;
        let tables = tables_with(&postgres, &word).await?;
        if tables.is_empty() && files.is_empty() {
            break;
        }
        if begun.elapsed() >= PATIENCE {
            let sandboxes = sandboxes_with(&postgres, &word).await?;
            bail!("still in the tables {tables:?} {sandboxes:?} and the files {files:?}");
        }
        sleep(Duration::from_millis(100)).await;
    }
    connection.abort();
    Ok(())
}

/// A session that has the word wherever a session can have one.
async fn plant(client: &Client, word: &str) -> anyhow::Result<String> {
    let agent = client.create_agent().await?;
    let body = json!({
        "agent": agent, "environment_id": environment(client).await?, "title": format!("About {word}"),
        "metadata": { "word": word },
    });
    // What repeats are answered with has the title, too.
    let keyed = client.with_header("Idempotency-Key", &Uuid::new_v4().to_string())?;
    let opened = keyed.post("/v1/sessions", &body).await?;
    let session = opened["id"].as_str().context("no id")?.to_owned();
    let script = format!(
        "remember {word}\n@write note.txt {word}\n@run cat note.txt | tee ~/copy.txt\n@say it says {word}"
    );
    client.say(&session, &script).await?;
    client.until_idle(&session, 0, 1).await?;
    // A second sandbox is told what was said.
    let shown = client.get(&format!("/v1/sessions/{session}")).await?;
    let sandbox = shown["sandbox_id"].as_str().context("no sandbox")?;
    client.delete(&format!("/v1/sandboxes/{sandbox}")).await?;
    let known = client.log(&session).await?.len();
    client.say(&session, &format!("@say once more {word}")).await?;
    client.until_idle(&session, known, 1).await?;
    Ok(session)
}

async fn environment(client: &Client) -> anyhow::Result<String> {
    let body = json!({ "name": "for a while", "config": { "type": "cloud" } });
    let environment = client.post("/v1/environments", &body).await?;
    Ok(environment["id"].as_str().context("no id")?.to_owned())
}

/// The tables in which the word stands, in whichever column; bytes are shown as hexadecimal digits.
async fn tables_with(postgres: &Postgres, word: &str) -> anyhow::Result<Vec<String>> {
    let tables = "select table_name from information_schema.tables where table_schema = 'public'";
    let mut found = Vec::new();
    for table in postgres.query(tables, &[]).await? {
        let table: String = table.get(0);
        let search = format!(
            "select exists (select from \"{table}\" as whole_row
                            where strpos(whole_row::text, $1) > 0
                               or strpos(whole_row::text, encode(convert_to($1, 'UTF8'), 'hex')) > 0)"
        );
        let row = postgres.query_one(&search, &[&word]).await?;
        if row.get(0) {
            found.push(table);
        }
    }
    Ok(found)
}

/// How the sandboxes stand that have the word.
async fn sandboxes_with(postgres: &Postgres, word: &str) -> anyhow::Result<Vec<String>> {
    let query =
        "select id || ' ' || state || ', epoch ' || coalesce(epoch, 0) || ', since ' || created_at
                 from sandboxes where strpos(detail::text, $1) > 0";
    Ok(postgres.query(query, &[&word]).await?.iter().map(|row| row.get(0)).collect())
}

/// The files below the data directory in which the word stands, or whose name has it.
fn files_with(house: &House, word: &str) -> anyhow::Result<Vec<PathBuf>> {
    let root = house.stack.data_directory().path();
    let ours = fs::read_dir(root)?.filter_map(Result::ok).filter(|entry| {
        NOT_OURS.iter().all(|name| !entry.file_name().to_string_lossy().starts_with(name))
    });
    let mut found = Vec::new();
    for entry in ours {
        search(&entry.path(), word.as_bytes(), &mut found);
    }
    Ok(found)
}

/// What cannot be read goes away at this moment, and is looked for again.
fn search(path: &Path, word: &[u8], found: &mut Vec<PathBuf>) {
    let Ok(metadata) = fs::symlink_metadata(path) else { return };
    let name = path.file_name().unwrap_or_default().as_encoded_bytes();
    let has_word = |bytes: &[u8]| memmem::find(bytes, word).is_some();
    if name == OF_THE_MODEL.as_bytes() {
        return;
    }
    if has_word(name) || metadata.is_file() && fs::read(path).is_ok_and(|bytes| has_word(&bytes)) {
        found.push(path.to_path_buf());
    }
    if metadata.is_dir() {
        for entry in fs::read_dir(path).into_iter().flatten().filter_map(Result::ok) {
            search(&entry.path(), word, found);
        }
    }
}
