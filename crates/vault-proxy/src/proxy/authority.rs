//! One sandbox's certificate authority. Its key is derived from the platform's and stored nowhere, so that every replica has the same.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair};
use aws_lc_rs::{agreement, rand};
use chrono::{DateTime, TimeDelta, Utc};
use platform_core::clock::Clock;
use platform_core::id::SandboxId;
use platform_core::network::Host;
use platform_sealing::{EncryptionKey, EncryptionKeys};
use rcgen::{
    BasicConstraints, Certificate, CertificateParams, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256,
    PublicKeyData, SanType, SerialNumber,
};
use rustls::ServerConfig;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use time::OffsetDateTime;

/// Certificates begin a little in the past, for sandboxes whose clock is behind.
const CLOCK_TOLERANCE: TimeDelta = TimeDelta::hours(1);
const AUTHORITY_LIFE: TimeDelta = TimeDelta::days(365);
const LEAF_LIFE: TimeDelta = TimeDelta::hours(24);
const RENEWED_BEFORE_END: TimeDelta = TimeDelta::minutes(30);
/// Hosts whose certificates are kept. Programs talk to few hosts at a time.
const MOST_LEAVES: usize = 256;
/// How many bytes of a subject's name may be its common name (RFC 5280, appendix A).
const LONGEST_COMMON_NAME: usize = 64;

/// A certificate could not be made.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    #[error("a key could not be derived")]
    Key,
    #[error("a certificate could not be made")]
    Certificate(#[from] rcgen::Error),
    #[error("a certificate cannot be used")]
    Use(#[from] rustls::Error),
}

/// Vouches, towards one sandbox, for every host whose TLS is terminated.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
    /// One for all leaves: it never leaves this process.
    leaf_key: KeyPair,
    provider: Arc<CryptoProvider>,
    clock: Arc<dyn Clock>,
    leaves: Mutex<HashMap<Host, Leaf>>,
}

struct Leaf {
    config: Arc<ServerConfig>,
    renewed_at: DateTime<Utc>,
}

impl Authority {
    /// `trusted` is the certificate that the sandbox was given when it began, if it has one already: after a rotation of the platform's
    /// keys it stays with the key from that time, as long as that key is among the previous ones.
    pub fn new(
        keys: &EncryptionKeys,
        sandbox: SandboxId,
        trusted: Option<&str>,
        provider: Arc<CryptoProvider>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, AuthorityError> {
        let key = key_of(keys, sandbox, trusted)?;
        let params = authority_params(sandbox, clock.now());
        let certificate = params.self_signed(&key)?;
        Ok(Self {
            issuer: Issuer::new(params, key),
            pem: certificate.pem(),
            leaf_key: KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?,
            provider,
            clock,
            leaves: Mutex::default(),
        })
    }

    /// What the sandbox has to trust.
    pub fn certificate_pem(&self) -> &str {
        &self.pem
    }

    /// How TLS is spoken to the sandbox in the name of a host.
    pub fn server_config(&self, host: &Host) -> Result<Arc<ServerConfig>, AuthorityError> {
        let now = self.clock.now();
        let mut leaves = self.leaves.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(leaf) = leaves.get(host).filter(|leaf| now < leaf.renewed_at) {
            return Ok(leaf.config.clone());
        }
        if leaves.len() >= MOST_LEAVES {
            leaves.clear();
        }
        let config = Arc::new(self.issue(host, now)?);
        let renewed_at = now + LEAF_LIFE - RENEWED_BEFORE_END;
        leaves.insert(host.clone(), Leaf { config: config.clone(), renewed_at });
        Ok(config)
    }

    fn issue(&self, host: &Host, now: DateTime<Utc>) -> Result<ServerConfig, AuthorityError> {
        let certificate = leaf_params(host, now)?.signed_by(&self.leaf_key, &self.issuer)?;
        let key = PrivatePkcs8KeyDer::from(self.leaf_key.serialize_der());
        let mut config = ServerConfig::builder_with_provider(self.provider.clone())
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], PrivateKeyDer::Pkcs8(key))?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(config)
    }
}

/// The certificate that a sandbox has to trust, as PEM.
pub fn certificate_pem(
    keys: &EncryptionKeys,
    sandbox: SandboxId,
    now: DateTime<Utc>,
) -> Result<String, AuthorityError> {
    Ok(certificate(keys.current(), sandbox, now)?.pem())
}

fn certificate(
    key: &EncryptionKey,
    sandbox: SandboxId,
    now: DateTime<Utc>,
) -> Result<Certificate, AuthorityError> {
    Ok(authority_params(sandbox, now).self_signed(&derive(key, sandbox)?)?)
}

