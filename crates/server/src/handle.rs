//! A running member, for all who serve requests.

use std::{
    sync::{
        Arc,
        atomic::Ordering::{Acquire, Relaxed},
    },
    time::Duration,
};

use base::{
    Clock, ClusterId, MemberId, Refused, UnixNanos,
    version::{Minor, THIS},
};
use member::Proposal;
use peer::{PeerStatus, Peers, ask::Forcing};
use proto::{
    Message as _,
    command::{By, Command, Op},
    etcdserverpb::{AlarmRequest, AlarmType, alarm_request::AlarmAction},
};
use state::{
    Reader, Response,
    apply::membership_change::Change,
    membership::{Members, new_member_id},
};
use tokio::runtime::{self, RuntimeFlavor};

use crate::{
    AppendFigures, Counters, Done, Figures, Status, Unserved, inbox::Urgency, shared::Shared,
    threads::raft::SharedRaft,
};

/// How long a change of the members waits for those that are not in touch yet: less than the second
/// for which `etcdctl` waits.
const HEALTH_PATIENCE: Duration = Duration::from_millis(500);
const HEALTH_LOOK: Duration = Duration::from_millis(20);

/// A running member, for all who serve requests. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Handle {
    pub(crate) shared: Arc<Shared>,
    pub(crate) raft: SharedRaft,
}

/// A connection, as [`Handle::connected`] counts them.
#[derive(Debug)]
pub struct Connected(Arc<Shared>);

impl Drop for Connected {
    fn drop(&mut self) {
        self.0.connections.fetch_sub(1, Relaxed);
    }
}

impl Handle {
    pub fn member_id(&self) -> MemberId {
        self.shared.identity.member
    }

    pub fn cluster_id(&self) -> ClusterId {
        self.shared.identity.cluster
    }

    pub fn name(&self) -> &str {
        &self.shared.config.name
    }

    pub fn started_at(&self) -> UnixNanos {
        self.shared.started_at
    }

    /// What writes may take: see [`Handle::write`].
    pub fn quota_bytes(&self) -> u64 {
        self.shared.config.quota_bytes
    }

    /// Without a leader for so long, a follower stands for election.
    pub fn election_timeout(&self) -> Duration {
        self.shared.config.election
    }

    /// What takes longer to be applied, or read, is told in the log.
    pub fn apply_expected(&self) -> Duration {
        self.shared.config.apply_expected
    }

    /// Learners that there may be at once.
    pub fn learners_max(&self) -> u32 {
        self.shared.config.learners_max
    }

    pub fn clock(&self) -> &Arc<dyn Clock> {
        &self.shared.clock
    }

    pub fn reader(&self) -> &Arc<Reader> {
        &self.shared.reader
    }

    /// That this member was started with `--force-new-cluster`, as long as nobody has led it.
    pub fn forcing(&self) -> Option<Forcing> {
        let has_been_led = self.shared.counters.leader_changes.load(Relaxed) > 0;
        (*self.shared.config.forcing.borrow()).filter(|_| !has_been_led)
    }

    pub fn status(&self) -> Status {
        self.shared.status()
    }

    pub fn figures(&self) -> Figures {
        let counters = &self.shared.counters;
        let (keyspace_bytes, keyspace_bytes_in_use) = self.shared.backend.size();
        Figures {
            proposals_pending: self.shared.waiters.waiting() as u64,
            keyspace_bytes,
            keyspace_bytes_in_use,
            writes: counters.writes.figures(),
        }
    }

    /// What has been counted since the process began.
    pub fn counters(&self) -> &Counters {
        &self.shared.counters
    }

    /// Proposes a command and waits until it is applied here. Etcd's time limit: 5 s and two
    /// election timeouts.
    ///
    /// What would exceed the space quota is refused with [`Refused::NoSpace`], and the alarm is
    /// raised. Dropping the future leaves the command under way: it may still be applied.
    pub async fn write(&self, op: Op) -> Result<Done, Unserved> {
        self.write_by(None, op).await
    }

    /// The same on behalf of somebody, if it says who: what he may do is looked at when the command
    /// is applied.
    pub async fn write_by(&self, by: Option<By>, op: Op) -> Result<Done, Unserved> {
        if self.shared.reader.has_room(&op, self.shared.config.quota_bytes) {
            return self.propose(by, op).await;
        }
        self.raise_no_space().await;
        let Status { applied, term, .. } = self.status();
        Ok(Done { response: Response::V3(Err(Refused::NoSpace)), index: applied, term })
    }

