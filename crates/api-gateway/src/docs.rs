//! The description of the API: as OpenAPI for programs, as a page for people. The page needs nothing from elsewhere.

use std::fmt::Write;

use actix_web::{HttpResponse, get};
use serde_json::Value;

/// The document as the repository has it, which a test holds equal to what the code says.
const DOCUMENT: &str = include_str!("../openapi.json");
const PAGE: &str = include_str!("docs.html");

#[get("/openapi.json")]
pub async fn openapi() -> HttpResponse {
    HttpResponse::Ok().content_type("application/json").body(DOCUMENT)
}

#[get("/docs")]
pub async fn page_for_people() -> HttpResponse {
    let document: Value = serde_json::from_str(DOCUMENT).unwrap_or_default();
    HttpResponse::Ok().content_type("text/html; charset=utf-8").body(page(&document))
}

/// One line of the page.
struct Operation<'document> {
    tag: &'document str,
    path: &'document str,
    verb: &'document str,
    summary: &'document str,
}

fn page(document: &Value) -> String {
    let mut rows = String::new();
    let mut section = "";
    for Operation { tag, path, verb, summary } in operations(document) {
        if tag != section {
            let _written = write!(rows, "<tr><th colspan=3>{}</th></tr>", escape(tag));
            section = tag;
        }
        let verb = verb.to_uppercase();
        let (path, summary) = (escape(path), escape(summary));
        let _written =
            write!(rows, "<tr><td>{verb}</td><td><code>{path}</code></td><td>{summary}</td></tr>");
    }
    PAGE.replace("{{title}}", &escape(text(document, "/info/title")))
        .replace("{{description}}", &escape(text(document, "/info/description")))
        .replace("{{rows}}", &rows)
}

/// Every operation of the document, by tag and path.
fn operations(document: &Value) -> Vec<Operation<'_>> {
    let paths = document.get("paths").and_then(Value::as_object);
    let verbs = paths.into_iter().flatten().flat_map(|(path, item)| {
        item.as_object().into_iter().flatten().map(move |(verb, operation)| Operation {
            tag: text(operation, "/tags/0"),
            path,
            verb,
            summary: text(operation, "/summary"),
        })
    });
    let mut operations: Vec<_> = verbs.collect();
    operations.sort_by_key(|operation| (operation.tag, operation.path, operation.verb));
    operations
}

fn text<'document>(value: &'document Value, pointer: &str) -> &'document str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
