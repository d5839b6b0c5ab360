//! What a member proposes by itself: expiry, the ends of leases and what is left of them, compaction,
//! the cluster's version, its own name.

use std::time::Duration;

use base::{Now, Term, UnixNanos, limits, version::Minor};
use proto::{
    Message as _,
    command::{ClusterVersion, Command, Compact, Downgrade, Expire, LeaseCheckpoint, Op, Publish},
};
use state::Reader;

use super::{Core, Proposal};

/// What has been proposed and is not applied yet: one of each kind at a time.
#[derive(Debug, Default)]
pub(crate) struct Duties {
    /// Where the entry of this leader's own term stands: it does its duties once that is applied,
    /// since only then it knows all that former leaders have committed. `None`: it does not lead.
    pub(crate) settled_at: Option<u64>,
    pub(crate) settled: bool,
    /// By kind: the index at which the proposal stands.
    in_flight: [Option<u64>; Duty::COUNT],
    /// Ticks since this member last told its name.
    since_publish: Option<usize>,
    /// All but expiry was looked at since the last tick: it can wait, and looking costs.
    looked: bool,
}

#[derive(Clone, Copy)]
enum Duty {
    Expire,
    Compact,
    ClusterVersion,
    Downgrade,
    Publish,
    LeaseRevoke,
    LeaseCheckpoint,
}

impl Duty {
    const COUNT: usize = 7;
}

/// When there is something to do by itself, if nothing else happens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Due {
    /// The next time to live of v2 is over, by the time of day.
    pub expiry: Option<UnixNanos>,
    /// The next lease ends or is to be noted down, by the clock that never goes back.
    pub lease: Option<Duration>,
}

impl Duties {
    pub(crate) fn tick(&mut self) {
        self.since_publish = self.since_publish.map(|ticks| ticks + 1);
        self.looked = false;
    }

    /// `own`: where this leader's first entry stands; `None` if it does not lead. What a former
    /// term had in flight may be lost, and is proposed again.
    pub(crate) fn role_changed(&mut self, own: Option<u64>) {
        *self = Self { settled_at: own, ..Self::default() };
    }

    /// Entries up to `applied` are applied: what that settles gives reason to look again.
    pub(crate) fn applied(&mut self, applied: u64) {
        if self.settled_at.is_some_and(|own| own <= applied) && !self.settled {
            self.settled = true;
            self.looked = false;
        }
        for slot in &mut self.in_flight {
            if slot.is_some_and(|index| index <= applied) {
                *slot = None;
                self.looked = false;
            }
        }
    }

    fn took_off(&mut self, duty: Duty, index: u64) {
        if let Some(slot) = self.in_flight.get_mut(duty as usize) {
            *slot = Some(index);
        }
    }

    fn is_free(&self, duty: Duty) -> bool {
        self.in_flight.get(duty as usize).is_some_and(Option::is_none)
    }

    pub(crate) fn in_flight(&self) -> impl Iterator<Item = u64> {
        self.in_flight.iter().flatten().copied()
    }
}

/// Proposes what is due now. Returns when more is.
pub(super) fn propose(core: &mut Core, now: Now, reader: &Reader) -> Due {
    let settled = core.duties.settled;
    if settled {
        let term = Term(core.node.raft.term);
        let (grace, notes) = (core.config.lease_grace, core.config.lease_checkpoints);
        reader.leases().promote(term, now.monotonic, grace, notes);
    } else {
        reader.leases().demote();
    }
    if !core.can_propose() {
        return Due::default();
    }
    if !core.duties.looked {
        core.duties.looked = true;
        core.node.mut_store().forget_before(reader.versions().lowered_at().0);
        publish(core, reader);
        if settled {
            propose_upkeep(core, reader);
        }
    }
    if !settled {
        return Due::default();
    }
    // While members differ nothing ends: it would be refused again and again.
    let ends = !reader.alarms().corrupt(&reader.members());
    let lease = leases(core, now.monotonic, reader, ends);
    Due { expiry: expire(core, now.wall, reader, ends), lease }
}

fn expire(core: &mut Core, now: UnixNanos, reader: &Reader, ends: bool) -> Option<UnixNanos> {
    let next = reader.next_expiry()?;
    if next > now {
        return Some(next);
    }
    if ends {
        let nodes_max = u32::try_from(limits::EXPIRE_NODES_MAX).unwrap_or(u32::MAX);
        once(core, Duty::Expire, || Some(Op::Expire(Expire { up_to: now.0, nodes_max })));
    }
    None
}