    /// Tells the cluster that this member has no room left, unless it knows.
    async fn raise_no_space(&self) {
        if self.shared.reader.alarms().no_space() {
            return;
        }
        tracing::warn!(
            quota_bytes = self.shared.config.quota_bytes,
            "the space quota is used up, and alarm NOSPACE is raised: nothing is written until \
             history is compacted, or keys are deleted and it is compacted, and the alarm is disarmed"
        );
        let alarm = AlarmRequest {
            action: AlarmAction::Activate.into(),
            member_id: self.member_id().0,
            alarm: AlarmType::Nospace.into(),
        };
        if let Err(why) = self.propose(None, Op::Alarm(alarm)).await {
            tracing::warn!(%why, "alarm NOSPACE was not raised: the next write tries again");
        }
    }

    async fn propose(&self, by: Option<By>, op: Op) -> Result<Done, Unserved> {
        let shared = &self.shared;
        let urgency = Urgency::of(&op);
        if shared.is_overloaded(urgency) {
            return Err(self.count_failed(Unserved::TooManyRequests));
        }
        if THIS.format_permitted(shared.reader.cluster_version()) < op.format() {
            return Err(self.count_failed(Unserved::NotAllCan));
        }
        let now = shared.now();
        let _writing = shared.crowd.enter();
        if urgency == Urgency::Usual && shared.crowd.is_too_large() {
            return Err(self.count_failed(Unserved::TooManyRequests));
        }
        let deadline = now + shared.config.request_timeout();
        let Some((id, answer)) = shared.waiters.add(urgency, now) else {
            return Err(self.count_failed(Unserved::TooManyRequests));
        };
        let command = Command { by, ..Command::new(id, op) };
        let refused = if command.encoded_len() > shared.config.request_bytes_max {
            Err(Unserved::TooLarge)
        } else {
            let proposal = Proposal { id, data: command.encode_to_vec().into() };
            self.write_at_once(proposal)
                .or_else(|proposal| shared.inbox.propose(proposal, urgency, deadline))
        };
        if let Err(why) = refused {
            shared.waiters.refuse([id], why);
            return Err(self.count_failed(why));
        }
        let answer = answer.await.unwrap_or(Err(Unserved::Stopped));
        let took = shared.now().saturating_sub(now);
        shared.crowd.left_after(took);
        shared.counters.proposals.record(took);
        answer
    }

    /// Whether so many write, and it takes them so long, that nobody else should begin to: whoever is
    /// refused before anything is done for him costs least. Counts as a failed proposal.
    pub fn is_crowded(&self) -> bool {
        let is_too_large = self.shared.crowd.is_too_large();
        if is_too_large {
            self.count_failed(Unserved::TooManyRequests);
        }
        is_too_large
    }

    /// Proposes a change of the members and waits until it is applied here.
    ///
    /// With the strict check on, what would leave fewer members started than the cluster would
    /// need is refused (etcd 2.3 and later), and what is asked while members are out of touch (3.1
    /// and later).
    pub async fn change_members(&self, change: Change) -> Result<Done, Unserved> {
        let shared = &self.shared;
        self.may_change_members(&change).await?;
        let added = shared.waiters.add(Urgency::Urgent, shared.now());
        let (id, answer) = added.ok_or_else(|| self.count_failed(Unserved::TooManyRequests))?;
        if let Err(why) = shared.inbox.change(id, change) {
            shared.waiters.refuse([id], why);
            return Err(self.count_failed(why));
        }
        answer.await.unwrap_or(Err(Unserved::Stopped))
    }

    /// Whether a change would be refused, as far as this member knows: also if there is no quorum, which
    /// is when it matters most to hear why.
    pub async fn may_change_members(&self, change: &Change) -> Result<(), Unserved> {
        let shared = &self.shared;
        let members = shared.reader.members();
        if members.is_last_voter(change) {
            return Err(self.count_failed(Unserved::LastVoter));
        }
        if shared.config.strict_reconfig_check {
            if !members.leaves_quorum(change) {
                return Err(self.count_failed(Unserved::NotEnoughStarted));
            }
            if !self.is_healthy_for(&members, change).await {
                return Err(self.count_failed(Unserved::Unhealthy));
            }
        }
        Ok(())
    }

    /// The version that this member's keyspace is of on disk: older builds cannot open it.
    pub fn storage_version(&self) -> Option<Minor> {
        self.shared.storage_version()
    }

    /// Waits a little for those who are just about to be in touch.
    async fn is_healthy_for(&self, members: &Members, change: &Change) -> bool {
        let Some(peers) = self.peers() else { return true };
        let own = self.shared.identity.member;
        let deadline = self.shared.now() + HEALTH_PATIENCE;
        loop {
            let status = peers.status();
            let is_active = |id| {
                let active = |peer: &&PeerStatus| peer.id == id && peer.active_since.is_some();
                id == own || status.iter().any(|peer| active(&peer))
            };
            if members.stays_healthy(change, is_active) {
                return true;
            }
            if self.shared.now() >= deadline {
                return false;
            }
            tokio::time::sleep(HEALTH_LOOK).await;
        }
    }

