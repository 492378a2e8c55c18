//! `GET /v1/harnesses`

use actix_web::get;
use actix_web::web::{Data, Json};
use platform_core::harness::{HarnessName, Manifest};
use serde::Serialize;

use crate::caller::Caller;
use crate::cursor::List;
use crate::harnesses::DEFAULT_HARNESS;
use crate::platform::Platform;

/// A harness as the API shows it.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct HarnessView {
    /// Always `harness`.
    r#type: &'static str,
    name: HarnessName,
    version: String,
    description: String,
    /// Whether agents that name no harness get this one.
    is_default: bool,
    can_start_warm: bool,
}

impl From<&Manifest> for HarnessView {
    fn from(manifest: &Manifest) -> Self {
        Self {
            r#type: "harness",
            name: manifest.name.clone(),
            version: manifest.version.clone(),
            description: manifest.description.clone(),
            is_default: manifest.name.as_str() == DEFAULT_HARNESS,
            can_start_warm: manifest.can_start_warm,
        }
    }
}

/// Lists the harnesses that an agent can name.
#[utoipa::path(tag = "harnesses", responses((status = 200, body = List<HarnessView>)))]
#[get("/v1/harnesses")]
pub async fn list_harnesses(_caller: Caller, platform: Data<Platform>) -> Json<List<HarnessView>> {
    let data = platform.harnesses.iter().map(HarnessView::from).collect();
    Json(List { data, next_page: None })
}
