//! Variables that environments, agents and sessions add to a sandbox's environment.

mod draft;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::id::SecretId;
use crate::network::HostPattern;

pub use draft::{ChangedVariables, VariableBody, VariablesDraft};
pub(crate) use draft::{check_name, parse_hosts};

/// Variables by name.
pub type Variables = BTreeMap<String, Variable>;

/// A variable as it is stored: a secret's value lies elsewhere, sealed, and its placeholder is made for each session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Variable {
    Plain {
        value: String,
    },
    Secret {
        secret_id: SecretId,
        /// Where its value may be used. Empty: nowhere.
        #[cfg_attr(feature = "openapi", schema(value_type = Vec<String>))]
        allowed_hosts: Vec<HostPattern>,
    },
}

const SECRET_ENDINGS: [&str; 4] = ["_TOKEN", "_KEY", "_SECRET", "_PASSWORD"];

/// Whether a variable of this name holds a secret unless it is said otherwise.
pub fn looks_like_a_secret(name: &str) -> bool {
    let name = name.to_ascii_uppercase();
    SECRET_ENDINGS.iter().any(|ending| {
        name.ends_with(ending) || ending.strip_prefix('_').is_some_and(|bare| name == bare)
    })
}

/// Where the secrets of well-known names are used.
pub fn known_hosts(name: &str) -> &'static [&'static str] {
    match name.to_ascii_uppercase().as_str() {
        "GITHUB_TOKEN" | "GH_TOKEN" => {
            &["github.com", "api.github.com", "uploads.github.com", "*.githubusercontent.com"]
        }
        "GITLAB_TOKEN" => &["gitlab.com"],
        "BITBUCKET_TOKEN" => &["bitbucket.org", "api.bitbucket.org"],
        "NPM_TOKEN" | "NODE_AUTH_TOKEN" => &["registry.npmjs.org"],
        "PYPI_TOKEN" | "TWINE_PASSWORD" => &["pypi.org", "upload.pypi.org"],
        "CARGO_REGISTRY_TOKEN" => &["crates.io"],
        "OPENAI_API_KEY" => &["api.openai.com"],
        "ANTHROPIC_API_KEY" => &["api.anthropic.com"],
        "GEMINI_API_KEY" | "GOOGLE_API_KEY" => &["generativelanguage.googleapis.com"],
        "MISTRAL_API_KEY" => &["api.mistral.ai"],
        "GROQ_API_KEY" => &["api.groq.com"],
        "HF_TOKEN" | "HUGGING_FACE_HUB_TOKEN" => &["huggingface.co"],
        "SLACK_TOKEN" | "SLACK_BOT_TOKEN" => &["slack.com"],
        "LINEAR_API_KEY" => &["api.linear.app"],
        "NOTION_TOKEN" | "NOTION_API_KEY" => &["api.notion.com"],
        "STRIPE_API_KEY" | "STRIPE_SECRET_KEY" => &["api.stripe.com"],
        "SENTRY_AUTH_TOKEN" => &["sentry.io"],
        "VERCEL_TOKEN" => &["api.vercel.com"],
        "NETLIFY_AUTH_TOKEN" => &["api.netlify.com"],
        "CLOUDFLARE_API_TOKEN" => &["api.cloudflare.com"],
        "DIGITALOCEAN_TOKEN" => &["api.digitalocean.com"],
        "SENDGRID_API_KEY" => &["api.sendgrid.com"],
        _ => &[],
    }
}

/// Whether a name can be a variable's: letters, digits and underscores, no digit first, and none that the sandbox itself needs.
pub fn is_variable_name(name: &str) -> bool {
    let starts = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    starts && name.len() <= 255 && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

/// Whether the sandbox itself sets or needs a variable of this name, so that nobody else may set it.
///
/// Beside the shell's own names these are the ways to the platform's proxy, the trust in its certificates, and what makes programs load
/// other code than their own.
pub fn is_reserved(name: &str) -> bool {
    const NAMES: [&str; 32] = [
        "PATH",
        "HOME",
        "USER",
        "LOGNAME",
        "SHELL",
        "PWD",
        "OLDPWD",
        "IFS",
        "ENV",
        "BASH_ENV",
        "TMPDIR",
        "HOSTNAME",
        "HTTP_PROXY",
        "HTTPS_PROXY",
        "ALL_PROXY",
        "NO_PROXY",
        "FTP_PROXY",
        "SSL_CERT_FILE",
        "SSL_CERT_DIR",
        "CURL_CA_BUNDLE",
        "REQUESTS_CA_BUNDLE",
        "GIT_SSL_CAINFO",
        "GIT_SSL_CAPATH",
        "GIT_SSL_NO_VERIFY",
        "PIP_CERT",
        "CARGO_HTTP_CAINFO",
        "AWS_CA_BUNDLE",
        "DENO_CERT",
        "NODE_EXTRA_CA_CERTS",
        "NODE_OPTIONS",
        "NODE_TLS_REJECT_UNAUTHORIZED",
        "NODE_USE_ENV_PROXY",
    ];
    const BEGINNINGS: [&str; 4] = ["LD_", "DYLD_", "LAP_", "OPENCODE_"];
    let name = name.to_ascii_uppercase();
    NAMES.contains(&name.as_str()) || BEGINNINGS.iter().any(|start| name.starts_with(start))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_secrets() {
        for name in ["GITHUB_TOKEN", "MY_API_KEY", "DB_PASSWORD", "client_secret", "TOKEN"] {
            assert!(looks_like_a_secret(name), "{name}");
        }
        for name in ["PATH", "KEYBOARD", "TOKENS", "SECRETARY"] {
            assert!(!looks_like_a_secret(name), "{name}");
        }
    }

    #[test]
    fn every_known_host_is_a_pattern() {
        for host in known_hosts("GITHUB_TOKEN") {
            assert!(host.parse::<HostPattern>().is_ok(), "{host}");
        }
    }
}
