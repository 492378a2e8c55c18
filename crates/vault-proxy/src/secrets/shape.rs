//! What a placeholder looks like: models and tools refuse what is not shaped like the real thing.

use platform_core::id::SessionId;
use platform_sealing::{EncryptionKey, Marks};

/// How a provider's secrets look: a fixed beginning, and letters and digits behind it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    prefix: &'static str,
    letters: usize,
}

const OWN: Shape = Shape { prefix: "lap_", letters: 32 };

/// 22 letters have 128 random bits.
const LEAST_LETTERS: usize = 22;

/// By beginnings of values. AWS's access key ids are not among them: behind `AKIA` there is room for 80 bits only, and what they sign
/// cannot be signed anew by a proxy.
const BY_PREFIX: [Shape; 24] = [
    Shape { prefix: "ghp_", letters: 36 },
    Shape { prefix: "gho_", letters: 36 },
    Shape { prefix: "ghu_", letters: 36 },
    Shape { prefix: "ghs_", letters: 36 },
    Shape { prefix: "ghr_", letters: 36 },
    Shape { prefix: "github_pat_", letters: 82 },
    Shape { prefix: "glpat-", letters: 22 },
    Shape { prefix: "npm_", letters: 36 },
    Shape { prefix: "pypi-", letters: 160 },
    Shape { prefix: "sk-ant-api03-", letters: 95 },
    Shape { prefix: "sk-proj-", letters: 48 },
    Shape { prefix: "sk-", letters: 48 },
    Shape { prefix: "xoxb-", letters: 50 },
    Shape { prefix: "xoxp-", letters: 50 },
    Shape { prefix: "xapp-", letters: 60 },
    Shape { prefix: "hf_", letters: 34 },
    Shape { prefix: "gsk_", letters: 52 },
    Shape { prefix: "AIza", letters: 35 },
    Shape { prefix: "lin_api_", letters: 40 },
    Shape { prefix: "ntn_", letters: 46 },
    Shape { prefix: "sk_live_", letters: 24 },
    Shape { prefix: "sk_test_", letters: 24 },
    Shape { prefix: "SG.", letters: 66 },
    Shape { prefix: "dop_v1_", letters: 64 },
];

/// By names of variables.
const BY_NAME: [(&str, &str); 20] = [
    ("GITHUB_TOKEN", "ghp_"),
    ("GH_TOKEN", "ghp_"),
    ("GITLAB_TOKEN", "glpat-"),
    ("NPM_TOKEN", "npm_"),
    ("NODE_AUTH_TOKEN", "npm_"),
    ("PYPI_TOKEN", "pypi-"),
    ("TWINE_PASSWORD", "pypi-"),
    ("ANTHROPIC_API_KEY", "sk-ant-api03-"),
    ("OPENAI_API_KEY", "sk-"),
    ("GEMINI_API_KEY", "AIza"),
    ("GOOGLE_API_KEY", "AIza"),
    ("GROQ_API_KEY", "gsk_"),
    ("HF_TOKEN", "hf_"),
    ("HUGGING_FACE_HUB_TOKEN", "hf_"),
    ("SLACK_BOT_TOKEN", "xoxb-"),
    ("SLACK_TOKEN", "xoxb-"),
    ("LINEAR_API_KEY", "lin_api_"),
    ("NOTION_TOKEN", "ntn_"),
    ("SENDGRID_API_KEY", "SG."),
    ("DIGITALOCEAN_TOKEN", "dop_v1_"),
];

impl Shape {
    /// The shape of a variable's placeholder: its value's own, where that is a known one, else that of its name.
    pub fn of(name: &str, value: &[u8]) -> Self {
        // The longest beginning says most: `sk-ant-api03-` begins with `sk-` as well.
        let known = BY_PREFIX.iter().filter(|shape| value.starts_with(shape.prefix.as_bytes()));
        known.max_by_key(|shape| shape.prefix.len()).copied().unwrap_or_else(|| Self::of_name(name))
    }

    fn of_name(name: &str) -> Self {
        let prefix = BY_NAME.iter().find(|(known, _)| *known == name).map(|(_, prefix)| *prefix);
        BY_PREFIX.iter().find(|shape| Some(shape.prefix) == prefix).copied().unwrap_or(OWN)
    }

    /// Those in which there is room for a mark beside what cannot be guessed.
    pub fn marked() -> impl Iterator<Item = Self> {
        BY_PREFIX.into_iter().chain([OWN]).filter(|shape| shape.has_mark())
    }

    fn has_mark(self) -> bool {
        self.letters >= LEAST_LETTERS + Marks::LETTERS
    }

    /// What stands for the variable in this session.
    pub fn placeholder(self, key: &EncryptionKey, session: SessionId, name: &str) -> String {
        if !self.has_mark() {
            return self.without_mark(key, session, name);
        }
        let letters = key.placeholder(session, name, self.letters - Marks::LETTERS);
        key.marked(session, format!("{}{letters}", self.prefix))
    }

    /// As placeholders were before there were marks. Sessions under way may have kept them in files.
    pub fn without_mark(self, key: &EncryptionKey, session: SessionId, name: &str) -> String {
        format!("{}{}", self.prefix, key.placeholder(session, name, self.letters))
    }

    pub fn prefix(self) -> &'static str {
        self.prefix
    }

    /// In bytes.
    pub fn length(self) -> usize {
        self.prefix.len() + self.letters
    }

    /// What at the beginning of a text has this shape.
    pub fn at_start_of(self, text: &[u8]) -> Option<&[u8]> {
        let shaped = text.get(..self.length())?;
        let letters = shaped.strip_prefix(self.prefix.as_bytes())?;
        letters.iter().all(u8::is_ascii_alphanumeric).then_some(shaped)
    }
}

#[cfg(test)]
mod tests {
    use secrecy::SecretString;
    use uuid::Uuid;

    use super::*;

    fn placeholder(name: &str, value: &str) -> String {
        let key = EncryptionKey::new(&SecretString::from("a key of enough characters")).unwrap();
        let session = SessionId::from_uuid(Uuid::from_u128(1));
        Shape::of(name, value.as_bytes()).placeholder(&key, session, name)
    }

    #[test]
    fn a_placeholder_looks_like_its_value_or_like_what_its_name_promises() {
        for (name, value, prefix, length) in [
            ("GITHUB_TOKEN", "anything", "ghp_", 40),
            ("GITHUB_TOKEN", "github_pat_x", "github_pat_", 93),
            ("MY_OWN", "sk-ant-api03-x", "sk-ant-api03-", 108),
            ("MY_OWN", "sk-x", "sk-", 51),
            ("MY_OWN", "hunter2", "lap_", 36),
        ] {
            let placeholder = placeholder(name, value);
            assert!(placeholder.starts_with(prefix), "{placeholder}");
            assert_eq!(placeholder.len(), length, "{placeholder}");
        }
    }

    #[test]
    fn a_shape_without_room_for_a_mark_has_none() {
        let bare: Vec<_> = BY_PREFIX.iter().filter(|shape| !shape.has_mark()).collect();
        let prefixes: Vec<_> = bare.iter().map(|shape| shape.prefix).collect();
        assert_eq!(prefixes, ["glpat-", "sk_live_", "sk_test_"]);
        assert!(OWN.has_mark());
    }

    #[test]
    fn every_placeholder_has_128_random_bits() {
        assert!(BY_PREFIX.iter().all(|shape| shape.letters >= LEAST_LETTERS));
        for (name, prefix) in BY_NAME {
            assert!(BY_PREFIX.iter().any(|shape| shape.prefix == prefix), "{name}");
        }
    }
}
