//! Leases that are kept alive, on streams as clients keep them: the next one follows an answer.

use std::{
    cell::Cell,
    collections::BTreeMap,
    net::SocketAddr,
    rc::Rc,
    time::{Duration, Instant},
};

use anyhow::{bail, ensure};
use tokio::task::LocalSet;

use super::{
    load::{Driven, Sizes},
    requests,
};
use crate::{
    histogram::Histogram,
    streams::{Line, Said},
};

const CONNECTIONS: usize = 8;
const STREAMS: usize = 8;

/// A connection, and when each of its streams has asked.
struct Keeper {
    line: Line,
    streams: Vec<u32>,
    asked: BTreeMap<u32, Instant>,
}

pub(super) fn run(
    endpoint: SocketAddr,
    sizes: &Sizes,
    warm: Duration,
    begin: &mut dyn FnMut() -> anyhow::Result<()>,
) -> anyhow::Result<Driven> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    LocalSet::new().block_on(&runtime, async {
        let mut keepers = Vec::new();
        for _ in 0..CONNECTIONS {
            let mut line = Line::open(endpoint).await?;
            let streams = (0..STREAMS).map(|_| line.begin(requests::KEEP_ALIVE)).collect();
            keepers.push(Keeper { line, streams, asked: BTreeMap::new() });
        }
        let next = Rc::new(Cell::new(0));
        let (keepers, _) = keep_for(warm, keepers, (&next, sizes.leases)).await?;
        begin()?;
        let began = Instant::now();
        let measured = Duration::from_secs_f64(sizes.seconds);
        let (_, latencies) = keep_for(measured, keepers, (&next, sizes.leases)).await?;
        #[allow(clippy::cast_precision_loss, reason = "a count")]
        let units = latencies.total() as f64;
        Ok(Driven { elapsed: began.elapsed(), units, latencies, unsent: 0 })
    })
}

/// All of them for this time; they go round the leases together.
async fn keep_for(
    duration: Duration,
    keepers: Vec<Keeper>,
    (next, leases): (&Rc<Cell<u64>>, u64),
) -> anyhow::Result<(Vec<Keeper>, Histogram)> {
    let until = Instant::now() + duration;
    let start = |keeper: Keeper| {
        let next = Rc::clone(next);
        let lease = move || {
            next.set(next.get() + 1);
            i64::try_from(next.get() % leases.max(1)).unwrap_or(0) + 1
        };
        tokio::task::spawn_local(keeper.keep(until, lease))
    };
    let tasks: Vec<_> = keepers.into_iter().map(start).collect();
    let (mut back, mut all) = (Vec::new(), Histogram::default());
    for task in tasks {
        let (keeper, latencies) = task.await??;
        back.push(keeper);
        all.merge(&latencies);
    }
    Ok((back, all))
}

impl Keeper {
    async fn keep(
        mut self,
        until: Instant,
        lease: impl Fn() -> i64,
    ) -> anyhow::Result<(Self, Histogram)> {
        let mut latencies = Histogram::default();
        let mut free = self.streams.clone();
        loop {
            let now = Instant::now();
            if now < until {
                for stream in free.drain(..) {
                    self.line.say(stream, &requests::keep_alive(lease()), false);
                    self.asked.insert(stream, now);
                }
            } else if self.asked.is_empty() {
                return Ok((self, latencies));
            }
            let asked = &mut self.asked;
            self.line
                .turn(&mut |stream, said| {
                    let Said::Message(message) = said else { bail!("a stream has ended") };
                    ensure!(requests::is_kept_alive(message), "a lease is gone");
                    if let Some(since) = asked.remove(&stream) {
                        latencies.record(since.elapsed());
                        free.push(stream);
                    }
                    Ok(())
                })
                .await?;
        }
    }
}
