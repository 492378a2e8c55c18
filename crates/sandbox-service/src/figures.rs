//! What this service tells Prometheus: how many sandboxes there are in each state, and which limits hold.

use std::collections::BTreeMap;

use platform_core::sandbox::{Sandbox, SandboxState};
use platform_runtime::metrics::Metrics;
use platform_runtime::metrics::prometheus_client::metrics::family::Family;
use platform_runtime::metrics::prometheus_client::metrics::gauge::Gauge;
use serde_json::Value;

type Labels = Vec<(String, String)>;

const SHOWN: [SandboxState; 6] = [
    SandboxState::Queued,
    SandboxState::Starting,
    SandboxState::Warm,
    SandboxState::Claimed,
    SandboxState::Ready,
    SandboxState::Stopping,
];

/// The figures of this process's machine.
#[derive(Debug, Default)]
pub struct Figures {
    sandboxes: Family<Labels, Gauge>,
}

impl Figures {
    /// Adds the figures to what the process tells. `limits` is the backend's report.
    pub fn register(metrics: &Metrics, limits: &Value) -> Self {
        let figures = Self::default();
        let enforced = Family::<Labels, Gauge>::default();
        for (limit, means) in limits.as_object().into_iter().flatten() {
            let means = means.as_str().unwrap_or_default();
            let is_enforced = !means.starts_with("not enforced");
            let labels =
                vec![("limit".to_owned(), limit.clone()), ("means".to_owned(), means.to_owned())];
            enforced.get_or_create(&labels).set(i64::from(is_enforced));
        }
        metrics.register(|registry| {
            let help = "Sandboxes of this machine by state";
            registry.register("sandboxes", help, figures.sandboxes.clone());
            let help = "Whether sandboxes are held to a limit, and by what means";
            registry.register("sandbox_limit_enforced", help, enforced);
        });
        figures
    }

    /// Notes what lives on the machine now.
    pub fn note_living(&self, living: &[Sandbox]) {
        let mut counts: BTreeMap<&str, i64> =
            SHOWN.iter().map(|state| (state.as_word(), 0)).collect();
        for sandbox in living {
            *counts.entry(sandbox.state.as_word()).or_default() += 1;
        }
        for (state, count) in counts {
            let labels = vec![("state".to_owned(), state.to_owned())];
            self.sandboxes.get_or_create(&labels).set(count);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn limits_and_empty_states_are_told_too() {
        let metrics = Metrics::default();
        let limits =
            json!({ "memory": "cgroup v1", "cpu": "not enforced: no cgroup may be written" });
        Figures::register(&metrics, &limits).note_living(&[]);
        let text = metrics.encode();
        for line in [
            "sandboxes{state=\"ready\"} 0",
            "sandbox_limit_enforced{limit=\"memory\",means=\"cgroup v1\"} 1",
            "sandbox_limit_enforced{limit=\"cpu\",means=\"not enforced: no cgroup may be written\"} 0",
        ] {
            assert!(text.lines().any(|told| told == line), "{text}");
        }
    }
}
