//! Secrets of this process that must stand in none of its log lines and traces: whatever is written is searched for them first.

use std::borrow::Cow;
use std::cmp::Reverse;
use std::io::{self, Write};
use std::sync::{PoisonError, RwLock};

use memchr::memmem;
use secrecy::{ExposeSecret, SecretString};
use zeroize::Zeroizing;

/// Shorter values are found in everything, and hidden by nothing.
const LEAST_LENGTH: usize = 8;
const IN_ITS_PLACE: &[u8] = b"[redacted]";

/// Longest first, so that a value is taken out before another one that is part of it.
static KNOWN: RwLock<Vec<Known>> = RwLock::new(Vec::new());

/// A value in one of the forms in which it can be written.
struct Known {
    form: Zeroizing<Vec<u8>>,
    /// How many hold on to it.
    holders: usize,
}

/// Keeps a value out of logs for as long as it lives.
#[must_use]
pub struct Remembered(Vec<Zeroizing<Vec<u8>>>);

/// Keeps the value out of all that this process writes from now on, until the answer is dropped.
pub fn remember(value: &SecretString) -> Remembered {
    let forms = forms_of(value.expose_secret());
    let mut known = KNOWN.write().unwrap_or_else(PoisonError::into_inner);
    for form in &forms {
        match known.iter_mut().find(|known| known.form == *form) {
            Some(known) => known.holders += 1,
            None => known.push(Known { form: form.clone(), holders: 1 }),
        }
    }
    known.sort_by_key(|known| Reverse(known.form.len()));
    Remembered(forms)
}

/// Keeps the value out of all that this process ever writes.
pub fn remember_for_good(value: &SecretString) {
    std::mem::forget(remember(value));
}

impl Drop for Remembered {
    fn drop(&mut self) {
        let mut known = KNOWN.write().unwrap_or_else(PoisonError::into_inner);
        for form in &self.0 {
            if let Some(known) = known.iter_mut().find(|known| known.form == *form) {
                known.holders -= 1;
            }
        }
        known.retain(|known| known.holders > 0);
    }
}

/// The value, the password in it if it is a URL, and both as JSON writes them.
fn forms_of(value: &str) -> Vec<Zeroizing<Vec<u8>>> {
    let mut forms = Vec::new();
    for plain in [Some(value), password_of(value)].into_iter().flatten() {
        if plain.len() < LEAST_LENGTH {
            continue;
        }
        let json = serde_json::to_string(plain).unwrap_or_default();
        let json = Zeroizing::new(json);
        let inside = json.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
        forms.push(Zeroizing::new(plain.as_bytes().to_vec()));
        if let Some(inside) = inside.filter(|inside| *inside != plain) {
            forms.push(Zeroizing::new(inside.as_bytes().to_vec()));
        }
    }
    forms
}

fn password_of(url: &str) -> Option<&str> {
    let (_scheme, rest) = url.split_once("://")?;
    let (user, _host) = rest.rsplit_once('@')?;
    Some(user.split_once(':')?.1)
}

/// The bytes without any known value; untouched when there is none, as is the rule.
pub fn clean(bytes: &[u8]) -> Cow<'_, [u8]> {
    let known = KNOWN.read().unwrap_or_else(PoisonError::into_inner);
    let mut cleaned = Cow::Borrowed(bytes);
    for Known { form, .. } in known.iter() {
        let finder = memmem::Finder::new(form.as_slice());
        if finder.find(&cleaned).is_some() {
            cleaned = Cow::Owned(replace(&cleaned, &finder, form.len()));
        }
    }
    cleaned
}

/// As [`clean`], of text.
pub fn clean_text(text: &str) -> Cow<'_, str> {
    match clean(text.as_bytes()) {
        Cow::Borrowed(_) => Cow::Borrowed(text),
        Cow::Owned(bytes) => Cow::Owned(String::from_utf8_lossy(&bytes).into_owned()),
    }
}

fn replace(bytes: &[u8], finder: &memmem::Finder<'_>, length: usize) -> Vec<u8> {
    let mut replaced = Vec::with_capacity(bytes.len());
    let mut done = 0;
    for start in finder.find_iter(bytes) {
        replaced.extend_from_slice(bytes.get(done..start).unwrap_or_default());
        replaced.extend_from_slice(IN_ITS_PLACE);
        done = start + length;
    }
    replaced.extend_from_slice(bytes.get(done..).unwrap_or_default());
    replaced
}

/// Writes to standard output, each line without known values. Whoever writes must hand over whole lines.
pub(crate) struct CleanOutput(io::Stdout);

impl CleanOutput {
    pub(crate) fn new() -> Self {
        Self(io::stdout())
    }
}

impl Write for CleanOutput {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.write_all(&clean(line))?;
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cleaned(text: &str) -> String {
        clean_text(text).into_owned()
    }

    #[test]
    fn what_is_remembered_is_written_nowhere_until_it_is_forgotten() {
        let first = remember(&SecretString::from("first-known-value"));
        let again = remember(&SecretString::from("first-known-value"));
        assert_eq!(
            cleaned("a first-known-value, twice: first-known-value"),
            "a [redacted], twice: [redacted]"
        );
        drop(first);
        assert_eq!(cleaned("first-known-value"), "[redacted]");
        drop(again);
        assert_eq!(cleaned("first-known-value"), "first-known-value");
    }

    #[test]
    fn a_value_is_known_as_json_writes_it_and_by_its_password() {
        let _quoted = remember(&SecretString::from("with \"quotes\" and \\"));
        assert_eq!(cleaned(r#"{"a":"with \"quotes\" and \\"}"#), r#"{"a":"[redacted]"}"#);
        let _url = remember(&SecretString::from("postgres://lap:pa:ss@word@db:5432/lap"));
        assert_eq!(cleaned("it is pa:ss@word"), "it is [redacted]");
        assert_eq!(cleaned("postgres://lap:pa:ss@word@db:5432/lap"), "[redacted]");
    }

    #[test]
    fn a_value_that_is_too_short_hides_nothing() {
        let _short = remember(&SecretString::from("demo"));
        assert_eq!(cleaned("the model demo"), "the model demo");
    }
}
