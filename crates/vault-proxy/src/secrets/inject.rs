//! A session's secrets, and what of them goes into a request.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use http::request;
use http::{HeaderValue, Response, StatusCode};
use platform_core::credential::InjectionLocation;
use platform_core::network::Host;
use zeroize::Zeroizing;

use super::binding::{BearerToken, NamedSecret, SecretUse, SecretValue, SecretsParts};
use super::misuse::Misuse;
use super::scrubber::{Scrubber, Watcher};
use super::search::Search;
use super::strangers::{FOREIGN, INHERITED, Strangers};
use super::{forms, head, request as requests, scrub};
use crate::rules::Body;

/// The session's credentials and planted values. Cheap to clone; `Debug` shows names only.
#[derive(Clone)]
pub struct Secrets {
    shared: Arc<Shared>,
}

struct Shared {
    named: Vec<NamedSecret>,
    bearers: Vec<BearerToken>,
    /// Placeholders, each tagged with its place in `named`, and planted values.
    outgoing: Arc<Search>,
    /// Values in all their forms, each tagged with its place in `replacements`.
    incoming: Arc<Search>,
    replacements: Arc<Vec<Vec<u8>>>,
    /// Planted values as names of hosts can hold them: in lower case, without dots.
    in_hosts: Vec<Zeroizing<Vec<u8>>>,
}

/// The tag of planted values.
const HONEY: usize = usize::MAX;

/// Where a request goes.
#[derive(Debug, Clone, Copy)]
pub struct Injection<'a> {
    pub host: &'a Host,
    pub port: u16,
    pub is_encrypted: bool,
    /// Whether the team named the host as one of its own, so that it may be spoken to in clear.
    pub is_internal: bool,
}

/// In which part of a request a placeholder was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    Header,
    Basic,
    Query,
    Body,
    /// Where nothing is ever put in.
    Path,
}

impl Place {
    fn is_among(self, location: InjectionLocation) -> bool {
        match self {
            Self::Header => location.header,
            Self::Basic => location.basic,
            Self::Query => location.query,
            Self::Body => location.body,
            Self::Path => false,
        }
    }
}

impl fmt::Debug for Secrets {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.shared.named.iter().map(|named| named.name.as_str()).collect();
        formatter.debug_struct("Secrets").field("names", &names).finish_non_exhaustive()
    }
}

impl Secrets {
    pub fn none() -> Self {
        Self::new(SecretsParts::default())
    }

    pub fn new(parts: SecretsParts) -> Self {
        Self::build(parts, None)
    }

    /// As [`Secrets::new`], for a session that must not send placeholders of others either.
    pub fn among(strangers: Strangers, parts: SecretsParts) -> Self {
        Self::build(parts, Some(strangers))
    }

    fn build(parts: SecretsParts, strangers: Option<Strangers>) -> Self {
        let SecretsParts { named, bearers, honey } = parts;
        let placeholders = named.iter().enumerate().flat_map(|(index, named)| {
            let texts = named.placeholders.iter();
            texts.map(move |text| (Zeroizing::new(text.as_bytes().to_vec()), index))
        });
        let planted = honey.iter().flat_map(|honey| {
            let value = honey.value.as_bytes();
            let disguised = forms::in_hexadecimal(value).into_iter().chain(forms::in_base64(value));
            std::iter::once(Zeroizing::new(value.to_vec()))
                .chain(disguised)
                .map(|form| (form, HONEY))
        });
        let outgoing = Search::new(placeholders.chain(planted));
        let outgoing = match strangers {
            Some(strangers) => outgoing.with_strangers(strangers),
            None => outgoing,
        };
        let mut replacements: Vec<Vec<u8>> = Vec::new();
        let mut values: Vec<(Zeroizing<Vec<u8>>, usize)> = Vec::new();
        for named in &named {
            let tag = replacements.len();
            for one in &named.uses {
                values.extend(forms::all(one.value.expose()).into_iter().map(|form| (form, tag)));
            }
            let placeholder = named.placeholders.first().map_or("[redacted]", String::as_str);
            replacements.push(placeholder.as_bytes().to_vec());
        }
        for bearer in &bearers {
            let tag = replacements.len();
            values.extend(forms::all(bearer.token.expose()).into_iter().map(|form| (form, tag)));
            replacements.push(b"[redacted: token]".to_vec());
        }
        let in_hosts = honey.iter().flat_map(|honey| {
            let value = honey.value.to_ascii_lowercase().replace(['_', '.'], "").into_bytes();
            let [hexadecimal, _] = forms::in_hexadecimal(honey.value.as_bytes());
            [Zeroizing::new(value), hexadecimal]
        });
        let in_hosts = in_hosts.collect();
        let (outgoing, incoming) = (Arc::new(outgoing), Arc::new(Search::new(values)));
        let replacements = Arc::new(replacements);
        Self {
            shared: Arc::new(Shared { named, bearers, outgoing, incoming, replacements, in_hosts }),
        }
    }

