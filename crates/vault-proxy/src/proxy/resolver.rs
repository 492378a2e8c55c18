//! Turns names into addresses.

use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use futures::future::BoxFuture;

/// Knows the addresses of names.
pub trait Resolver: Send + Sync + 'static {
    /// In the order in which they are to be tried; none is an answer as well.
    fn resolve<'a>(&'a self, name: &'a str) -> BoxFuture<'a, io::Result<Vec<IpAddr>>>;
}

/// The machine's own resolver, and before it a file of names for this proxy alone.
#[derive(Debug, Clone, Default)]
pub struct SystemResolver {
    /// In the form of `/etc/hosts`, read anew for every name.
    hosts_file: Option<PathBuf>,
}

impl SystemResolver {
    pub fn new(hosts_file: Option<PathBuf>) -> Self {
        Self { hosts_file }
    }
}

impl Resolver for SystemResolver {
    fn resolve<'a>(&'a self, name: &'a str) -> BoxFuture<'a, io::Result<Vec<IpAddr>>> {
        Box::pin(async move {
            if let Some(path) = &self.hosts_file {
                let noted = noted_addresses(path, name).await?;
                if !noted.is_empty() {
                    return Ok(noted);
                }
            }
            let addresses = tokio::net::lookup_host((name, 0)).await?;
            Ok(addresses.map(|address| address.ip()).collect())
        })
    }
}

async fn noted_addresses(path: &Path, name: &str) -> io::Result<Vec<IpAddr>> {
    let text = tokio::fs::read_to_string(path).await?;
    Ok(text.lines().filter_map(|line| address_on(line, name)).collect())
}

fn address_on(line: &str, name: &str) -> Option<IpAddr> {
    let mut words = line.split('#').next()?.split_whitespace();
    let address = words.next()?.parse().ok()?;
    words.any(|word| word.eq_ignore_ascii_case(name)).then_some(address)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn names_in_the_file_come_first() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let text = "# ours\n10.1.2.3 git.corp Git # not this.corp\n\n::1 git.corp\nnonsense git\n";
        std::fs::write(file.path(), text).unwrap();
        let resolver = SystemResolver::new(Some(file.path().to_owned()));
        let addresses = resolver.resolve("git.corp").await.unwrap();
        assert_eq!(addresses, ["10.1.2.3".parse::<IpAddr>().unwrap(), "::1".parse().unwrap()]);
        assert_eq!(resolver.resolve("git").await.unwrap().len(), 1);
        assert!(resolver.resolve("localhost").await.unwrap().iter().all(IpAddr::is_loopback));
    }
}