/// The derived key that the sandbox trusts; without one that it is known to trust, the current key's.
fn key_of(
    keys: &EncryptionKeys,
    sandbox: SandboxId,
    trusted: Option<&str>,
) -> Result<KeyPair, AuthorityError> {
    let current = derive(keys.current(), sandbox)?;
    let Some(trusted) = trusted.and_then(der_of_pem) else { return Ok(current) };
    for key in keys.all() {
        let pair = derive(key, sandbox)?;
        if contains(&trusted, &pair.subject_public_key_info()) {
            return Ok(pair);
        }
    }
    tracing::warn!(
        sandbox.id = %sandbox,
        "the sandbox trusts a key that is neither ENCRYPTION_KEY's nor a previous one's: what is \
         encrypted and needs to be looked into will fail in it until it is replaced"
    );
    Ok(current)
}

fn der_of_pem(text: &str) -> Option<Vec<u8>> {
    use rustls::pki_types::CertificateDer;
    use rustls::pki_types::pem::PemObject;
    CertificateDer::from_pem_slice(text.as_bytes()).ok().map(|der| der.to_vec())
}

/// A certificate holds its public key byte by byte; a key has no other bytes than its own.
fn contains(certificate: &[u8], public_key: &[u8]) -> bool {
    certificate.windows(public_key.len()).any(|window| window == public_key)
}

/// A P-256 key from the platform's key and the sandbox's id. Of 2^32 candidates one is no key, so a further one may be needed.
fn derive(key: &EncryptionKey, sandbox: SandboxId) -> Result<KeyPair, AuthorityError> {
    for attempt in 0..=u8::MAX {
        let context = [sandbox.uuid().as_bytes().as_slice(), &[attempt]].concat();
        let bytes = key.derive("sandbox-ca", &context);
        let Ok(private) = agreement::PrivateKey::from_private_key(&agreement::ECDH_P256, &*bytes)
        else {
            continue;
        };
        let public = private.compute_public_key().map_err(|_unspecified| AuthorityError::Key)?;
        let algorithm = &ECDSA_P256_SHA256_ASN1_SIGNING;
        let pair =
            EcdsaKeyPair::from_private_key_and_public_key(algorithm, &*bytes, public.as_ref())
                .map_err(|_rejected| AuthorityError::Key)?;
        let document = pair.to_pkcs8v1().map_err(|_unspecified| AuthorityError::Key)?;
        let document = PrivatePkcs8KeyDer::from(document.as_ref());
        return Ok(KeyPair::from_pkcs8_der_and_sign_algo(&document, &PKCS_ECDSA_P256_SHA256)?);
    }
    Err(AuthorityError::Key)
}

/// The same for every replica: subject, key and dates follow from the sandbox alone.
fn authority_params(sandbox: SandboxId, now: DateTime<Utc>) -> CertificateParams {
    let begun = began_at(sandbox).unwrap_or(now);
    let mut params = CertificateParams::default();
    params.distinguished_name = common_name(&format!("LAP sandbox {sandbox}"));
    params.not_before = date(begun - CLOCK_TOLERANCE);
    params.not_after = date(begun + AUTHORITY_LIFE);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

fn leaf_params(host: &Host, now: DateTime<Utc>) -> Result<CertificateParams, AuthorityError> {
    let mut params = CertificateParams::default();
    let (subject, name) = match host {
        Host::Name(name) => (SanType::DnsName(name.as_str().try_into()?), name.clone()),
        Host::Address(address) => (SanType::IpAddress(*address), address.to_string()),
    };
    params.subject_alt_names = vec![subject];
    // A certificate without any subject would have to mark its alternative name as critical.
    let name = if name.len() <= LONGEST_COMMON_NAME { name } else { "LAP".to_owned() };
    params.distinguished_name = common_name(&name);
    params.not_before = date(now - CLOCK_TOLERANCE);
    params.not_after = date(now + LEAF_LIFE);
    params.serial_number = Some(serial_number()?);
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.use_authority_key_identifier_extension = true;
    Ok(params)
}

fn common_name(text: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, text);
    name
}

/// All leaves have one key, and the number that would follow from it: some clients refuse a number that they have seen before.
fn serial_number() -> Result<SerialNumber, AuthorityError> {
    let mut bytes = [0_u8; 16];
    rand::fill(&mut bytes).map_err(|_unspecified| AuthorityError::Key)?;
    // Positive, and of the full length.
    let first = bytes.first().map_or(1, |byte| byte & 0x7f | 0x40);
    let rest = bytes.iter().skip(1).copied();
    Ok(SerialNumber::from(std::iter::once(first).chain(rest).collect::<Vec<u8>>()))
}

/// When a sandbox began is in its id.
fn began_at(sandbox: SandboxId) -> Option<DateTime<Utc>> {
    let (seconds, nanoseconds) = sandbox.uuid().get_timestamp()?.to_unix();
    DateTime::from_timestamp(i64::try_from(seconds).ok()?, nanoseconds)
}

fn date(moment: DateTime<Utc>) -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp(moment.timestamp()).unwrap_or(OffsetDateTime::UNIX_EPOCH)
}
