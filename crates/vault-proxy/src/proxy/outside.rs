//! The world outside: names are resolved, every address is checked, and what is dialled is the very address that was checked.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use platform_core::network::{AddressClass, Host, classify};
use rustls::client::Resumption;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, DnsName, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::carried::TLS_BUFFER_BYTES;
use super::reach::ReachError;
use super::read_ahead::ReadAhead;
use super::resolver::Resolver;

const RESOLVED_WITHIN: Duration = Duration::from_secs(10);
const CONNECTED_WITHIN: Duration = Duration::from_secs(10);
/// How long one address is waited for before the next one is tried beside it (RFC 8305).
const NEXT_ADDRESS_AFTER: Duration = Duration::from_millis(250);
/// A name may have any number of addresses; so many are tried.
const MOST_ADDRESSES: usize = 8;
const SESSIONS_KEPT: usize = 128;

/// The way from this process to other hosts. One for all sandboxes; holds nothing of any of them.
pub struct Outside {
    resolver: Arc<dyn Resolver>,
    provider: Arc<CryptoProvider>,
    tls: ClientConfig,
}

/// This process cannot reach other hosts as it should.
#[derive(Debug, thiserror::Error)]
pub enum OutsideError {
    #[error("the certificates in {} cannot be read", path.display())]
    ExtraAuthorities { path: PathBuf, source: rustls::pki_types::pem::Error },
    #[error("a certificate in {} is no authority's", path.display())]
    NoAuthority { path: PathBuf, source: rustls::Error },
    #[error("TLS cannot be set up")]
    Tls(#[from] rustls::Error),
}

impl Outside {
    /// Trusts the authorities that the machine trusts, and those in `extra_ca_file`.
    pub fn new(
        resolver: Arc<dyn Resolver>,
        extra_ca_file: Option<&Path>,
    ) -> Result<Self, OutsideError> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let roots = trusted_authorities(extra_ca_file)?;
        let tls = ClientConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self { resolver, provider, tls })
    }

    pub fn provider(&self) -> Arc<CryptoProvider> {
        self.provider.clone()
    }

    /// TLS towards hosts, with a memory of its own for sessions to resume.
    pub fn tls(&self, protocols: &[&str]) -> Tls {
        let mut config = self.tls.clone();
        config.resumption = Resumption::in_memory_sessions(SESSIONS_KEPT);
        config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
        Tls(TlsConnector::from(Arc::new(config)))
    }

    /// Connects to a host, at an address that may be connected to.
    pub async fn dial(
        &self,
        host: &Host,
        port: u16,
        may_be_internal: bool,
    ) -> Result<TcpStream, ReachError> {
        let addresses = self.addresses(host, port, may_be_internal).await?;
        let connecting = connect_to_first(&addresses, port);
        let stream = match timeout(CONNECTED_WITHIN, connecting).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(source)) => {
                return Err(ReachError::Unreachable { host: host.clone(), port, source });
            }
            Err(_elapsed) => return Err(ReachError::TimedOut { host: host.clone(), port }),
        };
        let _fast_or_not = stream.set_nodelay(true);
        Ok(stream)
    }

    /// The addresses of a host that may be connected to: never none.
    pub async fn addresses(
        &self,
        host: &Host,
        port: u16,
        may_be_internal: bool,
    ) -> Result<Vec<IpAddr>, ReachError> {
        let all = match host {
            Host::Address(address) => vec![*address],
            Host::Name(name) => self.resolve(name).await?,
        };
        let mut refused = None;
        let mut checked = Vec::with_capacity(all.len());
        for address in all {
            let class = classify(address);
            if may_connect(class, may_be_internal) {
                checked.push(address);
            } else if refused != Some(AddressClass::Metadata) {
                refused = Some(class);
            }
        }
        match (checked.is_empty(), refused) {
            (false, _) => Ok(by_turns(checked)),
            (true, Some(class)) => Err(ReachError::NotPublic { host: host.clone(), port, class }),
            (true, None) => Err(ReachError::NotResolved { name: host.to_string(), source: None }),
        }
    }

    async fn resolve(&self, name: &str) -> Result<Vec<IpAddr>, ReachError> {
        let error = |source| ReachError::NotResolved { name: name.to_owned(), source };
        match timeout(RESOLVED_WITHIN, self.resolver.resolve(name)).await {
            Ok(Ok(addresses)) => Ok(addresses),
            Ok(Err(source)) => Err(error(Some(source))),
            Err(_elapsed) => Err(error(Some(io::ErrorKind::TimedOut.into()))),
        }
    }
}