/// Ends leases whose time is over, and notes down what is left of others.
fn leases(core: &mut Core, now: Duration, reader: &Reader, ends: bool) -> Option<Duration> {
    let leases = reader.leases();
    if ends && core.duties.is_free(Duty::LeaseRevoke) {
        let expired = leases.expired(now, limits::LEASE_REVOCATIONS_IN_FLIGHT_MAX);
        send(core, Some(Duty::LeaseRevoke), expired.into_iter().map(Op::LeaseRevoke));
    }
    once(core, Duty::LeaseCheckpoint, || {
        let notes = leases.checkpoints(now, limits::LEASE_CHECKPOINTS_MAX);
        (!notes.is_empty()).then_some(Op::LeaseCheckpoint(LeaseCheckpoint { notes }))
    });
    // What could not be proposed, or is under way, is looked at again anyway.
    leases.next_due().filter(|due| *due > now)
}

fn propose_upkeep(core: &mut Core, reader: &Reader) {
    if let Some(version) = version_due(core, reader) {
        let version = version.in_full();
        once(core, Duty::ClusterVersion, || Some(Op::ClusterVersion(ClusterVersion { version })));
    }
    if is_downgraded(reader) {
        once(core, Duty::Downgrade, || Some(Op::Downgrade(Downgrade::default())));
    }
    if core.config.compacts
        && let Some(revision) = reader.compaction_due(core.config.quota_bytes)
    {
        once(core, Duty::Compact, || Some(Op::Compact(Compact { revision })));
    }
}

/// The version that the cluster is to have, if it has another one. A new cluster begins with the
/// lowest that may be, since not everybody has told his yet; then it has what all can do.
fn version_due(core: &Core, reader: &Reader) -> Option<Minor> {
    let agreed = reader.versions();
    let Some(cluster) = agreed.cluster else { return Some(core.config.build.oldest) };
    if agreed.downgrade.is_some() {
        return None;
    }
    let (lowest, _) = reader.members().versions()?;
    // No leader knows more than its own build can do.
    (cluster < lowest && lowest <= core.config.build.cluster).then_some(lowest)
}

/// Whether older builds have taken the places of all members.
fn is_downgraded(reader: &Reader) -> bool {
    let target = reader.versions().downgrade;
    target.is_some_and(|target| reader.members().versions() == Some((target, target)))
}

/// Proposes it, if it is to be, unless one of its kind is under way.
fn once(core: &mut Core, duty: Duty, op: impl FnOnce() -> Option<Op>) {
    if core.duties.is_free(duty) {
        send(core, Some(duty), op());
    }
}

/// Tells this member's name, client URLs and build until the cluster knows them.
fn publish(core: &mut Core, reader: &Reader) {
    if core.duties.since_publish.is_some_and(|ticks| ticks < core.config.election_ticks) {
        return;
    }
    let members = reader.members();
    // Whoever is not a member (yet, or any more) has nothing to tell.
    let Some(member) = members.members.get(&core.id()) else { return };
    let config = &core.config;
    let version = config.build.server;
    if member.name == config.name
        && member.client_urls == config.client_urls
        && member.version == version
    {
        return;
    }
    let publish = Publish {
        member: core.id().0,
        name: config.name.clone(),
        client_urls: config.client_urls.clone(),
        version: version.to_owned(),
    };
    let duty = core.leads().then_some(Duty::Publish);
    if send(core, duty, [Op::Publish(publish)]) {
        core.duties.since_publish = Some(0);
    }
}

/// Proposes all as one batch; false if there is nothing, or raft did not take it.
fn send(core: &mut Core, duty: Option<Duty>, ops: impl IntoIterator<Item = Op>) -> bool {
    let propose = |op| {
        let command = Command::new(0, op);
        Proposal { id: 0, data: command.encode_to_vec().into() }
    };
    let proposals: Vec<Proposal> = ops.into_iter().map(propose).collect();
    if proposals.is_empty() || core.step_proposals(proposals).is_err() {
        return false;
    }
    if let Some(duty) = duty {
        core.duties.took_off(duty, core.node.raft.raft_log.last_index());
    }
    true
}
