//! A gateway of its own for each test, and who talks to it.

mod actor;
mod fake_litellm;
mod fake_session_service;
mod fake_vault_proxy;
mod gateway;
mod process;
mod slow_reader;
mod stream;

pub use actor::Actor;
pub use fake_session_service::FakeSessionService;
pub use fake_vault_proxy::FakeVaultProxy;
pub use gateway::Gateway;
use gateway::{ENCRYPTION_KEY, MASTER_KEY};
pub use process::GatewayProcess;
pub use slow_reader::SlowReader;
pub use stream::OpenStream;
