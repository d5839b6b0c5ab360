//! The members of the cluster, as agreed.

use std::collections::BTreeMap;

use base::{ClusterId, MemberId};

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Member {
    pub id: MemberId,
    /// Empty until it has started once.
    pub name: String,
    pub peer_urls: Vec<String>,
    /// Empty until it has started once.
    pub client_urls: Vec<String>,
    pub learner: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Members {
    pub cluster: ClusterId,
    pub members: BTreeMap<MemberId, Member>,
}

/// The id of a member that is there from the bootstrap, as etcd computes it: the first eight bytes
/// of SHA-1 over its sorted peer URLs and the cluster's token.
pub fn bootstrap_member_id(peer_urls: &[String], token: &str) -> MemberId {
    unimplemented!("{peer_urls:?} {token}")
}

/// The cluster's id as etcd computes it: the first eight bytes of SHA-1 over the sorted member ids.
pub fn bootstrap_cluster_id(members: &[MemberId]) -> ClusterId {
    unimplemented!("{members:?}")
}