    /// The id that a member gets which is added now.
    pub fn new_member_id(&self, peer_urls: &[String]) -> MemberId {
        let now = self.shared.clock.wall();
        new_member_id(peer_urls, &self.shared.config.initial_cluster_token, now)
    }

    /// The network between members, if there is one.
    pub fn peers(&self) -> Option<&Peers> {
        self.shared.peers.get()
    }

    /// Something has gone wrong with whoever comes to the peer port. If it is to be said in the log
    /// now: how often it has since it was last said.
    pub fn complain(&self, what: String) -> Option<u64> {
        self.shared.complain(MemberId(0), what)
    }

    /// Messages with entries that were sent to others, and taken from them.
    pub fn appends(&self) -> (AppendFigures, AppendFigures) {
        let (shared, now) = (&self.shared, self.shared.now());
        (shared.appends_sent.figures(now), shared.appends_received.figures(now))
    }

    /// Resolves when this member has been removed from its cluster.
    pub async fn removed(&self) {
        drop(self.shared.removed.subscribe().wait_for(|removed| *removed).await);
    }

    /// Carries the write out on this thread if it is the only one; gives it back otherwise.
    #[allow(clippy::disallowed_methods, reason = "saves two hand-overs: docs/decisions")]
    fn write_at_once(&self, proposal: Proposal) -> Result<(), Proposal> {
        let shared = &self.shared;
        if shared.waiters.waiting() != 1 {
            return Err(proposal);
        }
        // Elsewhere there is nobody who could take over the other tasks of this thread.
        let Some(runtime) = runtime::Handle::try_current()
            .ok()
            .filter(|runtime| runtime.runtime_flavor() == RuntimeFlavor::MultiThread)
        else {
            return Err(proposal);
        };
        let Some(mut raft) = self.raft.try_lock().filter(|raft| raft.is_quiet()) else {
            return Err(proposal);
        };
        if shared.connections.load(Relaxed) <= 1 && runtime.metrics().num_workers() > 1 {
            // Nobody else is kept waiting, and if the disk takes long the raft thread sees to it.
            shared.network.get_or_init(|| runtime);
            raft.write_at_once(proposal);
        } else {
            // This thread lets another go on for it while it waits for the disk.
            tokio::task::block_in_place(|| raft.write_at_once(proposal));
        }
        Ok(())
    }

    /// Counts a connection for as long as what is returned lives. A member that knows of no more
    /// than one answers its writes sooner.
    pub fn connected(&self) -> Connected {
        self.shared.connections.fetch_add(1, Relaxed);
        Connected(Arc::clone(&self.shared))
    }

    /// Waits until this member's keyspace holds everything acknowledged before the call, by any
    /// member (a read index).
    pub async fn read_barrier(&self) -> Result<(), Unserved> {
        let shared = &self.shared;
        if shared.standing.reads_at_once.load(Acquire) {
            return Ok(());
        }
        let deadline = shared.now() + shared.config.request_timeout();
        let (read, answer) = shared.barriers.add(deadline).inspect_err(|_| {
            shared.counters.read_indexes_failed.fetch_add(1, Relaxed);
        })?;
        shared.inbox.read(read)?;
        answer.await.unwrap_or(Err(Unserved::Stopped))
    }

    /// Resolves when the member has published itself: it leads or has a leader, what was
    /// acknowledged by former runs is applied, and its name and client URLs are agreed on. Serve
    /// clients from then on.
    pub async fn ready(&self) {
        // The sender lives as long as `self`.
        drop(self.shared.published.subscribe().wait_for(|published| *published).await);
        // A follower may have been away for long.
        while self.read_barrier().await.is_err_and(|why| why != Unserved::Stopped) {}
    }

    /// Resolves when the member cannot go on, with the chain of causes.
    pub async fn failed(&self) -> String {
        let mut failed = self.shared.failed.subscribe();
        match failed.wait_for(Option::is_some).await {
            Ok(text) => text.clone().unwrap_or_default(),
            Err(_) => String::new(),
        }
    }

    /// The member is about to stop: what is under way is the last that it does. Whatever waits for a
    /// leader while there is none is refused soon; all else is still served.
    pub fn close(&self) {
        self.shared.inbox.close();
    }

    /// Finishes what was accepted, flushes, and stops the threads.
    pub async fn stop(&self) {
        self.shared.inbox.stop();
        drop(self.shared.stopped.subscribe().wait_for(|stopped| *stopped).await);
    }

    fn count_failed(&self, why: Unserved) -> Unserved {
        self.shared.counters.proposals_failed.fetch_add(1, Relaxed);
        why
    }
}
