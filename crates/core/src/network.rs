//! The way out of a sandbox, as rules: which hosts it may reach, which addresses nobody may reach, and why.

mod address;
mod host;
mod policy;

pub use address::{AddressClass, classify};
pub use host::{Host, HostPattern, InvalidHost};
pub use policy::{Allowed, Denied, NetworkPolicy, PACKAGE_HOSTS, Request, Target};
