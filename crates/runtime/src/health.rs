//! `/healthz`, `/readyz` and `/metrics`: whether the process lives, whether it can work, and how it is doing.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use actix_web::dev::Server;
use actix_web::web::{Data, ServiceConfig, get};
use actix_web::{App, HttpResponse, HttpServer};
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use crate::metrics::{self, Metrics};
use crate::settings::HttpSettings;

/// A dependency that does not answer within this time counts as unreachable.
const CHECK_PATIENCE: Duration = Duration::from_secs(2);

type Checked = Pin<Box<dyn Future<Output = Result<(), String>> + Send>>;

struct Check {
    name: &'static str,
    run: Box<dyn Fn() -> Checked + Send + Sync>,
}

/// The dependencies of this process. Cheap to clone.
#[derive(Clone)]
pub struct Health {
    checks: Arc<RwLock<Vec<Arc<Check>>>>,
    draining: CancellationToken,
}

/// Whether the process can work, dependency by dependency.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Readiness {
    pub status: ReadinessStatus,
    pub checks: Vec<CheckOutcome>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ReadinessStatus {
    Ready,
    NotReady,
    /// The process ends: it finishes what it has and takes nothing more.
    Draining,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CheckOutcome {
    pub name: &'static str,
    pub ready: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

impl Health {
    /// The process counts as draining from the moment `draining` is cancelled.
    pub fn new(draining: CancellationToken) -> Self {
        Self { checks: Arc::default(), draining }
    }

    /// Adds a dependency. `check` answers why it cannot be used, in a sentence without secrets.
    pub fn add<C, F>(&self, name: &'static str, check: C)
    where
        C: Fn() -> F + Send + Sync + 'static,
        F: Future<Output = Result<(), String>> + Send + 'static,
    {
        let run = Box::new(move || -> Checked { Box::pin(check()) });
        let mut checks = self.checks.write().unwrap_or_else(PoisonError::into_inner);
        checks.push(Arc::new(Check { name, run }));
    }

    /// Asks every dependency, all at once.
    pub async fn readiness(&self) -> Readiness {
        let checks = self.checks.read().unwrap_or_else(PoisonError::into_inner).clone();
        let checks = futures::future::join_all(checks.iter().map(|check| check.ask())).await;
        let status = if self.draining.is_cancelled() {
            ReadinessStatus::Draining
        } else if checks.iter().all(|check| check.ready) {
            ReadinessStatus::Ready
        } else {
            ReadinessStatus::NotReady
        };
        Readiness { status, checks }
    }
}

impl Check {
    async fn ask(&self) -> CheckOutcome {
        let outcome = tokio::time::timeout(CHECK_PATIENCE, (self.run)()).await;
        let reason = match outcome {
            Ok(Ok(())) => None,
            Ok(Err(reason)) => Some(reason),
            Err(_elapsed) => Some(format!("no answer within {} s", CHECK_PATIENCE.as_secs())),
        };
        CheckOutcome { name: self.name, ready: reason.is_none(), reason }
    }
}

/// The three routes, for an application of its own or for the gateway's.
pub fn routes(health: Health, metrics: Metrics) -> impl FnOnce(&mut ServiceConfig) + Clone {
    move |application| {
        application
            .app_data(Data::new(health))
            .app_data(Data::new(metrics))
            .route("/healthz", get().to(healthz))
            .route("/readyz", get().to(readyz))
            .route("/metrics", get().to(figures));
    }
}

/// Binds the address, and answers what serves the three routes there until `shutdown`; for a service without an HTTP API of its own.
pub fn server(
    http: HttpSettings,
    health: Health,
    metrics: Metrics,
    shutdown: CancellationToken,
) -> std::io::Result<Server> {
    let routes = routes(health, metrics);
    let server = HttpServer::new(move || App::new().configure(routes.clone()))
        .workers(1)
        .disable_signals()
        .shutdown_timeout(1)
        .shutdown_signal(shutdown.cancelled_owned())
        .bind((http.host, http.port))?;
    for address in server.addrs() {
        tracing::info!(%address, "serving health and metrics");
    }
    Ok(server.run())
}

/// The process is alive as soon as it can answer at all.
async fn healthz() -> HttpResponse {
    HttpResponse::Ok().json(serde_json::json!({ "status": "alive" }))
}

async fn readyz(health: Data<Health>) -> HttpResponse {
    let readiness = health.readiness().await;
    match readiness.status {
        ReadinessStatus::Ready => HttpResponse::Ok().json(readiness),
        ReadinessStatus::NotReady | ReadinessStatus::Draining => {
            HttpResponse::ServiceUnavailable().json(readiness)
        }
    }
}

async fn figures(metrics: Data<Metrics>) -> HttpResponse {
    HttpResponse::Ok().content_type(metrics::CONTENT_TYPE).body(metrics.encode())
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_web::http::StatusCode;
    use actix_web::test::{TestRequest, call_service, init_service, read_body_json};

    async fn ask(health: &Health) -> (StatusCode, serde_json::Value) {
        let routes = routes(health.clone(), Metrics::default());
        let application = init_service(App::new().configure(routes)).await;
        let request = TestRequest::get().uri("/readyz").to_request();
        let response = call_service(&application, request).await;
        (response.status(), read_body_json(response).await)
    }

    #[tokio::test]
    async fn a_process_is_ready_when_all_its_dependencies_are() {
        let health = Health::new(CancellationToken::new());
        health.add("database", || async { Ok(()) });
        assert_eq!(
            ask(&health).await,
            (
                StatusCode::OK,
                serde_json::json!({ "status": "ready", "checks": [{ "name": "database", "ready": true }] })
            )
        );
    }

    #[tokio::test]
    async fn a_dependency_that_is_away_says_why() {
        let health = Health::new(CancellationToken::new());
        health.add("database", || async { Ok(()) });
        health.add("broker", || async { Err("connection refused".to_owned()) });
        let (status, body) = ask(&health).await;
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(
            body["checks"][1],
            serde_json::json!({ "name": "broker", "ready": false, "reason": "connection refused" })
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_dependency_that_hangs_counts_as_away() {
        let health = Health::new(CancellationToken::new());
        health.add("broker", std::future::pending);
        let (status, body) = ask(&health).await;
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(body["checks"][0]["reason"], "no answer within 2 s");
    }

    #[tokio::test]
    async fn a_process_that_ends_takes_nothing_more() {
        let draining = CancellationToken::new();
        let health = Health::new(draining.clone());
        draining.cancel();
        let (status, body) = ask(&health).await;
        assert_eq!(
            (status, &body["status"]),
            (StatusCode::SERVICE_UNAVAILABLE, &"draining".into())
        );
    }
}
