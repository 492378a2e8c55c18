//! `GET /v1/models`

use actix_web::get;
use actix_web::web::{Data, Json};
use chrono::{DateTime, Utc};
use platform_core::failure::FailureKind;
use serde::Serialize;

use crate::caller::Caller;
use crate::models::ServedModel;
use crate::platform::Platform;
use crate::problem::Problem;

/// A model as the wire format shows it.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct ModelView {
    /// Always `model`.
    r#type: &'static str,
    id: String,
    display_name: String,
    /// Always `active`: LiteLLM knows nothing else.
    lifecycle: &'static str,
    created_at: DateTime<Utc>,
}

/// All models at once, in the shape of the wire format's paged list.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct ModelList {
    data: Vec<ModelView>,
    has_more: bool,
    first_id: Option<String>,
    last_id: Option<String>,
}

impl From<ServedModel> for ModelView {
    fn from(model: ServedModel) -> Self {
        let created_at = DateTime::from_timestamp(model.created, 0).unwrap_or_default();
        let display_name = model.id.clone();
        Self { r#type: "model", id: model.id, display_name, lifecycle: "active", created_at }
    }
}

/// Lists the models that LiteLLM serves. `anthropic/*` stands for every model that begins like that.
#[utoipa::path(tag = "models", responses((status = 200, body = ModelList)))]
#[get("/v1/models")]
pub async fn list_models(
    _caller: Caller,
    platform: Data<Platform>,
) -> Result<Json<ModelList>, Problem> {
    let models = platform.models.list().await.ok_or_else(|| {
        let message = "LiteLLM does not tell its models now, try again";
        Problem::new(FailureKind::Unavailable, message)
    })?;
    let data: Vec<ModelView> = models.into_iter().map(ModelView::from).collect();
    let id = |model: Option<&ModelView>| model.map(|model| model.id.clone());
    let (first_id, last_id) = (id(data.first()), id(data.last()));
    Ok(Json(ModelList { data, has_more: false, first_id, last_id }))
}
