//! Ids as etcd computes them, so that every initial member finds the same ones by itself.

use base::{ClusterId, Index, MemberId, Term, UnixNanos};
use sha1::{Digest as _, Sha1};

/// The id of a member that is there from the bootstrap, as etcd computes it: the first eight bytes
/// of SHA-1 over its sorted peer URLs and the cluster's token.
pub fn bootstrap_member_id(peer_urls: &[String], token: &str) -> MemberId {
    let mut urls: Vec<&str> = peer_urls.iter().map(String::as_str).collect();
    urls.sort_unstable();
    MemberId(first_eight(urls.into_iter().chain([token]).map(str::as_bytes)))
}

/// The id of a member that is added to a cluster that runs, as etcd computes it: the seconds since
/// 1970 go in too, so that a member that comes back to the same place is another one.
pub fn new_member_id(peer_urls: &[String], token: &str, now: UnixNanos) -> MemberId {
    let mut urls: Vec<&str> = peer_urls.iter().map(String::as_str).collect();
    urls.sort_unstable();
    let seconds = (now.0 / 1_000_000_000).to_string();
    MemberId(first_eight(urls.into_iter().chain([token, &seconds]).map(str::as_bytes)))
}

/// The cluster's id as etcd computes it: the first eight bytes of SHA-1 over the sorted member ids.
pub fn bootstrap_cluster_id(members: &[MemberId]) -> ClusterId {
    let mut ids: Vec<u64> = members.iter().map(|member| member.0).collect();
    ids.sort_unstable();
    ClusterId(first_eight(ids.into_iter().map(u64::to_be_bytes)))
}

/// The id of a cluster that is restored from a snapshot of this entry, where `founded` is that of a new
/// one with the same members: members of the cluster that the snapshot is of, which has gone on from
/// there, must not take those of this one for theirs.
///
/// Etcd has `founded`; its advice is a token of its own for each cluster that is restored.
pub fn restored_cluster_id(founded: ClusterId, index: Index, term: Term) -> ClusterId {
    let parts = [founded.0, index.0, term.0];
    ClusterId(first_eight(parts.into_iter().map(u64::to_be_bytes)))
}

/// The start of SHA-1 over all parts, as a number.
fn first_eight<T: AsRef<[u8]>>(parts: impl Iterator<Item = T>) -> u64 {
    let mut hash = Sha1::new();
    for part in parts {
        hash.update(part);
    }
    hash.finalize().iter().take(8).fold(0, |number, byte| number << 8 | u64::from(*byte))
}
