//! Sessions: durable conversations with agents.

pub mod archive;
pub mod create;
pub mod delete;
pub mod fork;
pub mod get;
pub mod list;
pub mod update;
mod view;

use platform_core::id::{SessionId, TeamId};
use platform_core::session::Session;
use platform_storage::{Connection, session};

use crate::problem::Problem;

pub use view::SessionView;

pub async fn find(
    connection: &mut Connection,
    team: TeamId,
    id: SessionId,
) -> Result<Session, Problem> {
    let found = session::find(connection, team, id).await?;
    found.ok_or_else(|| Problem::not_found("session", id))
}
