//! What has to hold for the parts of a credential.

use chrono::{DateTime, Utc};

use crate::credential::InjectionLocation;
use crate::network::Host;
use crate::secret_text::SecretText;
use crate::wire::{InvalidField, check_length};

/// A value is checked for the places that it will be put into.
pub(super) fn value(value: &SecretText, location: InjectionLocation) -> Result<(), InvalidField> {
    let field = "auth.secret_value";
    if location.header || location.basic {
        value.check_for_header(field)
    } else {
        value.check(field)
    }
}

pub(super) fn future(
    field: &str,
    time: Option<DateTime<Utc>>,
    now: DateTime<Utc>,
) -> Result<(), InvalidField> {
    if time.is_some_and(|time| time <= now) {
        return Err(InvalidField::new(field, "must lie in the future"));
    }
    Ok(())
}

/// An `http` or `https` URL that names a host, nobody's password, and no fragment.
pub(super) fn url(field: &str, url: &str) -> Result<(), InvalidField> {
    check_length(field, url, 1, 2_048)?;
    let invalid = |problem: &str| Err(InvalidField::new(field, problem));
    let default_port = match url.split_once("://") {
        Some(("https", _)) => 443,
        Some(("http", _)) => 80,
        Some(_) | None => return invalid("must begin with https:// or http://"),
    };
    if !url.bytes().all(|byte| byte.is_ascii_graphic()) {
        return invalid("must consist of ASCII signs without spaces");
    }
    let rest = url.split_once("://").map_or("", |(_, rest)| rest);
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    if authority.contains('@') {
        return invalid("must not carry a user or a password");
    }
    if rest.contains('#') {
        return invalid("must not have a fragment");
    }
    if Host::parse_with_port(authority, default_port).is_err() {
        return invalid("must name a host, with its port or alone");
    }
    Ok(())
}
