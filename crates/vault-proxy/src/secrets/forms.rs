//! In which forms a value is written in a message.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use zeroize::Zeroizing;

type Form = Zeroizing<Vec<u8>>;

/// Fewer characters of a base64 text say too little to be searched for.
const SHORTEST_BASE64: usize = 8;

/// Every form in which a value may come back: as it is, percent-encoded, in JSON, and in base64.
pub fn all(value: &[u8]) -> Vec<Form> {
    let mut forms = vec![
        Zeroizing::new(value.to_vec()),
        percent_encoded(value),
        percent_encoded_in_lower_case(value),
        form_encoded(value),
        json_escaped(value),
        json_escaped_with_slashes(value),
        json_escaped_in_ascii(value),
    ];
    forms.extend(in_base64(value));
    forms
}

/// What RFC 3986 lets stand, and everything else as `%XX`.
pub fn percent_encoded(value: &[u8]) -> Form {
    let mut text = Zeroizing::new(Vec::with_capacity(value.len() * 3));
    for &byte in value {
        if is_unreserved(byte) {
            text.push(byte);
        } else {
            text.extend_from_slice(format!("%{byte:02X}").as_bytes());
        }
    }
    text
}

fn percent_encoded_in_lower_case(value: &[u8]) -> Form {
    let mut text = Zeroizing::new(Vec::with_capacity(value.len() * 3));
    for &byte in value {
        if is_unreserved(byte) {
            text.push(byte);
        } else {
            text.extend_from_slice(format!("%{byte:02x}").as_bytes());
        }
    }
    text
}

/// As HTML forms are sent: a space is a plus.
fn form_encoded(value: &[u8]) -> Form {
    let mut text = Zeroizing::new(Vec::with_capacity(value.len() * 3));
    for &byte in value {
        match byte {
            b' ' => text.push(b'+'),
            byte if is_unreserved(byte) => text.push(byte),
            byte => text.extend_from_slice(format!("%{byte:02X}").as_bytes()),
        }
    }
    text
}

const fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

/// As it stands between the quotes of a JSON text.
pub fn json_escaped(value: &[u8]) -> Form {
    escaped(value, false, false)
}

fn json_escaped_with_slashes(value: &[u8]) -> Form {
    escaped(value, true, false)
}

fn json_escaped_in_ascii(value: &[u8]) -> Form {
    escaped(value, false, true)
}

/// What is no UTF-8 stays as it is: no JSON text can hold it.
fn escaped(value: &[u8], slashes: bool, only_ascii: bool) -> Form {
    let Ok(text) = std::str::from_utf8(value) else { return Zeroizing::new(value.to_vec()) };
    let mut escaped = Zeroizing::new(Vec::with_capacity(value.len() + 16));
    for c in text.chars() {
        match c {
            '"' => escaped.extend_from_slice(b"\\\""),
            '\\' => escaped.extend_from_slice(b"\\\\"),
            '\n' => escaped.extend_from_slice(b"\\n"),
            '\r' => escaped.extend_from_slice(b"\\r"),
            '\t' => escaped.extend_from_slice(b"\\t"),
            '\u{8}' => escaped.extend_from_slice(b"\\b"),
            '\u{c}' => escaped.extend_from_slice(b"\\f"),
            '/' if slashes => escaped.extend_from_slice(b"\\/"),
            c if c < ' ' || (only_ascii && !c.is_ascii()) => {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    escaped.extend_from_slice(format!("\\u{unit:04x}").as_bytes());
                }
            }
            c => escaped.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    escaped
}

/// What every base64 text has in common that holds the value, wherever in it: one for each of the three ways in which the value's first
/// byte can fall, in both alphabets.
pub fn in_base64(value: &[u8]) -> Vec<Form> {
    let mut forms = Vec::new();
    for before in 0..3_usize {
        let mut shifted = Zeroizing::new(vec![0; before]);
        shifted.extend_from_slice(value);
        let encoded = Zeroizing::new(STANDARD_NO_PAD.encode(&*shifted));
        // Characters that hold bits of neighbours as well are left out.
        let first = (before * 8).div_ceil(6);
        let end = shifted.len() * 8 / 6;
        let Some(core) = encoded.as_bytes().get(first..end) else { continue };
        if core.len() < SHORTEST_BASE64 {
            continue;
        }
        let in_urls = core.iter().map(|byte| match byte {
            b'+' => b'-',
            b'/' => b'_',
            byte => *byte,
        });
        forms.push(Zeroizing::new(in_urls.collect()));
        forms.push(Zeroizing::new(core.to_vec()));
    }
    forms
}

/// Hexadecimal digits, in both cases.
pub fn in_hexadecimal(value: &[u8]) -> [Form; 2] {
    const DIGITS: [u8; 16] = *b"0123456789abcdef";
    let digit = |half: u8| DIGITS.get(usize::from(half)).copied().unwrap_or(b'0');
    let lower: Vec<u8> =
        value.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect();
    let upper = lower.to_ascii_uppercase();
    [Zeroizing::new(lower), Zeroizing::new(upper)]
}

#[cfg(test)]
mod tests {
    use base64::engine::general_purpose::STANDARD;

    use super::*;

    #[test]
    fn a_value_is_known_in_each_of_its_forms() {
        let value = "p@ß/ \"w\n".as_bytes();
        let forms = all(value);
        let texts: Vec<&str> =
            forms.iter().map(|form| std::str::from_utf8(form).unwrap()).collect();
        for form in [
            "p@ß/ \"w\n",
            "p%40%C3%9F%2F%20%22w%0A",
            "p%40%c3%9f%2f%20%22w%0a",
            "p%40%C3%9F%2F+%22w%0A",
            "p@ß/ \\\"w\\n",
            "p@ß\\/ \\\"w\\n",
            "p@\\u00df/ \\\"w\\n",
        ] {
            assert!(texts.contains(&form), "{form}: {texts:?}");
        }
    }

    #[test]
    fn a_value_within_any_base64_text_has_one_of_the_forms() {
        let value = b"ghp_0123456789?>~value";
        let forms = in_base64(value);
        for before in ["", "x", "xy", "xyz", "user:"] {
            for after in ["", "a", "ab"] {
                let text = STANDARD.encode([before.as_bytes(), value, after.as_bytes()].concat());
                let found =
                    forms.iter().any(|form| text.contains(std::str::from_utf8(form).unwrap()));
                assert!(found, "{before} {after}");
            }
        }
    }
}
