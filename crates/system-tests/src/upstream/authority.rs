//! Certificates for servers of the tests' own.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose,
};
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer, pem::PemObject};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tempfile::TempDir;

/// Where Debian keeps the authorities that everybody trusts.
const SYSTEM_ROOTS: &str = "/etc/ssl/certs/ca-certificates.crt";

/// An authority made for one run, and a file with it behind the system's own: what a stack is given as `SSL_CERT_FILE`.
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    folder: TempDir,
}

impl Authority {
    pub fn new() -> anyhow::Result<Self> {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "tests of the platform");
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
        let folder = tempfile::tempdir()?;
        let system = std::fs::read_to_string(SYSTEM_ROOTS).unwrap_or_default();
        std::fs::write(folder.path().join("roots.pem"), format!("{system}\n{}", issuer.pem()))?;
        std::fs::write(folder.path().join("own.pem"), issuer.pem())?;
        Ok(Self { issuer, folder })
    }

    /// The system's authorities and this one.
    pub fn roots(&self) -> PathBuf {
        self.folder.path().join("roots.pem")
    }

    /// This authority alone.
    pub fn own(&self) -> PathBuf {
        self.folder.path().join("own.pem")
    }

    /// A server for `localhost` and these names.
    pub(super) fn server(&self, names: &[&str]) -> anyhow::Result<ServerConfig> {
        let names = names.iter().copied().chain(["localhost"]).map(str::to_owned);
        let mut params = CertificateParams::new(names.collect::<Vec<_>>())?;
        params.use_authority_key_identifier_extension = true;
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.issuer)?.der().clone();
        let key = PrivatePkcs8KeyDer::from(key.serialize_der());
        let mut server = ServerConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(vec![certificate], key.into())?;
        server.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(server)
    }
}

/// A client that trusts the authorities in a file and no others.
pub fn client_trusting(roots: &Path) -> anyhow::Result<ClientConfig> {
    let mut store = RootCertStore::empty();
    let pem = std::fs::read(roots).with_context(|| format!("no {}", roots.display()))?;
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        // Some of the system's are too old for rustls; nobody here needs them.
        let _unusable = store.add(certificate?);
    }
    let mut client = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(store)
        .with_no_client_auth();
    client.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(client)
}