    /// Whether something may be put into requests to this host, so that TLS to it is terminated.
    pub fn concern(&self, host: &Host, port: u16) -> bool {
        let is_used =
            |named: &NamedSecret| named.uses.iter().any(|it| it.hosts.include(host, port));
        let is_server = |bearer: &BearerToken| bearer.url.host == *host && bearer.url.port == port;
        self.shared.named.iter().any(is_used) || self.shared.bearers.iter().any(is_server)
    }

    /// As [`Secrets::concern`], on whatever port: what was left at a host by one may come back by another.
    pub fn concern_host(&self, host: &Host) -> bool {
        let is_used = |named: &NamedSecret| named.uses.iter().any(|it| it.hosts.include_host(host));
        let is_server = |bearer: &BearerToken| bearer.url.host == *host;
        self.shared.named.iter().any(is_used) || self.shared.bearers.iter().any(is_server)
    }

    /// Replaces placeholders in the head of a request and adds the token of an MCP server. What stands where it does not belong is
    /// misuse, and the request must not be sent.
    pub fn inject(
        &self,
        target: &Injection<'_>,
        head: &mut request::Parts,
    ) -> Result<Injected, Misuse> {
        let mut injected = Injected {
            secrets: self.clone(),
            host: target.host.clone(),
            port: target.port,
            is_protected: target.is_encrypted || target.is_internal,
            is_touched: false,
            refused: None,
        };
        let bearer = self.bearer_for(target, head.uri.path())?;
        if bearer.is_some() {
            // Whatever the sandbox says of itself to this server does not count.
            head.headers.remove(http::header::AUTHORIZATION);
        }
        self.refuse_in_host(target.host)?;
        // What an earlier request left at the host may come back in any answer.
        injected.is_touched = head::replace(&injected, head)? || self.concern_host(target.host);
        if let Some(bearer) = bearer {
            head.headers.insert(http::header::AUTHORIZATION, header_of(bearer, target)?);
            (injected.is_touched, injected.refused) = (true, Some(bearer.was_refused.clone()));
        }
        if injected.is_touched {
            head::ask_for_what_can_be_searched(&mut head.headers);
        }
        Ok(injected)
    }

    /// Whether the name of a host carries a planted value away. To be asked before the name is looked up.
    pub fn refuse_in_host(&self, host: &Host) -> Result<(), Misuse> {
        let Some(name) = host.name() else { return Ok(()) };
        let letters: Vec<u8> = name.bytes().filter(|byte| !b"._".contains(byte)).collect();
        let is_in =
            |value: &Zeroizing<Vec<u8>>| letters.windows(value.len()).any(|it| *it == ***value);
        if self.shared.in_hosts.iter().any(is_in) {
            // The value itself is not repeated.
            return Err(Misuse::HoneyValue { host: "a host whose name holds it".to_owned() });
        }
        Ok(())
    }

    /// The token of the server whose path says most about the request's.
    fn bearer_for(
        &self,
        target: &Injection<'_>,
        path: &str,
    ) -> Result<Option<&BearerToken>, Misuse> {
        let is_protected = target.is_encrypted || target.is_internal;
        let meant: Vec<&BearerToken> = self
            .shared
            .bearers
            .iter()
            .filter(|BearerToken { url, .. }| {
                let is_there = url.host == *target.host && url.port == target.port;
                is_protected
                    && is_there
                    && url.is_https == target.is_encrypted
                    && url.has_below(path)
            })
            .collect();
        let Some(longest) = meant.iter().map(|bearer| bearer.url.path.len()).max() else {
            return Ok(None);
        };
        let mut meant = meant.into_iter().filter(|bearer| bearer.url.path.len() == longest);
        match (meant.next(), meant.next()) {
            (bearer, None) => Ok(bearer),
            (_, Some(other)) => {
                let name = format!("the MCP server at {}{}", other.url.host, other.url.path);
                Err(Misuse::Ambiguous { name, host: target.host.to_string() })
            }
        }
    }
}

