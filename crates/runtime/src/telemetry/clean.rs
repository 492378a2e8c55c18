//! Traces without known secrets.

use std::borrow::Cow;
use std::time::Duration;

use opentelemetry::trace::Status;
use opentelemetry::{KeyValue, Value};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{SpanData, SpanExporter};

use crate::redaction::clean_text;

/// Takes known secrets out of spans before another exporter sends them.
#[derive(Debug)]
pub(super) struct CleanExporter<E>(pub(super) E);

impl<E: SpanExporter> SpanExporter for CleanExporter<E> {
    async fn export(&self, mut batch: Vec<SpanData>) -> OTelSdkResult {
        batch.iter_mut().for_each(clean_span);
        self.0.export(batch).await
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.0.shutdown_with_timeout(timeout)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.0.force_flush()
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.0.set_resource(resource);
    }
}

fn clean_span(span: &mut SpanData) {
    if let Cow::Owned(name) = clean_text(&span.name) {
        span.name = name.into();
    }
    if let Status::Error { description } = &mut span.status
        && let Cow::Owned(cleaned) = clean_text(description)
    {
        *description = cleaned.into();
    }
    span.attributes.iter_mut().for_each(clean_attribute);
    for event in &mut span.events.events {
        if let Cow::Owned(name) = clean_text(&event.name) {
            event.name = name.into();
        }
        event.attributes.iter_mut().for_each(clean_attribute);
    }
}

fn clean_attribute(attribute: &mut KeyValue) {
    if let Value::String(text) = &attribute.value
        && let Cow::Owned(cleaned) = clean_text(text.as_str())
    {
        attribute.value = Value::String(cleaned.into());
    }
}
