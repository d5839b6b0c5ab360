//! Many clients that write, and how long each write took.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use client::v3::Client;
use proto::etcdserverpb::PutRequest;
use tokio::{
    task::JoinSet,
    time::{Instant, sleep_until},
};

/// Longer than any write should take.
const WRITE: Duration = Duration::from_secs(30);

/// What is written, and how fast.
#[derive(Clone, Debug)]
pub(super) struct Load {
    pub(super) prefix: String,
    pub(super) key_bytes: usize,
    pub(super) value_bytes: usize,
    /// Writes a second; `None`: as fast as it goes.
    pub(super) rate: Option<u64>,
    /// Ends after so many writes.
    pub(super) writes_max: u64,
    /// And after this long.
    pub(super) lasts: Duration,
}

/// What came of it.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    took: Vec<Duration>,
    /// How often each error was met.
    pub(super) errors: BTreeMap<String, u64>,
    elapsed: Duration,
}

impl Outcome {
    pub(super) fn per_second(&self) -> f64 {
        let seconds = self.elapsed.as_secs_f64();
        if seconds > 0.0 { count(self.took.len()) / seconds } else { 0.0 }
    }

    /// In seconds.
    pub(super) fn slowest(&self) -> f64 {
        self.took.iter().max().map_or(0.0, Duration::as_secs_f64)
    }

    /// In seconds.
    pub(super) fn deviation(&self) -> f64 {
        if self.took.is_empty() {
            return 0.0;
        }
        let all = count(self.took.len());
        let mean = self.took.iter().map(Duration::as_secs_f64).sum::<f64>() / all;
        let squares = self.took.iter().map(|took| (took.as_secs_f64() - mean).powi(2));
        (squares.sum::<f64>() / all).sqrt()
    }
}

#[allow(clippy::cast_precision_loss, reason = "nobody counts so many writes")]
fn count(writes: usize) -> f64 {
    writes as f64
}

/// Writes until it is over or `stop` is set; `done` hears of each write.
pub(super) async fn run(
    clients: Vec<Client>,
    load: Load,
    stop: Arc<AtomicBool>,
    done: impl Fn() + Clone + Send + 'static,
) -> Outcome {
    let began = Instant::now();
    let next = Arc::new(AtomicU64::new(0));
    let mut workers = JoinSet::new();
    for client in clients {
        let (load, next, stop, done) =
            (load.clone(), Arc::clone(&next), Arc::clone(&stop), done.clone());
        workers.spawn(async move {
            let mut own = Outcome::default();
            while let Some(at) = load.turn(began, next.fetch_add(1, Ordering::Relaxed)) {
                sleep_until(at).await;
                if stop.load(Ordering::Relaxed) {
                    break;
                }
                let asked = Instant::now();
                match client.within(WRITE).put(load.put()).await {
                    Ok(_) => own.took.push(asked.elapsed()),
                    Err(error) => *own.errors.entry(error.to_string()).or_default() += 1,
                }
                done();
            }
            own
        });
    }
    let mut all = Outcome::default();
    for own in workers.join_all().await {
        all.took.extend(own.took);
        for (error, times) in own.errors {
            *all.errors.entry(error).or_default() += times;
        }
    }
    all.elapsed = began.elapsed();
    all
}

impl Load {
    /// When a write is due; `None`: it is over.
    fn turn(&self, began: Instant, number: u64) -> Option<Instant> {
        if number >= self.writes_max {
            return None;
        }
        let Some(rate) = self.rate else { return Some(began) };
        let due = began
            + Duration::from_secs(1)
                .mul_f64(count(usize::try_from(number).ok()?) / count(usize::try_from(rate).ok()?));
        (due.max(Instant::now()) < began + self.lasts).then_some(due)
    }

    fn put(&self) -> PutRequest {
        let mut key = self.prefix.clone().into_bytes();
        key.extend_from_slice(format!("{:016x}", fastrand::u64(..)).as_bytes());
        key.resize(self.prefix.len() + self.key_bytes, 0);
        PutRequest {
            key: key.into(),
            value: vec![0; self.value_bytes].into(),
            ..PutRequest::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_those_of_the_writes() {
        let took = [100, 200, 300].map(Duration::from_millis).to_vec();
        let outcome = Outcome { took, elapsed: Duration::from_secs(2), ..Outcome::default() };
        let close = |a: f64, b: f64| (a - b).abs() < 1e-9;
        assert!(close(outcome.per_second(), 1.5) && close(outcome.slowest(), 0.3));
        assert!(close(outcome.deviation(), (0.02_f64 / 3.0).sqrt()));
    }

    #[tokio::test(start_paused = true)]
    async fn writes_are_due_at_their_rate_until_time_is_over() {
        let load = Load {
            prefix: "p/".to_owned(),
            key_bytes: 256,
            value_bytes: 1,
            rate: Some(100),
            writes_max: u64::MAX,
            lasts: Duration::from_secs(2),
        };
        let began = Instant::now();
        assert_eq!(load.turn(began, 50), Some(began + Duration::from_millis(500)));
        assert_eq!(load.turn(began, 200), None);
        tokio::time::advance(Duration::from_secs(3)).await;
        assert_eq!(load.turn(began, 50), None, "late is late");
        let put = load.put();
        assert!(put.key.starts_with(b"p/") && put.key.len() == 258);
    }
}
