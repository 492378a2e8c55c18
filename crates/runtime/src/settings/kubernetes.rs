//! How sandboxes are run as pods, for `SANDBOX_BACKEND=kubernetes`.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::str::FromStr;

use serde_json::Value;

use super::{Reader, Section};

const WHOLE_NUMBER: &str = "a whole number";
const LINK_PORT: u16 = 7070;
const LONGEST_PREFIX: usize = 20;

#[derive(Debug, Clone, PartialEq)]
pub struct KubernetesSettings {
    /// Where links are taken.
    pub link_listen: SocketAddr,
    /// How pods dial it: `ws://host:port`. The host is an address, because pods resolve no names.
    pub link_url: String,
    /// How pods reach vault-proxy: `address:port`.
    pub egress_address: SocketAddr,
    /// Whom pods may reach at the port of `link_url` and of `egress_address`, as a `NetworkPolicyPeer`. `None`: that address alone.
    pub link_peer: Option<Value>,
    pub egress_peer: Option<Value>,
    /// What the names of the teams' namespaces begin with.
    pub namespace_prefix: String,
    /// The image with sandbox-agent in it.
    pub agent_image: String,
    /// The image of each harness, by its name.
    pub harness_images: BTreeMap<String, String>,
    pub image_pull_policy: ImagePullPolicy,
    /// `None`: the cluster's own choice.
    pub storage_class: Option<String>,
    /// How large each workspace's volume is.
    pub workspace_gib: u32,
    /// For stronger walls: `gvisor`, `kata`. `None`: the cluster's own choice.
    pub runtime_class: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ImagePullPolicy {
    Always,
    IfNotPresent,
    Never,
}

impl ImagePullPolicy {
    /// As Kubernetes spells it.
    pub const fn as_word(self) -> &'static str {
        match self {
            Self::Always => "Always",
            Self::IfNotPresent => "IfNotPresent",
            Self::Never => "Never",
        }
    }
}

impl FromStr for ImagePullPolicy {
    type Err = ();

    fn from_str(word: &str) -> Result<Self, ()> {
        let known = [Self::Always, Self::IfNotPresent, Self::Never];
        known.into_iter().find(|policy| policy.as_word() == word).ok_or(())
    }
}

impl Section for KubernetesSettings {
    fn read(reader: &mut Reader) -> Option<Self> {
        let everywhere = SocketAddr::from((Ipv4Addr::UNSPECIFIED, LINK_PORT));
        let listen = reader.parsed("kubernetes.link_listen", "an address and a port", everywhere);
        let link_url = read_link_url(reader);
        let egress_address = required_address(reader, "kubernetes.egress_address");
        let link_peer = optional_peer(reader, "kubernetes.link_peer");
        let egress_peer = optional_peer(reader, "kubernetes.egress_peer");
        let namespace_prefix = read_prefix(reader);
        let agent_image = reader.required("kubernetes.agent_image", "the image of sandbox-agent");
        let harness_images = read_images(reader);
        let image_pull_policy = reader.parsed(
            "kubernetes.image_pull_policy",
            "Always, IfNotPresent or Never",
            ImagePullPolicy::IfNotPresent,
        );
        let workspace_gib = reader.parsed("kubernetes.workspace_gib", WHOLE_NUMBER, 10);
        Some(Self {
            link_listen: listen?,
            link_url: link_url?,
            egress_address: egress_address?,
            link_peer: link_peer?,
            egress_peer: egress_peer?,
            namespace_prefix: namespace_prefix?,
            agent_image: agent_image?,
            harness_images: harness_images?,
            image_pull_policy: image_pull_policy?,
            storage_class: reader.optional("kubernetes.storage_class"),
            workspace_gib: workspace_gib?,
            runtime_class: reader.optional("kubernetes.runtime_class"),
        })
    }
}

impl KubernetesSettings {
    /// Where `link_url` leads.
    pub fn link_address(&self) -> Option<SocketAddr> {
        address_of(&self.link_url)
    }
}

fn address_of(link_url: &str) -> Option<SocketAddr> {
    link_url.strip_prefix("ws://")?.trim_end_matches('/').parse().ok()
}

