//! Many connections at once, each with one small request after the other.

use std::time::{Duration, Instant};

use anyhow::Context;
use futures::future::try_join_all;

use super::leg::{Connection, Leg};
use super::{Figures, KINDS, Ways, milliseconds};
use crate::figures::Report;

const CONNECTIONS: usize = 32;
const ROUNDS: usize = 3;
const ROUND: Duration = Duration::from_secs(1);

pub async fn measure(ways: &Ways, report: &mut Report) -> anyhow::Result<()> {
    let (mut times, mut work) = (Figures::default(), Figures::default());
    for _ in 0..ROUNDS {
        for ((leg, times), work) in ways.all().zip(times.all()).zip(work.all()) {
            let per_request = round(leg).await.with_context(|| leg.name())?;
            times.add(per_request.time);
            work.add(per_request.work);
        }
    }
    for (index, kind) in KINDS.iter().enumerate() {
        let what = format!("requests on {CONNECTIONS} connections, {kind}");
        let of_kind = |figures: &Figures| -> Option<_> {
            Some((figures.ours.get(index)?.clone(), figures.mitmproxy.get(index)?.clone()))
        };
        let (ours, mitmproxy) = of_kind(&times).context("a kind without figures")?;
        report.compare_frequencies(&what, &ours, ("no proxy", &times.direct));
        report.compare_frequencies(&what, &ours, ("mitmproxy", &mitmproxy));
        let (ours, mitmproxy) = of_kind(&work).context("a kind without figures")?;
        let what = format!("{what}, by the proxy's own processor time");
        report.compare_frequencies(&what, &ours, ("mitmproxy", &mitmproxy));
    }
    Ok(())
}

/// Milliseconds for each request: of the clock, and of the proxy's processor time.
struct PerRequest {
    time: f64,
    work: f64,
}

async fn round(leg: &Leg) -> anyhow::Result<PerRequest> {
    let mut connections = try_join_all((0..CONNECTIONS).map(|_| leg.connect())).await?;
    let (begun, before) = (Instant::now(), leg.processor_time()?);
    let asking = connections.iter_mut().map(|connection| ask_until(connection, begun + ROUND));
    let requests: u32 = try_join_all(asking).await?.iter().sum();
    let work = leg.processor_time()?.saturating_sub(before);
    let of_each = |total: Duration| milliseconds(total) / f64::from(requests);
    Ok(PerRequest { time: of_each(begun.elapsed()), work: of_each(work) })
}

async fn ask_until(connection: &mut Connection, end: Instant) -> anyhow::Result<u32> {
    let mut requests = 0;
    while Instant::now() < end {
        connection.download(100).await?;
        requests += 1;
    }
    Ok(requests)
}
