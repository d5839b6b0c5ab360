//! What no server can do without: a bare append with an fdatasync on the same disk.

use std::{
    fs,
    os::unix::fs::FileExt as _,
    path::Path,
    time::{Duration, Instant},
};

use super::{
    figures::{Figures, Quantity},
    requests::VALUE_BYTES,
};
use crate::histogram::Histogram;

/// As a log has it: space is reserved, and gone round.
const LENGTH: u64 = 64 << 20;
/// A put's key, value, and what a log writes about them.
const RECORD_BYTES: usize = VALUE_BYTES + 100;

/// One append after the other, each synced.
pub(super) fn sync(under: &Path, duration: Duration) -> anyhow::Result<Figures> {
    let dir = tempfile::TempDir::new_in(under)?;
    let file = fs::File::create(dir.path().join("sync"))?;
    rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, LENGTH)?;
    file.sync_all()?;
    let mut latencies = Histogram::default();
    let record = [7; RECORD_BYTES];
    let mut at = 0;
    let began = Instant::now();
    while began.elapsed() < duration {
        let from = Instant::now();
        file.write_all_at(&record, at)?;
        file.sync_data()?;
        latencies.record(from.elapsed());
        at = (at + RECORD_BYTES as u64) % (LENGTH - RECORD_BYTES as u64);
    }
    #[allow(clippy::cast_precision_loss, reason = "a count")]
    let rate = latencies.total() as f64 / began.elapsed().as_secs_f64();
    let mut figures = quantiles(&latencies);
    figures.insert(Quantity::Rate, rate);
    Ok(figures)
}

/// How long most took, in microseconds.
pub(super) fn quantiles(latencies: &Histogram) -> Figures {
    let micros = |share| latencies.quantile(share).as_secs_f64() * 1e6;
    [(Quantity::P50, 0.5), (Quantity::P99, 0.99), (Quantity::P999, 0.999)]
        .map(|(quantity, share)| (quantity, micros(share)))
        .into()
}
