//! One writer, and many who watch its key: how soon each is told.

use std::{
    cell::{Cell, RefCell},
    net::SocketAddr,
    rc::Rc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail, ensure};
use tokio::{sync::Notify, task::LocalSet, time::timeout};

use super::{
    load::{Driven, Sizes},
    requests::{self, Told},
};
use crate::{
    histogram::Histogram,
    streams::{Line, Said},
};

/// The watchers' streams are spread over so many connections.
const CONNECTIONS: usize = 10;
/// An event comes within this time.
const PATIENCE: Duration = Duration::from_mins(1);

/// What all connections have seen together.
#[derive(Default)]
struct Seen {
    created: Cell<usize>,
    /// Of the newest write.
    events: Cell<usize>,
    wanted: Cell<usize>,
    written: Cell<Option<Instant>>,
    latencies: RefCell<Histogram>,
    /// All that was waited for is there.
    complete: Notify,
}

impl Seen {
    fn see(&self, told: &Told) -> anyhow::Result<()> {
        match told {
            Told::Created => {
                self.created.set(self.created.get() + 1);
                self.note(self.created.get());
            }
            Told::Events(count) => {
                let written = self.written.get().context("an event before the first write")?;
                let mut latencies = self.latencies.borrow_mut();
                (0..*count).for_each(|_| latencies.record(written.elapsed()));
                self.events.set(self.events.get() + count);
                self.note(self.events.get());
            }
            Told::Lost => bail!("a watch was canceled"),
        }
        Ok(())
    }

    fn note(&self, count: usize) {
        if count == self.wanted.get() {
            self.complete.notify_one();
        }
    }
}

/// The next write follows once everybody was told of the one before.
pub(super) fn run(
    endpoint: SocketAddr,
    sizes: &Sizes,
    warm: Duration,
    begin: &mut dyn FnMut() -> anyhow::Result<()>,
) -> anyhow::Result<Driven> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    LocalSet::new().block_on(&runtime, async {
        let seen = Rc::new(Seen::default());
        seen.wanted.set(sizes.watchers);
        let tasks = open(endpoint, sizes, &seen).await?;
        timeout(PATIENCE, seen.complete.notified()).await.context("watches are not created")?;
        let mut writer = Line::open(endpoint).await?;
        write_for(warm, &mut writer, &seen).await?;
        *seen.latencies.borrow_mut() = Histogram::default();
        begin()?;
        let began = Instant::now();
        let measured = Duration::from_secs_f64(sizes.seconds);
        let events = write_for(measured, &mut writer, &seen).await?;
        let elapsed = began.elapsed();
        for task in tasks {
            ensure!(!task.is_finished(), "a connection with watches has ended");
            task.abort();
        }
        let latencies = seen.latencies.borrow().clone();
        #[allow(clippy::cast_precision_loss, reason = "a count")]
        let units = events as f64;
        Ok(Driven { elapsed, units, latencies, unsent: 0 })
    })
}

type Task = tokio::task::JoinHandle<anyhow::Result<()>>;

/// Connections whose streams begin their watches, each of the one key.
async fn open(endpoint: SocketAddr, sizes: &Sizes, seen: &Rc<Seen>) -> anyhow::Result<Vec<Task>> {
    let connections = CONNECTIONS.min(sizes.watch_streams).max(1);
    let mut lines = Vec::new();
    for _ in 0..connections {
        lines.push((Line::open(endpoint).await?, Vec::new()));
    }
    for at in 0..sizes.watch_streams {
        if let Some((line, streams)) = lines.get_mut(at % connections) {
            streams.push(line.begin(requests::WATCH));
        }
    }
    let message = requests::watch(requests::key(0));
    for at in 0..sizes.watchers {
        let stream = at % sizes.watch_streams.max(1);
        let Some((line, streams)) = lines.get_mut(stream % connections) else { continue };
        let stream = *streams.get(stream / connections).context("a stream")?;
        line.say(stream, &message, false);
    }
    let read = |(mut line, _): (Line, Vec<u32>)| {
        let seen = Rc::clone(seen);
        tokio::task::spawn_local(async move {
            loop {
                line.turn(&mut |_, said| match said {
                    Said::Message(message) => seen.see(&requests::told(message)),
                    Said::Ended(_) => bail!("a stream of watches has ended"),
                })
                .await?;
            }
        })
    };
    Ok(lines.into_iter().map(read).collect())
}

/// How many events came.
async fn write_for(duration: Duration, writer: &mut Line, seen: &Seen) -> anyhow::Result<usize> {
    let until = Instant::now() + duration;
    let message = requests::put_message(requests::key(0));
    let mut events = 0;
    while Instant::now() < until {
        seen.events.set(0);
        seen.written.set(Some(Instant::now()));
        let put = writer.call(requests::PUT, &message);
        timeout(PATIENCE, put).await.context("a write is not answered")??;
        timeout(PATIENCE, seen.complete.notified()).await.context("events are missing")?;
        events += seen.events.get();
    }
    Ok(events)
}
