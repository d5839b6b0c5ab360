//! When a stream ends that its client has not ended, and what happens on it now and then.

use std::{
    sync::Arc,
    task::{Context as Cx, Poll},
};

use base::{Refused, chance};
use http::HeaderMap;
use server::Handle;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};
use tonic::metadata::MetadataMap;

use crate::context::{Context, Over};

/// How many looks in a row, an election timeout apart, find no leader before a stream ends that needs
/// one (etcd): more than an election takes.
const LOOKS: u32 = 3;

/// Whether a client wants no answer of a member without a leader.
pub(crate) fn needs_leader(metadata: &HeaderMap) -> bool {
    metadata.get("hasleader").is_some_and(|value| value.as_bytes() == b"true")
}

/// What ends a stream from our side: the server stops, or must not answer any more, or there is no
/// leader and the client has said that it needs one.
pub(crate) struct Ends {
    over: Over,
    leader: Option<Leader>,
}

struct Leader {
    handle: Handle,
    looks: Interval,
    missing: u32,
}

impl Ends {
    pub(crate) fn new(context: &Arc<Context>, metadata: &MetadataMap) -> Self {
        let look = context.handle.election_timeout();
        let leader = needs_leader(metadata.as_ref()).then(|| Leader {
            handle: context.handle.clone(),
            looks: interval_at(Instant::now() + look, look),
            missing: 0,
        });
        Self { over: context.over(), leader }
    }

    /// Ready with the reason once the stream is over.
    pub(crate) fn poll(&mut self, cx: &mut Cx<'_>) -> Poll<Refused> {
        if let Poll::Ready(refused) = self.over.as_mut().poll(cx) {
            return Poll::Ready(refused);
        }
        let Some(leader) = &mut self.leader else { return Poll::Pending };
        while leader.looks.poll_tick(cx).is_ready() {
            let found = leader.handle.status().leader.is_some();
            leader.missing = if found { 0 } else { leader.missing + 1 };
            if leader.missing >= LOOKS {
                return Poll::Ready(Refused::NoLeader);
            }
        }
        Poll::Pending
    }
}

/// Something that happens now and then.
pub(crate) struct Ticks(Option<Interval>);

impl Ticks {
    /// `--watch-progress-notify-interval`, and up to a tenth later, so that not all streams do it at
    /// once; never if it is zero.
    pub(crate) fn of_progress(context: &Context) -> Self {
        let every = context.config.grpc.progress_interval;
        if every.is_zero() {
            return Self(None);
        }
        // No stream begins at the same nanosecond as another.
        let nanos = context.handle.clock().monotonic().subsec_nanos();
        let [share, ..] = chance::mix(nanos.into()).to_be_bytes();
        let every = every + every / 10 * u32::from(share) / 256;
        let mut ticks = interval_at(Instant::now() + every, every);
        // What a client was too slow to be told is not told many times at once.
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self(Some(ticks))
    }

    pub(crate) fn poll(&mut self, cx: &mut Cx<'_>) -> Poll<()> {
        match &mut self.0 {
            Some(interval) => interval.poll_tick(cx).map(drop),
            None => Poll::Pending,
        }
    }
}
