//! What peers say goes to the raft thread.

use std::sync::{Arc, Weak};

use base::{MemberId, version::Minor};
use bytes::Bytes;
use member::PeerMessage;
use peer::{Arriving, Identity, Inbound, Peers};

use super::joining;
use crate::{shared::Shared, threads::snapshots};

/// Does not keep the member alive: the network belongs to it, not the other way round.
struct ToInbox(Weak<Shared>);

impl Inbound for ToInbox {
    fn received(&self, from: MemberId, message: Bytes) {
        let Some(shared) = self.0.upgrade() else { return };
        let bytes = message.len();
        match PeerMessage::from_bytes(&message) {
            Some(message) if message.from() == from || message.may_be_passed_on() => {
                if message.is_append() {
                    shared.appends_received.note(bytes, shared.now());
                }
                shared.inbox.receive(message, bytes);
            }
            Some(message) => {
                let said = message.from();
                if let Some(times) = shared.complain(from, format!("says to be {said}")) {
                    let what = "drop a message that a peer sends for another";
                    tracing::warn!(%from, %said, times, "{what}");
                }
            }
            None => {
                if let Some(times) = shared.complain(from, "no message") {
                    tracing::warn!(%from, bytes, times, "drop what a peer sends: it is no message");
                }
            }
        }
    }

    fn unreachable(&self, member: MemberId) {
        if let Some(shared) = self.0.upgrade() {
            shared.inbox.unreachable(member);
        }
    }

    fn connected(&self, from: MemberId, version: &str) {
        let Some(shared) = self.0.upgrade() else { return };
        let cluster = shared.reader.cluster_version();
        if cluster > Minor::parse(version)
            && let Some(cluster) = cluster
            && let Some(times) = shared.complain(from, format!("of version {version}"))
        {
            tracing::warn!(
                %from,
                times,
                "a member of version {version} speaks, which is older than the cluster's, \
                 {cluster}: it cannot go on. Start a build of {cluster} there again; to go back, \
                 lower the cluster's version first (POST /v3/maintenance/downgrade)"
            );
        }
    }

    /// A learner does not send anybody away: it may know of a removal before the only voter that is
    /// left does, which still needs the vote of the one that was removed.
    fn is_removed(&self, member: MemberId) -> bool {
        self.0.upgrade().is_some_and(|shared| {
            let members = shared.reader.members();
            let own = members.members.get(&shared.identity.member);
            own.is_none_or(|own| !own.learner) && members.removed.contains(&member)
        })
    }

    fn snapshot(&self, arriving: Arriving) {
        if let Some(shared) = self.0.upgrade() {
            snapshots::receive(&shared, arriving);
        }
    }

    fn removed(&self, by: MemberId) {
        if let Some(shared) = self.0.upgrade() {
            shared.hear_of_removal(by);
        }
    }
}

/// Begins to talk to the other members. Outside of a runtime there is no network.
pub(super) fn connect(shared: &Arc<Shared>) {
    let Some(runtime) = shared.runtime.clone() else { return };
    let identity = Identity { cluster: shared.identity.cluster, member: shared.identity.member };
    let inbound = Arc::new(ToInbox(Arc::downgrade(shared)));
    let clock = Arc::clone(&shared.clock);
    let ways = (shared.config.dialer.clone(), shared.config.timeouts);
    let peers = Peers::new(identity, inbound, ways, clock, runtime);
    if shared.reader.members().members.is_empty() && !shared.config.new_cluster {
        peers.set(&joining::others(&shared.config));
    }
    shared.peers.get_or_init(|| peers);
    shared.set_peers();
}
