//! What members ask one another on the peer port, besides what raft says; and what goes into files
//! that leave them.

use crate::etcdserverpb::{LeaseTimeToLiveRequest, LeaseTimeToLiveResponse};

/// How long a lease lives: only the leader knows.
#[derive(Clone, Copy, PartialEq, prost::Message)]
pub struct LeaseInternalRequest {
    #[prost(message, optional, tag = "1")]
    pub lease_time_to_live_request: Option<LeaseTimeToLiveRequest>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct LeaseInternalResponse {
    #[prost(message, optional, tag = "1")]
    pub lease_time_to_live_response: Option<LeaseTimeToLiveResponse>,
}

/// Where a snapshot comes from that a client has saved: the note at its head.
#[derive(Clone, PartialEq, prost::Message)]
pub struct SavedBy {
    #[prost(fixed64, tag = "1")]
    pub cluster: u64,
    #[prost(fixed64, tag = "2")]
    pub member: u64,
    /// The product's own.
    #[prost(string, tag = "3")]
    pub version: String,
}
