//! Everything that handlers work with.

use std::sync::Arc;

use actix_web::HttpRequest;
use actix_web::web::Data;
use platform_core::clock::{Clock, IdSource};
use platform_core::failure::FailureKind;
use platform_storage::Database;
use tokio_util::sync::CancellationToken;

use crate::caller::Keys;
use crate::commands::Commands;
use crate::figures::Figures;
use crate::harnesses::Harnesses;
use crate::models::Models;
use crate::problem::Problem;
use crate::sealer::Sealer;
use crate::stream::Hub;

/// What the process holds for as long as it runs.
pub struct Platform {
    pub database: Database,
    pub commands: Commands,
    pub hub: Hub,
    pub keys: Keys,
    pub harnesses: Harnesses,
    pub models: Models,
    pub sealer: Sealer,
    pub figures: Figures,
    pub clock: Arc<dyn Clock>,
    pub ids: Arc<dyn IdSource>,
    /// Ends the streams when the process is to end.
    pub shutdown: CancellationToken,
}

impl Platform {
    /// For extractors, which get at it through the request.
    pub fn of(request: &HttpRequest) -> Result<Data<Self>, Problem> {
        request.app_data::<Data<Self>>().cloned().ok_or_else(|| {
            Problem::new(FailureKind::Internal, "the platform failed; its log says why")
        })
    }
}
