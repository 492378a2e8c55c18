//! Every route of the API, in one place; the OpenAPI document is made of the same list.

use actix_web::dev::HttpServiceFactory;
use actix_web::http::StatusCode;
use actix_web::{App, HttpRequest, HttpResponse, web};
use platform_core::failure::FailureKind;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{Info, OpenApi, RefOr, SecurityRequirement};
use utoipa_actix_web::service_config::ServiceConfig;
use utoipa_actix_web::{AppExt, OpenApiFactory};

use crate::problem::Problem;
use crate::{
    agents, api_keys, credentials, egress, environments, events, harnesses, models, sandboxes,
    sessions, simple, teams, vaults,
};

const DESCRIPTION: &str = "Everything under /v1 is the Managed Agents wire format, with fields and routes of our own \
    beside it; /api has simple forms of the same. Send a key as `Authorization: Bearer <key>` or `x-api-key`.";

/// What takes the routes: an application that serves them, or the document that describes them.
///
/// A serving application does not collect the document: it would be made anew, at megabytes each, by every worker.
pub trait Table {
    fn service(&mut self, route: impl HttpServiceFactory + OpenApiFactory + 'static) -> &mut Self;
}

impl Table for web::ServiceConfig {
    fn service(&mut self, route: impl HttpServiceFactory + OpenApiFactory + 'static) -> &mut Self {
        self.service(route)
    }
}

impl Table for ServiceConfig<'_> {
    fn service(&mut self, route: impl HttpServiceFactory + OpenApiFactory + 'static) -> &mut Self {
        self.service(route)
    }
}

/// Adds every route.
pub fn add(table: &mut impl Table) {
    table
        .service(agents::create::create_agent)
        .service(agents::list::list_agents)
        .service(agents::get::get_agent)
        .service(agents::update::update_agent)
        .service(agents::versions::list_agent_versions)
        .service(agents::archive::archive_agent)
        .service(environments::create::create_environment)
        .service(environments::list::list_environments)
        .service(environments::get::get_environment)
        .service(environments::update::update_environment)
        .service(environments::archive::archive_environment)
        .service(environments::delete::delete_environment)
        .service(environments::policy_check::check_policy)
        .service(sessions::create::create_session)
        .service(sessions::list::list_sessions)
        .service(sessions::get::get_session)
        .service(sessions::update::update_session)
        .service(sessions::archive::archive_session)
        .service(sessions::delete::delete_session)
        .service(sessions::fork::fork_session)
        .service(egress::list::list_egress)
        .service(events::send::send_events)
        .service(events::list::list_events)
        .service(events::stream::stream_events)
        .service(vaults::create::create_vault)
        .service(vaults::list::list_vaults)
        .service(vaults::get::get_vault)
        .service(vaults::update::update_vault)
        .service(vaults::archive::archive_vault)
        .service(vaults::delete::delete_vault)
        .service(credentials::create::create_credential)
        .service(credentials::list::list_credentials)
        .service(credentials::get::get_credential)
        .service(credentials::update::update_credential)
        .service(credentials::archive::archive_credential)
        .service(credentials::delete::delete_credential)
        .service(credentials::validate::validate_credential)
        .service(teams::create::create_team)
        .service(teams::list::list_teams)
        .service(teams::get::get_team)
        .service(teams::update::update_team)
        .service(api_keys::create::create_api_key)
        .service(api_keys::list::list_api_keys)
        .service(api_keys::revoke::revoke_api_key)
        .service(sandboxes::list::list_sandboxes)
        .service(sandboxes::get::get_sandbox)
        .service(sandboxes::kill::kill_sandbox)
        .service(harnesses::list::list_harnesses)
        .service(models::list::list_models)
        .service(simple::agents::create_agent)
        .service(simple::agents::list_agents)
        .service(simple::agents::get_agent)
        .service(simple::agents::update_agent)
        .service(simple::agents::archive_agent)
        .service(simple::sessions::create_session)
        .service(simple::sessions::list_sessions)
        .service(simple::sessions::get_session)
        .service(simple::sessions::delete_session)
        .service(simple::sessions::stream_session)
        .service(simple::messages::send_message)
        .service(simple::messages::list_messages)
        .service(simple::messages::confirm)
        .service(simple::messages::interrupt);
}

/// What names no route.
pub async fn unknown(request: HttpRequest) -> Result<HttpResponse, Problem> {
    let message = format!("there is no route {} {}", request.method(), request.path());
    Err(Problem::new(FailureKind::NotFound, message))
}

/// The OpenAPI document of every route.
pub fn document() -> OpenApi {
    let (_application, mut document) =
        App::new().into_utoipa_app().configure(|table| add(table)).split_for_parts();
    document.info = Info::new("LiteLLM Agent Platform", env!("CARGO_PKG_VERSION"));
    document.info.description = Some(DESCRIPTION.to_owned());
    let scheme = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).build();
    let components = document.components.get_or_insert_default();
    components.add_security_scheme("key", SecurityScheme::Http(scheme));
    describe_responses(&mut document);
    document.security = Some(vec![SecurityRequirement::new::<_, _, String>("key", [])]);
    document
}

/// OpenAPI 3.1 wants a description of every answer, where the code says no more than the status.
fn describe_responses(document: &mut OpenApi) {
    for item in document.paths.paths.values_mut() {
        let operations = [&mut item.get, &mut item.post, &mut item.patch, &mut item.delete];
        for operation in operations.into_iter().flatten() {
            for (status, response) in &mut operation.responses.responses {
                let RefOr::T(response) = response else { continue };
                let status = status.parse().ok().and_then(|code| StatusCode::from_u16(code).ok());
                let reason = status.and_then(|status| status.canonical_reason());
                if response.description.is_empty() {
                    reason.unwrap_or_default().clone_into(&mut response.description);
                }
            }
        }
    }
}
