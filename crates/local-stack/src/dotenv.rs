//! `NAME=value` files, as `.env` and `.lap/env` are written.

use std::collections::BTreeMap;

/// Reads assignments. Understands comments, `export `, and values in single or double quotes; a line that
/// is no assignment is skipped, as shells' dotenv readers do.
pub(crate) fn parse(text: &str) -> BTreeMap<String, String> {
    text.lines().filter_map(assignment).collect()
}

fn assignment(line: &str) -> Option<(String, String)> {
    let line = line.trim();
    let line = line.strip_prefix("export ").unwrap_or(line);
    let (name, value) = line.split_once('=')?;
    let name = name.trim();
    let is_name = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    is_name.then(|| (name.to_owned(), unquoted(value.trim()).to_owned()))
}

fn unquoted(value: &str) -> &str {
    for quote in ['"', '\''] {
        let inner = value.strip_prefix(quote).and_then(|rest| rest.split_once(quote));
        if let Some((inner, _)) = inner {
            return inner;
        }
    }
    value.split(" #").next().unwrap_or(value).trim_end()
}

/// Writes assignments in a form that this reader and a POSIX shell's `.` both understand.
pub(crate) fn render(variables: &BTreeMap<String, String>) -> String {
    let lines: Vec<String> =
        variables.iter().map(|(name, value)| format!("{name}='{value}'\n")).collect();
    lines.concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_comments_and_exports_are_understood() {
        let text =
            "# a comment\nA=1\nexport B='two words'\nC=\"x=y\" # why\nD=v # note\nE=\nnot a line\n";
        let expected = [("A", "1"), ("B", "two words"), ("C", "x=y"), ("D", "v"), ("E", "")];
        let expected: BTreeMap<String, String> =
            expected.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        assert_eq!(parse(text), expected);
    }

    #[test]
    fn what_is_written_reads_the_same() {
        let variables = BTreeMap::from([("URL".to_owned(), "postgres://a:b@c/d?e=f".to_owned())]);
        assert_eq!(parse(&render(&variables)), variables);
    }
}