fn read_link_url(reader: &mut Reader) -> Option<String> {
    let key = "kubernetes.link_url";
    let url = reader.required(key, "how pods reach sandbox-service, ws://address:port")?;
    if address_of(&url).is_none() {
        reader.fault(key, &format!("must be ws://address:port, not {url:?}"));
        return None;
    }
    Some(url)
}

fn required_address(reader: &mut Reader, key: &str) -> Option<SocketAddr> {
    let text = reader.required(key, "how pods reach vault-proxy, address:port")?;
    if let Ok(address) = text.parse() {
        return Some(address);
    }
    reader.fault(key, &format!("must be address:port, not {text:?}"));
    None
}

/// A `NetworkPolicyPeer` is checked by the API server; here it only has to be an object.
#[expect(clippy::option_option, reason = "a fault, nothing, or a value")]
fn optional_peer(reader: &mut Reader, key: &str) -> Option<Option<Value>> {
    let Some(text) = reader.optional(key) else { return Some(None) };
    match serde_json::from_str::<Value>(&text) {
        Ok(peer) if peer.is_object() => Some(Some(peer)),
        Ok(_) | Err(_) => {
            reader.fault(key, "must be a NetworkPolicyPeer as a JSON object");
            None
        }
    }
}

fn read_prefix(reader: &mut Reader) -> Option<String> {
    let key = "kubernetes.namespace_prefix";
    let prefix = reader.optional(key).unwrap_or_else(|| "lap-team-".to_owned());
    let is_sound = prefix.len() <= LONGEST_PREFIX
        && prefix.starts_with(|first: char| first.is_ascii_lowercase())
        && prefix.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-');
    if !is_sound {
        reader.fault(
            key,
            "must be at most 20 lower-case letters, digits and hyphens, a letter first",
        );
        return None;
    }
    Some(prefix)
}

fn read_images(reader: &mut Reader) -> Option<BTreeMap<String, String>> {
    let key = "kubernetes.harness_images";
    let text = reader.required(key, "the image of each harness, {\"opencode\": \"image\"}")?;
    let images = serde_json::from_str(&text).ok();
    if images.is_none() {
        reader.fault(key, "must be a JSON object, {\"harness\": \"image\"}");
    }
    images
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::super::load_from;
    use super::*;

    const WHOLE: [(&str, &str); 4] = [
        ("LAP__KUBERNETES__LINK_URL", "ws://10.96.0.50:7070"),
        ("LAP__KUBERNETES__EGRESS_ADDRESS", "10.96.0.51:3128"),
        ("LAP__KUBERNETES__AGENT_IMAGE", "registry.example/agent:1"),
        ("LAP__KUBERNETES__HARNESS_IMAGES", r#"{"opencode": "registry.example/opencode:1"}"#),
    ];

    fn load(changed: &[(&str, &str)]) -> Result<KubernetesSettings, Vec<String>> {
        let pairs = WHOLE.iter().chain(changed);
        let environment: HashMap<String, String> =
            pairs.map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let loaded = load_from::<KubernetesSettings>("sandbox-service", &environment);
        loaded.map(|loaded| loaded.settings).map_err(|refused| refused.faults)
    }

    #[test]
    fn four_settings_are_enough() {
        let settings = load(&[]).unwrap();
        assert_eq!(settings.link_address(), Some("10.96.0.50:7070".parse().unwrap()));
        assert_eq!(settings.link_listen.port(), LINK_PORT);
        assert_eq!(settings.namespace_prefix, "lap-team-");
        assert_eq!(settings.harness_images["opencode"], "registry.example/opencode:1");
        assert_eq!(settings.image_pull_policy, ImagePullPolicy::IfNotPresent);
    }

    #[test]
    fn every_fault_is_named() {
        let faults = load(&[
            ("LAP__KUBERNETES__LINK_URL", "ws://a-name:7070"),
            ("LAP__KUBERNETES__EGRESS_ADDRESS", "10.96.0.51"),
            ("LAP__KUBERNETES__LINK_PEER", "[]"),
            ("LAP__KUBERNETES__NAMESPACE_PREFIX", "Team_"),
            ("LAP__KUBERNETES__HARNESS_IMAGES", "opencode"),
            ("LAP__KUBERNETES__IMAGE_PULL_POLICY", "sometimes"),
        ]);
        assert_eq!(faults.unwrap_err().len(), 6);
    }
}
