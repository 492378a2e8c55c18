//! What vault-proxy adds to a request and takes from a large transfer, against mitmproxy and against no proxy at all.

mod leg;
mod mitmproxy;
mod ours;
mod processor;
mod throng;

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context;
use system_tests::House;
use system_tests::upstream::Upstream;

use self::leg::{Connection, Leg};
use self::mitmproxy::Mitmproxy;
use crate::figures::{Report, Series};
use crate::milliseconds_since;

const REQUESTS: usize = 400;
const CONNECTIONS: usize = 60;
const TRANSFERS: usize = 3;
const TRANSFERRED: usize = 128 << 20;

/// Two hosts: everything that goes to one at which a credential may be used is terminated.
const PLAIN: &str = "plain.test";
const GUARDED: &str = "guarded.test";

/// What a proxy has to do with the bytes.
const KINDS: [&str; 3] = ["tunnel", "TLS terminated", "TLS terminated, placeholder replaced"];

/// The ways that are compared: one without a proxy, and for each kind ours and mitmproxy's.
struct Ways {
    direct: Leg,
    ours: [Leg; 3],
    mitmproxy: [Leg; 3],
}

/// A measurement for each of the ways.
#[derive(Default)]
struct Figures {
    direct: Series,
    ours: [Series; 3],
    mitmproxy: [Series; 3],
}

pub async fn measure(house: &House, mitmdump: &Path, report: &mut Report) -> anyhow::Result<()> {
    let authority = house.authority();
    house.resolve(&[PLAIN, GUARDED].map(|name| (name, "127.0.0.1")))?;
    let plain = Upstream::of_bytes(authority, &[PLAIN]).await?;
    let guarded = Upstream::of_bytes(authority, &[GUARDED]).await?;
    let ours = ours::legs(house, (&plain, PLAIN), (&guarded, GUARDED)).await?;
    let mitmproxy = Mitmproxy::start(mitmdump, authority).await.context("mitmproxy")?;
    let ways = Ways {
        direct: Leg::direct((&plain, PLAIN), authority)?,
        ours,
        mitmproxy: mitmproxy.legs((&plain, "localhost"), authority)?,
    };
    for (kind, leg) in KINDS.iter().zip(ways.ours.iter()).chain(KINDS.iter().zip(&ways.mitmproxy)) {
        let is_known = leg.connect().await?.is_authorized().await.with_context(|| leg.name())?;
        let is_replaced = kind.ends_with("replaced");
        anyhow::ensure!(is_known == is_replaced, "{}, {kind}: authorized {is_known}", leg.name());
    }
    requests(&ways).await?.tell(report, "request on an open connection");
    connections(&ways).await?.tell(report, "connection and request");
    throng::measure(&ways, report).await.context("many connections")?;
    transfers(&ways, report).await?;
    let [.., replaced] = &ways.ours;
    ours::carry_much(house, replaced, report).await.context("1 GiB")?;
    Ok(())
}

/// One after the other and in turns, so that all see the same machine.
async fn requests(ways: &Ways) -> anyhow::Result<Figures> {
    let mut open = Vec::new();
    for leg in ways.all() {
        let mut connection = leg.connect().await?;
        for _ in 0..20 {
            connection.download(100).await?;
        }
        open.push(connection);
    }
    let mut figures = Figures::default();
    for _ in 0..REQUESTS {
        for (connection, series) in open.iter_mut().zip(figures.all()) {
            let begun = Instant::now();
            connection.download(100).await?;
            series.add(milliseconds_since(begun));
        }
    }
    Ok(figures)
}

async fn connections(ways: &Ways) -> anyhow::Result<Figures> {
    let mut figures = Figures::default();
    for _ in 0..CONNECTIONS {
        for (leg, series) in ways.all().zip(figures.all()) {
            let begun = Instant::now();
            leg.connect().await?.download(100).await?;
            series.add(milliseconds_since(begun));
        }
    }
    Ok(figures)
}

async fn transfers(ways: &Ways, report: &mut Report) -> anyhow::Result<()> {
    let (mut down, mut up) = (Figures::default(), Figures::default());
    let (mut work_down, mut work_up) = (Figures::default(), Figures::default());
    for _ in 0..TRANSFERS {
        let down = down.all().zip(work_down.all());
        let up = up.all().zip(work_up.all());
        for ((leg, (down, work_down)), (up, work_up)) in ways.all().zip(down).zip(up) {
            let mut connection: Connection = leg.connect().await?;
            let (begun, before) = (Instant::now(), leg.processor_time()?);
            connection.download(TRANSFERRED).await.with_context(|| leg.name())?;
            down.add(milliseconds_since(begun));
            let between = leg.processor_time()?;
            work_down.add(milliseconds(between.saturating_sub(before)));
            let begun = Instant::now();
            connection.upload(TRANSFERRED).await.with_context(|| leg.name())?;
            up.add(milliseconds_since(begun));
            work_up.add(milliseconds(leg.processor_time()?.saturating_sub(between)));
        }
    }
    down.tell_rates(report, "download");
    up.tell_rates(report, "upload");
    work_down.tell_work_rates(report, "download");
    work_up.tell_work_rates(report, "upload");
    Ok(())
}

fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

impl Ways {
    fn all(&self) -> impl Iterator<Item = &Leg> {
        std::iter::once(&self.direct).chain(&self.ours).chain(&self.mitmproxy)
    }
}

impl Figures {
    /// In the order of [`Ways::all`].
    fn all(&mut self) -> impl Iterator<Item = &mut Series> {
        std::iter::once(&mut self.direct).chain(&mut self.ours).chain(&mut self.mitmproxy)
    }

    fn tell(&self, report: &mut Report, what: &str) {
        for ((kind, ours), mitmproxy) in KINDS.iter().zip(&self.ours).zip(&self.mitmproxy) {
            let what = format!("{what}, {kind}");
            for quantile in [0.5, 0.99] {
                report.compare(&what, quantile, ours, ("no proxy", &self.direct));
                report.compare(&what, quantile, ours, ("mitmproxy", mitmproxy));
            }
        }
    }

    fn tell_rates(&self, report: &mut Report, what: &str) {
        for ((kind, ours), mitmproxy) in KINDS.iter().zip(&self.ours).zip(&self.mitmproxy) {
            let what = format!("{what}, {kind}");
            report.compare_rates(&what, TRANSFERRED, ours, ("no proxy", &self.direct));
            report.compare_rates(&what, TRANSFERRED, ours, ("mitmproxy", mitmproxy));
        }
    }

    /// The same by the processor time that the proxies use, however busy the machine is with others.
    fn tell_work_rates(&self, report: &mut Report, what: &str) {
        for ((kind, ours), mitmproxy) in KINDS.iter().zip(&self.ours).zip(&self.mitmproxy) {
            let what = format!("{what} by the proxy's own processor time, {kind}");
            report.compare_rates(&what, TRANSFERRED, ours, ("mitmproxy", mitmproxy));
        }
    }
}
