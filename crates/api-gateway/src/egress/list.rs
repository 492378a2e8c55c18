//! `GET /v1/sessions/{session_id}/egress`

use actix_web::get;
use actix_web::web::{Data, Json, Path};
use platform_core::egress::Verdict;
use platform_core::id::SessionId;
use platform_core::network::Host;
use platform_storage::Order;
use platform_storage::egress_decision::{self, DecisionFilter};

use crate::caller::Caller;
use crate::cursor::{Cursors, List};
use crate::egress::EgressDecisionView;
use crate::platform::Platform;
use crate::problem::{ErrorEnvelope, Problem};
use crate::query::Query;
use crate::sessions;

/// Lists what was decided about the requests that wanted to leave the session's sandboxes, newest first unless `order` is `asc`.
#[utoipa::path(tag = "sessions", params(
    ("verdict" = Option<Verdict>, Query), ("host" = Option<String>, Query),
    ("order" = Option<String>, Query),
    ("limit" = Option<u32>, Query), ("page" = Option<String>, Query),
), responses(
    (status = 200, body = List<EgressDecisionView>),
    (status = 400, body = ErrorEnvelope),
    (status = 404, body = ErrorEnvelope),
    (status = 503, body = ErrorEnvelope),
))]
#[get("/v1/sessions/{session_id}/egress")]
pub async fn list_egress(
    caller: Caller,
    platform: Data<Platform>,
    id: Path<SessionId>,
    mut query: Query,
) -> Result<Json<List<EgressDecisionView>>, Problem> {
    let cursors = Cursors::of(caller.team(), &mut query)?;
    let filter = DecisionFilter {
        verdict: query.text("verdict")?.map(|word| verdict(&word)).transpose()?,
        // As decisions name it.
        host: query.parsed::<Host>("host")?.map(|host| host.to_string()),
    };
    let order = query.order(Order::NewestFirst)?;
    let request = cursors.page_request(order, query.limit(20, 1000)?)?;
    query.finish()?;
    let mut connection = platform.database.connection().await?;
    sessions::find(&mut connection, caller.team(), *id).await?;
    let page = egress_decision::list(&mut connection, caller.team(), *id, &filter, request).await?;
    Ok(Json(cursors.list(page, EgressDecisionView::from)))
}

fn verdict(word: &str) -> Result<Verdict, Problem> {
    Verdict::from_word(word)
        .ok_or_else(|| Problem::invalid("verdict: this is allowed, denied or failed"))
}
