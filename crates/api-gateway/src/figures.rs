//! What the gateway counts.

use std::time::Duration;

use actix_web::http::Method;
use platform_runtime::metrics::Metrics;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::{Family, MetricConstructor};
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};

/// Cheap to clone.
#[derive(Clone)]
pub struct Figures {
    requests: Family<Answered, Counter>,
    durations: Family<Route, Histogram, Buckets>,
    /// Event streams that are open now.
    pub streams: Gauge,
    /// Streams that were ended because their reader was too slow.
    pub slow_readers: Counter,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Answered {
    method: String,
    route: String,
    status: u32,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Route {
    method: String,
    route: String,
}

/// From half a millisecond to about sixteen seconds.
#[derive(Debug, Clone, Copy)]
struct Buckets;

impl MetricConstructor<Histogram> for Buckets {
    fn new_metric(&self) -> Histogram {
        Histogram::new(exponential_buckets(0.0005, 2.0, 16))
    }
}

impl Default for Figures {
    fn default() -> Self {
        Self {
            requests: Family::default(),
            durations: Family::new_with_constructor(Buckets),
            streams: Gauge::default(),
            slow_readers: Counter::default(),
        }
    }
}

impl Figures {
    pub fn register(&self, metrics: &Metrics) {
        let Self { requests, durations, streams, slow_readers } = self.clone();
        metrics.register(|registry| {
            registry.register("http_requests", "Requests answered", requests);
            let help = "Seconds until the head of the answer";
            registry.register("http_request_duration_seconds", help, durations);
            registry.register("event_streams", "Event streams open now", streams);
            let help = "Event streams ended because their reader was too slow";
            registry.register("slow_readers", help, slow_readers);
        });
    }

    /// Counts an answer. `route` is the pattern, so that ids do not make figures of their own.
    pub fn answered(&self, method: &Method, route: &str, status: u16, took: Duration) {
        let (method, route) = (method.to_string(), route.to_owned());
        let answered =
            Answered { method: method.clone(), route: route.clone(), status: u32::from(status) };
        self.requests.get_or_create(&answered).inc();
        self.durations.get_or_create(&Route { method, route }).observe(took.as_secs_f64());
    }
}
