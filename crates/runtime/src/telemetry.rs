//! Logs by `tracing`, traces by OpenTelemetry, and the trace context that messages carry.

mod clean;

use std::collections::HashMap;
use std::io::IsTerminal;

use opentelemetry::propagation::TextMapPropagator;
use opentelemetry::trace::TracerProvider;
use opentelemetry_otlp::{Protocol, WithExportConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::{Sampler, SdkTracerProvider};
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, fmt};

use crate::redaction::CleanOutput;
use crate::settings::{LogFormat, LogSettings, TelemetrySettings};
use clean::CleanExporter;

const TRACEPARENT: &str = "traceparent";

#[derive(Debug, thiserror::Error)]
pub enum StartTelemetryError {
    #[error("the log filter cannot be understood")]
    Filter(#[from] tracing_subscriber::filter::ParseError),
    #[error("traces cannot be sent to {endpoint}")]
    Exporter {
        endpoint: String,
        #[source]
        source: opentelemetry_otlp::ExporterBuildError,
    },
    #[error("telemetry was started before")]
    AlreadyStarted(#[from] tracing_subscriber::util::TryInitError),
}

/// Running telemetry. What was not sent yet is sent by [`Telemetry::finish`].
pub struct Telemetry {
    traces: Option<SdkTracerProvider>,
}

/// Starts writing logs to standard output, and sending traces where the settings name a collector.
pub fn start(
    service_name: &'static str,
    log: &LogSettings,
    settings: &TelemetrySettings,
) -> Result<Telemetry, StartTelemetryError> {
    let filter = EnvFilter::try_new(&log.filter)?;
    let lines = match log.format {
        LogFormat::Json => fmt::layer()
            .json()
            .flatten_event(true)
            .with_span_list(false)
            .with_writer(CleanOutput::new)
            .boxed(),
        LogFormat::Text => fmt::layer()
            .compact()
            .with_ansi(std::io::stdout().is_terminal())
            .with_writer(CleanOutput::new)
            .boxed(),
    };
    let traces = settings
        .otlp_endpoint
        .as_deref()
        .map(|endpoint| trace_provider(service_name, endpoint, settings.sample_ratio))
        .transpose()?;
    let spans = traces
        .as_ref()
        .map(|provider| tracing_opentelemetry::layer().with_tracer(provider.tracer(service_name)));
    tracing_subscriber::registry().with(spans).with(lines).with(filter).try_init()?;
    Ok(Telemetry { traces })
}

impl Telemetry {
    /// Sends what is left. Blocks for some seconds at most.
    pub fn finish(self) {
        if let Some(Err(failure)) = self.traces.map(|provider| provider.shutdown()) {
            tracing::warn!(%failure, "the last traces could not be sent");
        }
    }
}

fn trace_provider(
    service_name: &'static str,
    endpoint: &str,
    sample_ratio: f64,
) -> Result<SdkTracerProvider, StartTelemetryError> {
    // The variable names the collector, and the specification adds the path of the signal; set in the code, it is the whole URL.
    let exporter = opentelemetry_otlp::SpanExporter::builder()
        .with_http()
        .with_protocol(Protocol::HttpBinary)
        .with_endpoint(format!("{endpoint}/v1/traces"))
        .build()
        .map_err(|source| StartTelemetryError::Exporter {
            endpoint: endpoint.to_owned(),
            source,
        })?;
    let sampler = Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(sample_ratio)));
    Ok(SdkTracerProvider::builder()
        .with_batch_exporter(CleanExporter(exporter))
        .with_sampler(sampler)
        .with_resource(Resource::builder().with_service_name(service_name).build())
        .build())
}

/// The W3C trace context of the current span, to be sent along with a message. `None` when no traces are made.
pub fn current_traceparent() -> Option<String> {
    let mut carrier = HashMap::new();
    TraceContextPropagator::new().inject_context(&Span::current().context(), &mut carrier);
    carrier.remove(TRACEPARENT)
}

/// Makes `span` a child of the span that sent `traceparent` along. Without effect when no traces are made.
pub fn continue_trace(span: &Span, traceparent: Option<&str>) {
    let Some(traceparent) = traceparent else { return };
    let carrier = HashMap::from([(TRACEPARENT.to_owned(), traceparent.to_owned())]);
    let _no_layer = span.set_parent(TraceContextPropagator::new().extract(&carrier));
}

#[cfg(test)]
mod tests {
    use super::*;
    use tracing::info_span;

    #[test]
    fn a_trace_goes_on_in_the_service_that_receives_the_message() {
        let tracer = SdkTracerProvider::builder().build().tracer("test");
        let spans = tracing_opentelemetry::layer().with_tracer(tracer);
        tracing::subscriber::with_default(tracing_subscriber::registry().with(spans), || {
            let sent = info_span!("send").in_scope(current_traceparent).unwrap();
            let received = info_span!("receive");
            continue_trace(&received, Some(&sent));
            let passed_on = received.in_scope(current_traceparent).unwrap();

            let trace_of = |traceparent: &str| traceparent.split('-').nth(1).unwrap().to_owned();
            assert_eq!(trace_of(&passed_on), trace_of(&sent));
            assert_ne!(passed_on, sent);
        });
    }

    #[test]
    fn without_traces_no_context_is_sent_along() {
        assert_eq!(info_span!("send").in_scope(current_traceparent), None);
        continue_trace(&info_span!("receive"), Some("not a context"));
    }
}
