//! Who may say what to whom: one certificate authority, a certificate for each part, and a kubeconfig for each client.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose,
};
use serde_json::json;

use crate::address::{API_SERVICE, LOOPBACK, NODE, NODE_NAME, api_server};
use crate::directory::{NodeDirectory, write};
use crate::failure::NodeError;

pub(crate) const AUTHORITY: &str = "ca.crt";
/// Signs the tokens of service accounts.
pub(crate) const TOKEN_KEY: &str = "service-accounts.key";
/// Proves them.
pub(crate) const TOKEN_PROOF: &str = "service-accounts.pub";

/// Somebody with a certificate: file name, common name, group.
const CLIENTS: [(&str, &str, &str); 6] = [
    ("admin", "admin", "system:masters"),
    ("controller-manager", "system:kube-controller-manager", ""),
    ("scheduler", "system:kube-scheduler", ""),
    ("kubelet", "system:node:node1", "system:nodes"),
    ("apiserver-to-kubelet", "kube-apiserver", "system:masters"),
    ("add-ons", "add-ons", "system:masters"),
];

/// Makes everything, unless it is there: what runs already keeps being trusted.
pub(crate) fn ensure(directory: &NodeDirectory) -> Result<(), NodeError> {
    let last = directory.access(TOKEN_KEY);
    if last.exists() {
        return Ok(());
    }
    let (issuer, authority) = authority()?;
    write(&directory.access(AUTHORITY), &authority)?;
    for (file, name, group) in CLIENTS {
        let (certificate, key) = leaf(&issuer, name, group, &[])?;
        write(&directory.access(&format!("{file}.crt")), &certificate)?;
        write(&directory.access(&format!("{file}.key")), &key)?;
        let config = kubeconfig(&authority, &certificate, &key);
        write(&directory.access(&format!("{file}.kubeconfig")), &config)?;
    }
    let names = ["kubernetes", "kubernetes.default", "kubernetes.default.svc", API_SERVICE];
    let api_server = [&names[..], &[NODE, LOOPBACK, "127.0.0.1", "localhost"]].concat();
    for (file, names) in [("apiserver", api_server), ("kubelet-server", vec![NODE, NODE_NAME])] {
        let (certificate, key) = leaf(&issuer, file, "", &names)?;
        write(&directory.access(&format!("{file}.crt")), &certificate)?;
        write(&directory.access(&format!("{file}.key")), &key)?;
    }
    let tokens = KeyPair::generate()?;
    write(&directory.access(TOKEN_PROOF), &tokens.public_key_pem())?;
    write(&last, &tokens.serialize_pem())
}

fn authority() -> Result<(Issuer<'static, KeyPair>, String), NodeError> {
    let mut params = CertificateParams::new(Vec::new())?;
    params.distinguished_name = name("test-node", "");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
    let key = KeyPair::generate()?;
    let pem = params.self_signed(&key)?.pem();
    Ok((Issuer::new(params, key), pem))
}

fn leaf(
    issuer: &Issuer<'_, KeyPair>,
    common: &str,
    group: &str,
    names: &[&str],
) -> Result<(String, String), NodeError> {
    let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
    let mut params = CertificateParams::new(names)?;
    params.distinguished_name = name(common, group);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    let key = KeyPair::generate()?;
    Ok((params.signed_by(&key, issuer)?.pem(), key.serialize_pem()))
}

fn name(common: &str, group: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, common);
    if !group.is_empty() {
        name.push(DnType::OrganizationName, group);
    }
    name
}

/// JSON is YAML.
fn kubeconfig(authority: &str, certificate: &str, key: &str) -> String {
    let encode = |text: &str| STANDARD.encode(text);
    let cluster = json!({"server": api_server(), "certificate-authority-data": encode(authority)});
    let user = json!({
        "client-certificate-data": encode(certificate),
        "client-key-data": encode(key),
    });
    let context = json!({"cluster": "test-node", "user": "test-node"});
    let config = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "test-node", "cluster": cluster}],
        "users": [{"name": "test-node", "user": user}],
        "contexts": [{"name": "test-node", "context": context}],
        "current-context": "test-node",
    });
    format!("{config:#}\n")
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn whoever_trusts_the_node_today_trusts_it_after_the_next_start() {
        let folder = tempfile::tempdir().unwrap();
        let directory = NodeDirectory::create(&folder.path().join("n")).unwrap();
        ensure(&directory).unwrap();
        let first = fs::read_to_string(directory.kubeconfig()).unwrap();
        ensure(&directory).unwrap();
        assert_eq!(fs::read_to_string(directory.kubeconfig()).unwrap(), first);

        fs::remove_file(directory.access(TOKEN_KEY)).unwrap();
        ensure(&directory).unwrap();
        assert_ne!(fs::read_to_string(directory.kubeconfig()).unwrap(), first);
    }

    #[test]
    fn a_kubeconfig_needs_no_other_file() {
        let folder = tempfile::tempdir().unwrap();
        let directory = NodeDirectory::create(&folder.path().join("n")).unwrap();
        ensure(&directory).unwrap();
        let text = fs::read_to_string(directory.kubeconfig()).unwrap();
        let config: serde_json::Value = serde_json::from_str(&text).unwrap();
        let user = &config["users"][0]["user"];
        assert!(user["client-key-data"].is_string() && user["client-certificate-data"].is_string());
        assert_eq!(config["clusters"][0]["cluster"]["server"], "https://10.244.0.1:6443");
    }
}
