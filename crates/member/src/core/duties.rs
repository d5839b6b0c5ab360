//! What a member proposes by itself: expiry, compaction, the cluster's version, its own name.

use base::{UnixNanos, limits, version::Minor};
use proto::{
    Message as _,
    command::{ClusterVersion, Command, Compact, Downgrade, Expire, Op, Publish},
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
}

impl Duty {
    const COUNT: usize = 5;
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

    pub(crate) fn in_flight(&self) -> impl Iterator<Item = u64> {
        self.in_flight.iter().flatten().copied()
    }
}

/// Proposes what is due now. Returns when the next expiry is due.
pub(super) fn propose(core: &mut Core, now: UnixNanos, reader: &Reader) -> Option<UnixNanos> {
    if !core.can_propose() {
        return None;
    }
    let settled = core.duties.settled;
    if !core.duties.looked {
        core.duties.looked = true;
        core.node.mut_store().forget_before(reader.versions().lowered_at().0);
        publish(core, reader);
        if settled {
            propose_upkeep(core, reader);
        }
    }
    if !settled {
        return None;
    }
    let next = reader.next_expiry()?;
    if next > now {
        return Some(next);
    }
    let nodes_max = u32::try_from(limits::EXPIRE_NODES_MAX).unwrap_or(u32::MAX);
    once(core, Duty::Expire, Op::Expire(Expire { up_to: now.0, nodes_max }));
    None
}

fn propose_upkeep(core: &mut Core, reader: &Reader) {
    if let Some(version) = version_due(core, reader) {
        let version = version.in_full();
        once(core, Duty::ClusterVersion, Op::ClusterVersion(ClusterVersion { version }));
    }
    if is_downgraded(reader) {
        once(core, Duty::Downgrade, Op::Downgrade(Downgrade::default()));
    }
    if let Some(revision) = reader.compaction_due(core.config.quota_bytes) {
        once(core, Duty::Compact, Op::Compact(Compact { revision }));
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

/// Proposes it, unless one of its kind is under way.
fn once(core: &mut Core, duty: Duty, op: Op) {
    let slot = duty as usize;
    if core.duties.in_flight.get(slot).is_some_and(Option::is_some) {
        return;
    }
    if send(core, op) {
        core.duties.took_off(duty, core.node.raft.raft_log.last_index());
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
    if send(core, Op::Publish(publish)) {
        core.duties.since_publish = Some(0);
        if core.leads() {
            core.duties.took_off(Duty::Publish, core.node.raft.raft_log.last_index());
        }
    }
}

/// False if raft did not take it.
fn send(core: &mut Core, op: Op) -> bool {
    let command = Command::new(0, op);
    let proposal = Proposal { id: 0, data: command.encode_to_vec().into() };
    core.step_proposals(vec![proposal]).is_ok()
}
