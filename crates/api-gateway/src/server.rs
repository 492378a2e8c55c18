//! The HTTP server.

use std::time::Duration;

use actix_web::dev::Server;
use actix_web::middleware::from_fn;
use actix_web::web::{self, Data};
use actix_web::{App, HttpServer};
use platform_runtime::health::{self, Health};
use platform_runtime::metrics::Metrics;
use platform_runtime::settings::HttpSettings;

use crate::docs;
use crate::platform::Platform;
use crate::{idempotency, request_id, routes};

/// One more than the cores of the smallest machine: handlers wait more than they work.
const WORKERS: usize = 2;
/// For how long new requests are still taken once `/readyz` says that the process ends: balancers notice with a delay.
const OPEN_FOR: Duration = Duration::from_secs(2);
/// How long requests under way may take after that, in seconds. Together less than the process's own grace.
const GRACE: u64 = 15;
const HEADERS_WITHIN: Duration = Duration::from_secs(10);

/// Binds the address. The server runs when it is awaited, and ends with the platform's shutdown.
pub fn server(
    platform: Data<Platform>,
    http: HttpSettings,
    health: Health,
    metrics: Metrics,
) -> std::io::Result<(Server, Vec<std::net::SocketAddr>)> {
    let shutdown = platform.shutdown.clone();
    let health_routes = health::routes(health, metrics);
    let server = HttpServer::new(move || {
        App::new()
            .app_data(platform.clone())
            .configure(routes::add)
            .configure(health_routes.clone())
            .service(docs::openapi)
            .service(docs::page_for_people)
            .default_service(web::to(routes::unknown))
            // The last one added is the first to see a request.
            .wrap(from_fn(idempotency::remember))
            .wrap(from_fn(request_id::identify))
    })
    .workers(WORKERS)
    // A delta is a small packet, and waiting for more of them would be all of its latency.
    .tcp_nodelay(true)
    .client_request_timeout(HEADERS_WITHIN)
    .disable_signals()
    .shutdown_timeout(GRACE)
    .shutdown_signal(async move {
        shutdown.cancelled().await;
        tokio::time::sleep(OPEN_FOR).await;
    })
    .bind((http.host, http.port))?;
    let addresses = server.addrs();
    Ok((server.run(), addresses))
}
