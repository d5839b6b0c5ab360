//! Snapshots on their way from a leader to a follower, chunk by chunk.

use std::path::PathBuf;

use backend::{Export, Incoming, Options};
use base::MemberId;
use member::PeerMessage;
use state::State;

use crate::{
    Sabotage, Violation,
    node::Node,
    running::{self, Who},
    world::Common,
};

/// Small, so that a transfer takes several steps.
const CHUNK_BYTES: usize = 1 << 10;

/// A snapshot on its way.
pub(crate) struct Transfer {
    from: MemberId,
    /// The run of the leader, and of the follower, that it belongs to.
    runs: (u64, u64),
    to: MemberId,
    message: PeerMessage,
    /// Once it has begun.
    stream: Option<(Export, Incoming)>,
    is_broken: bool,
}

/// How a step of a transfer went.
enum Stepped {
    Goes,
    Ended { arrived: bool },
}

impl Transfer {
    pub(crate) fn new(from: Who, message: PeerMessage) -> Self {
        let Who { id, run, .. } = from;
        Self { from: id, runs: (run, 0), to: message.to(), message, stream: None, is_broken: false }
    }

    /// Does a step; false if it has ended.
    pub(crate) fn step(
        &mut self,
        nodes: &mut [Node],
        common: &mut Common,
    ) -> Result<bool, Violation> {
        let waits = |id| nodes.iter().any(|node| node.id() == id && !node.listens());
        if waits(self.from) || waits(self.to) {
            return Ok(true);
        }
        let stepped = self.advance(nodes, common)?;
        let Stepped::Ended { arrived } = stepped else { return Ok(true) };
        let Self { from, to, runs, .. } = *self;
        let follower = find(nodes, to).filter(|node| node.who.run == runs.1);
        self.stream = None;
        if let Some(follower) = follower {
            follower.receiving = false;
            if !arrived {
                // What did not become whole is thrown away, be it synced or not.
                follower.overlook_failed_sync();
                follower.discard_snapshot(common)?;
            }
        }
        common.report.broken_off += u64::from(!arrived);
        common.trace.step("snapshot", format!("{from} to {to} ended, arrived: {arrived}"));
        if let Some(leader) = find(nodes, from).filter(|node| node.who.run == runs.0)
            && let Some(member) = &mut leader.member
            && (arrived || common.options.sabotage != Some(Sabotage::ForgetBrokenSnapshots))
        {
            member.core.snapshot_sent(to, arrived);
        }
        Ok(false)
    }

    /// From whom it comes, and to whom it goes.
    pub(crate) fn way(&self) -> (MemberId, MemberId) {
        (self.from, self.to)
    }

    /// Its stream breaks.
    pub(crate) fn break_off(&mut self) {
        self.is_broken = true;
    }

    fn advance(&mut self, nodes: &mut [Node], common: &mut Common) -> Result<Stepped, Violation> {
        let failed = Ok(Stepped::Ended { arrived: false });
        if self.stream.is_none() {
            return self.begin(nodes, common);
        }
        let leader = find(nodes, self.from).map(|node| (node.who.run, node.member.is_some()));
        let Some(follower) = find(nodes, self.to) else { return failed };
        let same = leader == Some((self.runs.0, true)) && follower.who.run == self.runs.1;
        let is_cut = common.network.is_cut(self.from, self.to);
        if !same || follower.member.is_none() || is_cut || self.is_broken {
            return failed;
        }
        let Some((mut export, mut incoming)) = self.stream.take() else { return failed };
        let applied = export.applied();
        let done = match export.next_chunk(CHUNK_BYTES) {
            Ok(Some(chunk)) => match incoming.add(chunk) {
                Ok(()) => {
                    self.stream = Some((export, incoming));
                    return Ok(Stepped::Goes);
                }
                Err(error) => Err(error),
            },
            Ok(None) => incoming.finish(applied),
            // The leader's disk has failed: it will notice.
            Err(_) => return failed,
        };
        match done {
            Ok(()) => {
                common.trace.step("snapshot", format!("{} is whole at {}", applied.index, self.to));
                follower.arrived = Some(self.message.clone());
                common.report.snapshots += 1;
                Ok(Stepped::Ended { arrived: true })
            }
            Err(error) => {
                follower.run(common, |_, _| Err(error.into()))?;
                failed
            }
        }
    }

    /// Begins, once what raft speaks of is durable at the leader.
    fn begin(&mut self, nodes: &mut [Node], common: &mut Common) -> Result<Stepped, Violation> {
        let failed = Ok(Stepped::Ended { arrived: false });
        let Some(follower) = find(nodes, self.to).filter(|node| node.member.is_some()) else {
            return failed;
        };
        if follower.receiving || follower.arrived.is_some() {
            return failed;
        }
        let (disk, run) = (follower.disk.clone(), follower.who.run);
        let Some(leader) = find(nodes, self.from) else { return failed };
        let same = leader.who.run == self.runs.0;
        let Some(member) = leader.member.as_mut().filter(|member| same && member.core.role().leads)
        else {
            return failed;
        };
        let wanted = self.message.snapshot().map(|applied| applied.index);
        if Some(member.backend.durable().index) < wanted {
            return Ok(Stepped::Goes);
        }
        let export = member.backend.export();
        let conf_state = State::exported_conf_state(&export);
        let conf_state = conf_state.map_err(|error| Violation::new("snapshots", error))?;
        let (applied, bytes) = (export.applied(), export.row_bytes());
        let message = conf_state.and_then(|row| self.message.of_snapshot(applied, &row, bytes));
        let Some(message) = message else {
            return Err(Violation::new("snapshots", "the leader cannot say what it sends"));
        };
        member.core.hold(self.to, export.applied().index);
        common.trace.step("snapshot", format!("of {:?} to {}", export.applied(), self.to));
        (self.message, self.runs.1) = (message, run);
        match Incoming::create(&disk, &path(), &Options { cache_bytes: 1 << 20 }) {
            Ok(incoming) => {
                self.stream = Some((export, incoming));
                if let Some(follower) = find(nodes, self.to) {
                    follower.receiving = true;
                }
            }
            Err(error) => {
                if let Some(follower) = find(nodes, self.to) {
                    follower.run(common, |_, _| Err(error.into()))?;
                }
                return failed;
            }
        }
        Ok(Stepped::Goes)
    }
}

fn find(nodes: &mut [Node], id: MemberId) -> Option<&mut Node> {
    nodes.iter_mut().find(|node| node.id() == id)
}

/// Where a snapshot gathers.
pub(crate) fn path() -> PathBuf {
    running::paths().incoming()
}
