//! A session's secrets on the way out: put into requests where they belong, and taken out of what comes back.

mod binding;
mod forms;
mod head;
mod inject;
mod misuse;
pub mod platform;
pub mod refresh;
mod request;
mod resolve;
pub mod rotate;
mod scrub;
mod scrubber;
mod search;
pub mod session;
pub mod shape;
mod sources;
pub mod strangers;
mod stream;
pub mod witness;

pub use binding::{BearerToken, Hosts, McpUrl, NamedSecret, SecretUse, SecretValue, SecretsParts};
pub use inject::{Injected, Injection, Secrets};
pub use misuse::Misuse;
pub use resolve::Resolved;
pub use scrubber::{Scrubber, Watcher};