/// Speaks TLS to hosts and verifies who they are, always.
#[derive(Clone)]
pub struct Tls(TlsConnector);

impl Tls {
    pub async fn connect(
        &self,
        host: &Host,
        port: u16,
        stream: TcpStream,
    ) -> Result<TlsStream<ReadAhead<TcpStream>>, ReachError> {
        let name = server_name(host).map_err(|_no_dns_name| ReachError::NotResolved {
            name: host.to_string(),
            source: None,
        })?;
        let connecting = self.0.connect(name, ReadAhead::new(stream));
        match timeout(CONNECTED_WITHIN, connecting).await {
            Ok(Ok(mut stream)) => {
                stream.get_mut().1.set_buffer_limit(Some(TLS_BUFFER_BYTES));
                Ok(stream)
            }
            Ok(Err(error)) => Err(tls_error(host, error)),
            Err(_elapsed) => Err(ReachError::TimedOut { host: host.clone(), port }),
        }
    }
}

fn server_name(host: &Host) -> Result<ServerName<'static>, rustls::pki_types::InvalidDnsNameError> {
    Ok(match host {
        Host::Name(name) => ServerName::DnsName(DnsName::try_from(name.clone())?),
        Host::Address(address) => ServerName::IpAddress((*address).into()),
    })
}

fn tls_error(host: &Host, error: io::Error) -> ReachError {
    let host = host.clone();
    match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        Some(source @ rustls::Error::InvalidCertificate(_)) => {
            ReachError::Certificate { host, source: source.clone() }
        }
        Some(_) | None => ReachError::Tls { host, source: error },
    }
}

fn may_connect(class: AddressClass, may_be_internal: bool) -> bool {
    match class {
        AddressClass::Public => true,
        AddressClass::Metadata => false,
        AddressClass::Loopback
        | AddressClass::Private
        | AddressClass::LinkLocal
        | AddressClass::Multicast
        | AddressClass::Reserved => may_be_internal,
    }
}

/// IPv6 and IPv4 in turns, beginning with the kind that comes first, so that a broken one costs little.
fn by_turns(addresses: Vec<IpAddr>) -> Vec<IpAddr> {
    let is_first_v6 = addresses.first().is_some_and(IpAddr::is_ipv6);
    let (first, second): (Vec<_>, Vec<_>) =
        addresses.into_iter().partition(|address| address.is_ipv6() == is_first_v6);
    let (mut first, mut second) = (first.into_iter(), second.into_iter());
    let mut ordered = Vec::with_capacity(MOST_ADDRESSES);
    loop {
        let pair: Vec<IpAddr> = first.next().into_iter().chain(second.next()).collect();
        if pair.is_empty() || ordered.len() >= MOST_ADDRESSES {
            return ordered;
        }
        ordered.extend(pair);
    }
}

async fn connect_to_first(addresses: &[IpAddr], port: u16) -> io::Result<TcpStream> {
    let mut waiting = addresses.iter();
    let mut attempts = FuturesUnordered::new();
    let mut last_error = io::Error::from(io::ErrorKind::AddrNotAvailable);
    loop {
        if let Some(address) = waiting.next() {
            attempts.push(TcpStream::connect(SocketAddr::new(*address, port)));
        }
        if attempts.is_empty() {
            return Err(last_error);
        }
        let has_more = waiting.len() > 0;
        tokio::select! {
            attempt = attempts.next() => match attempt {
                Some(Ok(stream)) => return Ok(stream),
                Some(Err(error)) => last_error = error,
                None => {}
            },
            () = sleep(NEXT_ADDRESS_AFTER), if has_more => {}
        }
    }
}

fn trusted_authorities(extra: Option<&Path>) -> Result<RootCertStore, OutsideError> {
    let mut roots = RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    for error in &found.errors {
        tracing::warn!(error = error as &dyn std::error::Error, "an authority cannot be read");
    }
    let (_added, ignored) = roots.add_parsable_certificates(found.certs);
    if ignored > 0 {
        tracing::debug!(ignored, "authorities that cannot be used");
    }
    if let Some(path) = extra {
        let failed = |source| OutsideError::ExtraAuthorities { path: path.to_owned(), source };
        for certificate in CertificateDer::pem_file_iter(path).map_err(failed)? {
            let certificate = certificate.map_err(failed)?;
            let refused = |source| OutsideError::NoAuthority { path: path.to_owned(), source };
            roots.add(certificate).map_err(refused)?;
        }
    }
    if roots.is_empty() {
        tracing::warn!(
            "no certificate authority is trusted: hosts cannot be verified, so none is called over TLS"
        );
    }
    Ok(roots)
}