fn header_of(bearer: &BearerToken, target: &Injection<'_>) -> Result<HeaderValue, Misuse> {
    let text = Zeroizing::new([b"Bearer ", bearer.token.expose()].concat());
    let unfit = || Misuse::Unfit {
        name: "the MCP server's token".to_owned(),
        host: target.host.to_string(),
    };
    let mut value = HeaderValue::from_bytes(&text).map_err(|_not_a_header| unfit())?;
    value.set_sensitive(true);
    Ok(value)
}

/// What was put into a request, so that it can be taken out of what comes back. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Injected {
    secrets: Secrets,
    host: Host,
    port: u16,
    is_protected: bool,
    is_touched: bool,
    /// Told when the server did not take the token.
    refused: Option<Arc<AtomicBool>>,
}

impl Injected {
    /// The request's body with placeholders replaced where a credential of this host allows it. A placeholder or planted value where it
    /// does not belong ends the body with a [`Misuse`] as its error, so that the request is broken off before its end.
    pub fn request_body(&self, head: &mut request::Parts, body: Body) -> Body {
        requests::replace(self, head, body)
    }

    /// Puts placeholders in the place of values in the answer's headers and, as a stream, in its body, compressed or not. Untouched
    /// when no secret concerns the host.
    pub fn response(&self, response: Response<Body>) -> Response<Body> {
        if response.status() == StatusCode::UNAUTHORIZED
            && let Some(refused) = &self.refused
        {
            refused.store(true, Ordering::Relaxed);
        }
        if !self.is_touched || self.secrets.shared.incoming.is_empty() {
            return response;
        }
        let Shared { incoming, replacements, .. } = &*self.secrets.shared;
        scrub::response(response, incoming, replacements)
    }

    /// For what comes back and is no body of HTTP. `None` when no secret concerns the host.
    pub fn scrubber(&self) -> Option<Scrubber> {
        let Shared { incoming, replacements, .. } = &*self.secrets.shared;
        let (search, replacements) = (incoming.clone(), replacements.clone());
        (self.is_touched && !incoming.is_empty())
            .then(|| Scrubber::new(scrub::Placeholders { search, replacements }))
    }

    /// For what is sent and is no body of HTTP. `None` when there is nothing to be found.
    pub fn watcher(&self) -> Option<Watcher> {
        (!self.outgoing().is_empty()).then(|| Watcher::new(self))
    }

    pub(super) fn outgoing(&self) -> &Arc<Search> {
        &self.secrets.shared.outgoing
    }

    /// How many tags stand for placeholders.
    pub(super) fn placeholders(&self) -> usize {
        self.secrets.shared.named.len()
    }

    pub(super) fn is_as_long_as_placeholder(&self, tag: usize, value: &[u8]) -> bool {
        let named = self.secrets.shared.named.get(tag);
        named.is_some_and(|it| it.placeholders.iter().all(|text| text.len() == value.len()))
    }

    /// Whether some credential lets itself be put into bodies of requests to this host.
    pub(super) fn may_touch_body(&self) -> bool {
        let is_for_bodies =
            |it: &SecretUse| it.location.body && it.hosts.include(&self.host, self.port);
        self.is_protected
            && self.secrets.shared.named.iter().any(|it| it.uses.iter().any(is_for_bodies))
    }

    /// The value that belongs in the place of what was found under `tag`.
    pub(super) fn value_for(&self, tag: usize, place: Place) -> Result<&SecretValue, Misuse> {
        let host = || self.host.to_string();
        let Some(named) = self.secrets.shared.named.get(tag) else {
            return Err(self.misuse_of(tag));
        };
        let misused = || Misuse::Placeholder { name: named.name.clone(), host: host() };
        if !self.is_protected {
            return Err(misused());
        }
        let mut fitting = named
            .uses
            .iter()
            .filter(|it| it.hosts.include(&self.host, self.port) && place.is_among(it.location))
            .map(|it| &it.value);
        let value = fitting.next().ok_or_else(misused)?;
        if fitting.any(|other| other != value) {
            return Err(Misuse::Ambiguous { name: named.name.clone(), host: host() });
        }
        Ok(value)
    }

    /// What it is that something was found whose tag stands for no placeholder of the session.
    pub(super) fn misuse_of(&self, tag: usize) -> Misuse {
        let host = self.host.to_string();
        match tag {
            FOREIGN => Misuse::Foreign { host },
            INHERITED => Misuse::Inherited { host },
            _ => Misuse::HoneyValue { host },
        }
    }

    pub(super) fn unfit(&self, tag: usize) -> Misuse {
        let name = self.secrets.shared.named.get(tag).map(|named| named.name.clone());
        Misuse::Unfit { name: name.unwrap_or_default(), host: self.host.to_string() }
    }
}
