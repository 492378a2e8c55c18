//! Series of measurements, and the table that comes of them.

use std::fmt;

/// Measurements of one kind, in milliseconds.
#[derive(Default, Clone)]
pub struct Series(Vec<f64>);

impl Series {
    pub fn add(&mut self, milliseconds: f64) {
        self.0.push(milliseconds);
        self.0.sort_by(f64::total_cmp);
    }

    /// The value that `share` (0 to 1) of the measurements do not exceed.
    pub fn quantile(&self, share: f64) -> f64 {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "an index into a few thousand measurements"
        )]
        let index = ((self.0.len().saturating_sub(1)) as f64 * share).round() as usize;
        self.0.get(index).copied().unwrap_or(f64::NAN)
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }
}

impl FromIterator<f64> for Series {
    fn from_iter<I: IntoIterator<Item = f64>>(milliseconds: I) -> Self {
        let mut all: Vec<f64> = milliseconds.into_iter().collect();
        all.sort_by(f64::total_cmp);
        Self(all)
    }
}

/// The table of a whole run.
pub struct Report {
    machine: String,
    rows: Vec<[String; 5]>,
    notes: Vec<String>,
}

impl Report {
    pub fn of_this_machine() -> Self {
        let processor = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let model = processor.lines().find_map(|line| line.strip_prefix("model name\t: "));
        let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let memory = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
        let memory = memory.lines().next().unwrap_or_default().replace("MemTotal:", "");
        let build = if cfg!(debug_assertions) { "debug" } else { "release" };
        let machine = format!(
            "{cores} cores ({}), {} of memory, kernel {}, {build} build",
            model.unwrap_or("unknown"),
            memory.trim(),
            kernel.trim()
        );
        Self { machine, rows: Vec::new(), notes: Vec::new() }
    }

    /// One comparison: `ours` against `peer`, at a quantile.
    pub fn compare(&mut self, what: &str, quantile: f64, ours: &Series, peer: (&str, &Series)) {
        let (name, series) = peer;
        let (own, other) = (ours.quantile(quantile), series.quantile(quantile));
        self.rows.push([
            format!("{what}, p{:.0} of {}", quantile * 100.0, ours.len()),
            format!("{own:.2} ms"),
            format!("{name}: {other:.2} ms"),
            format!("{:.2} ×", own / other),
            format!("{:+.2} ms", own - other),
        ]);
    }

    /// The same for transfers of so many bytes, at their medians.
    pub fn compare_rates(
        &mut self,
        what: &str,
        bytes: usize,
        ours: &Series,
        peer: (&str, &Series),
    ) {
        let (name, series) = peer;
        #[expect(clippy::cast_precision_loss, reason = "a few hundred MiB")]
        let mebibytes = bytes as f64 / f64::from(1 << 20);
        let rate = |series: &Series| mebibytes * 1000.0 / series.quantile(0.5);
        let (own, other) = (rate(ours), rate(series));
        self.rows.push([
            format!("{what}, {mebibytes:.0} MiB, median of {}", ours.len()),
            format!("{own:.0} MiB/s"),
            format!("{name}: {other:.0} MiB/s"),
            format!("{:.2} ×", own / other),
            "–".to_owned(),
        ]);
    }

    /// The same for what is done again and again, from how long each takes.
    pub fn compare_frequencies(&mut self, what: &str, ours: &Series, peer: (&str, &Series)) {
        let (name, series) = peer;
        let frequency = |series: &Series| 1000.0 / series.quantile(0.5);
        let (own, other) = (frequency(ours), frequency(series));
        self.rows.push([
            format!("{what}, median of {}", ours.len()),
            format!("{own:.0} a second"),
            format!("{name}: {other:.0} a second"),
            format!("{:.2} ×", own / other),
            "–".to_owned(),
        ]);
    }

    pub fn note(&mut self, what: &str, value: &str) {
        self.notes.push(format!("{what}: {value}"));
    }
}

impl fmt::Display for Report {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(formatter, "Machine: {}\n", self.machine)?;
        writeln!(formatter, "| what | ours | beside it | ratio | added |")?;
        writeln!(formatter, "|---|---|---|---|---|")?;
        for row in &self.rows {
            writeln!(formatter, "| {} |", row.join(" | "))?;
        }
        writeln!(formatter)?;
        self.notes.iter().try_for_each(|note| writeln!(formatter, "- {note}"))
    }
}

pub fn resident_mebibytes(pid: i32) -> Option<u64> {
    resident_kibibytes(pid).map(|kibibytes| kibibytes / 1024)
}

pub fn resident_kibibytes(pid: i32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix(" kB")?.parse().ok()
}
