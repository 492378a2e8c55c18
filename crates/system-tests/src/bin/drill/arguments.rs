//! What the drill is told to do.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::ensure;
use clap::Parser;

/// Proves that conversations survive: sessions work with agents while services, database, broker, network and sandboxes are
/// broken at random, and at the end everything that was asked is compared with what the logs and streams say.
///
/// Without --url it starts a stack of its own (two of every service, PostgreSQL, RabbitMQ, LiteLLM with the demo model) and breaks
/// all of it. With --url and --key it runs against an installation whose models include "demo", opens its own sessions there,
/// and only deletes their sandboxes through the API; with --data-dir, the data directory of a local stack, it also kills and
/// freezes processes of those sandboxes.
///
/// Prints what is done to whom, then a table, then one line:
/// lost=0 duplicated=0 reordered=0 stuck=0 wrong=0 longest_gap_ms=… turns=… seed=…
/// Any violation is listed with session, turn and event numbers, and the exit code is 1; the logs of its stack are kept then.
#[derive(Debug, Parser)]
#[command(name = "drill", verbatim_doc_comment)]
pub(crate) struct Arguments {
    /// All choices follow from it; without one it is chosen, and printed
    #[arg(long)]
    pub(crate) seed: Option<u64>,
    /// How long things are broken, such as 90s or 10m
    #[arg(long, default_value = "10m", value_parser = duration)]
    pub(crate) duration: Duration,
    /// How many sessions work at the same time
    #[arg(long, default_value_t = 6, value_parser = clap::value_parser!(u32).range(1..=500))]
    pub(crate) sessions: u32,
    /// Replicas of every service in the drill's own stack
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=16))]
    pub(crate) replicas: u32,
    /// How many sandboxes of the drill's own stack may run at once; fewer than sessions make these wait for each other
    /// [default: as many as sessions]
    #[arg(long)]
    pub(crate) places: Option<u32>,
    /// The clone whose harnesses the drill's own stack uses
    #[arg(long, default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/../.."), hide_default_value = true)]
    pub(crate) root: PathBuf,
    /// The mean time between two blows
    #[arg(long, default_value = "3s", value_parser = duration)]
    pub(crate) every: Duration,
    /// Only blows of these kinds: service, database, broker, network, sandbox
    #[arg(long, value_delimiter = ',')]
    pub(crate) only: Vec<String>,
    /// How long turns may take to end once everything is whole again
    #[arg(long, default_value = "3m", value_parser = duration)]
    pub(crate) settle: Duration,
    /// An existing installation; needs --key
    #[arg(long, requires = "key")]
    pub(crate) url: Option<String>,
    /// A key of that installation
    #[arg(long, env = "LAP_KEY", hide_env_values = true)]
    pub(crate) key: Option<String>,
    /// The data directory of the local stack behind --url
    #[arg(long, requires = "url")]
    pub(crate) data_dir: Option<PathBuf>,
    /// Where logs, streams and requests of every session are written, whatever the outcome
    #[arg(long)]
    pub(crate) evidence: Option<PathBuf>,
}

/// `90s`, `10m`, `1h`.
fn duration(text: &str) -> anyhow::Result<Duration> {
    let (number, unit) = text.split_at(text.trim_end_matches(char::is_alphabetic).len());
    let number: f64 = number.trim().parse()?;
    let seconds = match unit {
        "ms" => number / 1000.0,
        "s" | "" => number,
        "m" => number * 60.0,
        "h" => number * 3600.0,
        _ => anyhow::bail!("{unit:?} is none of ms, s, m, h"),
    };
    ensure!(seconds.is_finite() && seconds > 0.0, "it must take some time");
    Ok(Duration::from_secs_f64(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_units() {
        assert_eq!(duration("90s").unwrap(), Duration::from_secs(90));
        assert_eq!(duration("10m").unwrap(), Duration::from_mins(10));
        assert_eq!(duration("1.5s").unwrap(), Duration::from_millis(1500));
        assert!(
            duration("soon").is_err() && duration("5 weeks").is_err() && duration("0s").is_err()
        );
    }
}
