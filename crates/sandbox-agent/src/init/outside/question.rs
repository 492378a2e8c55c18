//! Questions about names (RFC 1035), answered without asking anybody: each name gets an address that stands for it.

use std::net::Ipv4Addr;

use super::names::Names;

const HEAD: usize = 12;
const LONGEST_NAME: usize = 255;
const LONGEST_LABEL: u8 = 63;
const TYPE_A: u16 = 1;
const TYPE_PTR: u16 = 12;
const CLASS_INTERNET: u16 = 1;
const CLASS_ANY: u16 = 255;
/// Short, because an address may come to stand for another name.
const SECONDS_TO_LIVE: u32 = 60;

const RESPONSE: u8 = 0x80;
const OPERATION: u8 = 0x78;
const RECURSION_WANTED: u8 = 0x01;
const RECURSION_OFFERED: u8 = 0x80;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Code {
    Fine = 0,
    Malformed = 1,
    NoSuchName = 3,
    NotImplemented = 4,
    Refused = 5,
}

/// The one question of a message.
struct Question<'a> {
    labels: Vec<&'a [u8]>,
    kind: u16,
    class: u16,
    /// As it stands in the message.
    bytes: &'a [u8],
}

enum Answer {
    Address(Ipv4Addr),
    Name(String),
    /// The name exists, but nothing of the kind that was asked for.
    Nothing,
    Failure(Code),
}

/// The answer to a message; none to what is no question at all.
pub(super) fn answer(message: &[u8], names: &mut Names) -> Option<Vec<u8>> {
    let (head, rest) = message.split_at_checked(HEAD)?;
    let &[id_high, id_low, flags, _, count_high, count_low, ..] = head else { return None };
    if flags & RESPONSE != 0 {
        return None;
    }
    let head = |code: Code, questions: u8, answers: u8| {
        let kept = flags & (OPERATION | RECURSION_WANTED);
        let (first, second) = (RESPONSE | kept, RECURSION_OFFERED | code as u8);
        vec![id_high, id_low, first, second, 0, questions, 0, answers, 0, 0, 0, 0]
    };
    if flags & OPERATION != 0 {
        return Some(head(Code::NotImplemented, 0, 0));
    }
    let question = if (count_high, count_low) == (0, 1) { Question::read(rest) } else { None };
    let Some(question) = question else { return Some(head(Code::Malformed, 0, 0)) };
    let (code, kind, value) = match question.answer(names) {
        Answer::Address(address) => (Code::Fine, TYPE_A, address.octets().to_vec()),
        Answer::Name(name) => (Code::Fine, TYPE_PTR, written(&name)),
        Answer::Nothing => (Code::Fine, 0, Vec::new()),
        Answer::Failure(code) => (code, 0, Vec::new()),
    };
    let mut message = head(code, 1, u8::from(!value.is_empty()));
    message.extend_from_slice(question.bytes);
    if !value.is_empty() {
        // The name is that of the question, which begins right after the head.
        message.extend([0xc0, u8::try_from(HEAD).unwrap_or_default()]);
        message.extend(kind.to_be_bytes());
        message.extend(CLASS_INTERNET.to_be_bytes());
        message.extend(SECONDS_TO_LIVE.to_be_bytes());
        message.extend(u16::try_from(value.len()).unwrap_or_default().to_be_bytes());
        message.extend(value);
    }
    Some(message)
}

impl<'a> Question<'a> {
    /// Reads a name in full, its type and its class. A name that points elsewhere has no place in a question.
    fn read(bytes: &'a [u8]) -> Option<Self> {
        let mut labels = Vec::new();
        let mut rest = bytes;
        loop {
            let (&length, after) = rest.split_first()?;
            if length == 0 {
                rest = after;
                break;
            }
            if length > LONGEST_LABEL {
                return None;
            }
            let (label, after) = after.split_at_checked(length.into())?;
            labels.push(label);
            rest = after;
        }
        let length = bytes.len() - rest.len();
        if length > LONGEST_NAME {
            return None;
        }
        let &[kind_high, kind_low, class_high, class_low, ..] = rest else { return None };
        Some(Self {
            labels,
            kind: u16::from_be_bytes([kind_high, kind_low]),
            class: u16::from_be_bytes([class_high, class_low]),
            bytes: bytes.get(..length + 4)?,
        })
    }

    fn answer(&self, names: &mut Names) -> Answer {
        if self.class != CLASS_INTERNET && self.class != CLASS_ANY {
            return Answer::Failure(Code::Refused);
        }
        let Some(name) = self.host() else { return Answer::Failure(Code::NoSuchName) };
        if let Some(reversed) = name.strip_suffix(".in-addr.arpa") {
            return self.about_an_address(reversed, names);
        }
        let last = name.rsplit('.').next().unwrap_or_default();
        // What ends in a number is an address in some old spelling, and nothing of the kind has a name.
        let is_number = last.starts_with(|first: char| first.is_ascii_digit());
        if is_number || matches!(last, "arpa" | "invalid") {
            return Answer::Failure(Code::NoSuchName);
        }
        match self.kind {
            TYPE_A if last == "localhost" => Answer::Address(Ipv4Addr::LOCALHOST),
            TYPE_A => Answer::Address(names.address_of(&name)),
            _ => Answer::Nothing,
        }
    }

    fn about_an_address(&self, reversed: &str, names: &mut Names) -> Answer {
        let forward: Vec<_> = reversed.rsplit('.').collect();
        let name = match forward.join(".").parse::<Ipv4Addr>() {
            Ok(Ipv4Addr::LOCALHOST) => Some("localhost".into()),
            Ok(address) if names.stand_at(address.into()) => names.name_of(address),
            Ok(_) | Err(_) => None,
        };
        match name {
            Some(name) if self.kind == TYPE_PTR => Answer::Name(name.to_string()),
            Some(_) => Answer::Nothing,
            None => Answer::Failure(Code::NoSuchName),
        }
    }

    /// The name in small letters, if it can be that of a host. It goes into the head of a request, so it holds nothing else.
    fn host(&self) -> Option<String> {
        let is_fine = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        let mut labels = Vec::with_capacity(self.labels.len());
        for label in &self.labels {
            if !label.iter().all(is_fine) {
                return None;
            }
            labels.push(String::from_utf8_lossy(label).to_ascii_lowercase());
        }
        (!labels.is_empty()).then(|| labels.join("."))
    }
}

/// A name that came out of a question goes back into an answer.
fn written(name: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(name.len() + 2);
    for label in name.split('.') {
        bytes.push(u8::try_from(label.len()).unwrap_or_default());
        bytes.extend(label.bytes());
    }
    bytes.push(0);
    bytes
}

#[cfg(test)]
mod tests;
