//! Content as clients send it: which blocks a message and a tool's result may have.

use platform_core::session::ContentBlock;
use platform_core::wire::{InvalidField, TextOr};
use serde_json::Value;

/// Plain text is one text block.
pub(super) fn blocks(content: TextOr<Vec<ContentBlock>>) -> Vec<ContentBlock> {
    match content {
        TextOr::Text(text) => vec![ContentBlock::Text { text }],
        TextOr::Full(content) => content,
    }
}

pub(super) fn check_message(content: &[ContentBlock]) -> Result<(), InvalidField> {
    if content.is_empty() {
        return Err(InvalidField::new("content", "at least one block is needed"));
    }
    check_each(content, |block| match block {
        ContentBlock::Text { text } if text.is_empty() => Some("a text block is not empty"),
        ContentBlock::Text { text } if text.contains('\0') => Some("text cannot contain U+0000"),
        ContentBlock::SearchResult { .. } | ContentBlock::Redacted {} => {
            Some("a user's message has text, image and document blocks only")
        }
        ContentBlock::Text { .. } | ContentBlock::Image { .. } | ContentBlock::Document { .. } => {
            None
        }
    })
}

/// A tool prints what it likes, or nothing.
pub(super) fn check_result(content: &[ContentBlock]) -> Result<(), InvalidField> {
    check_each(content, |block| match block {
        ContentBlock::Redacted {} => {
            Some("a tool's result has text, image, document and search_result blocks only")
        }
        ContentBlock::Text { .. }
        | ContentBlock::Image { .. }
        | ContentBlock::Document { .. }
        | ContentBlock::SearchResult { .. } => None,
    })
}

fn check_each(
    content: &[ContentBlock],
    fault: impl Fn(&ContentBlock) -> Option<&'static str>,
) -> Result<(), InvalidField> {
    for (index, block) in content.iter().enumerate() {
        let place = format!("content[{index}]");
        if let Some(problem) = fault(block) {
            return Err(InvalidField::new(place, problem));
        }
        check_sources(block).map_err(|fault| fault.within(place))?;
    }
    Ok(())
}

fn check_sources(block: &ContentBlock) -> Result<(), InvalidField> {
    match block {
        ContentBlock::Image { source } => check_source(source, &["base64", "url"]),
        ContentBlock::Document { source, .. } => check_source(source, &["base64", "url", "text"]),
        ContentBlock::Text { .. }
        | ContentBlock::SearchResult { .. }
        | ContentBlock::Redacted {} => Ok(()),
    }
}

fn check_source(source: &Value, kinds: &[&str]) -> Result<(), InvalidField> {
    let has = |key: &str| source.get(key).is_some_and(Value::is_string);
    let kind = source.get("type").and_then(Value::as_str).unwrap_or_default();
    let is_complete = match kind {
        "base64" | "text" => has("media_type") && has("data"),
        "url" => has("url"),
        _ => false,
    };
    if kinds.contains(&kind) && is_complete {
        return Ok(());
    }
    let problem = match kind {
        "file" => "uploaded files are not supported yet".to_owned(),
        _ => format!("is one of {} with all its fields", kinds.join(", ")),
    };
    Err(InvalidField::new("source", problem))
}
