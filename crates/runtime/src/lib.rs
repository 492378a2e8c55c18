//! What every `main` needs: settings, telemetry, health, an orderly start and end. Knows nothing of the domain.

pub mod clock;
pub mod health;
pub mod lifecycle;
pub mod metrics;
pub mod presence;
pub mod redaction;
pub mod settings;
pub mod telemetry;
