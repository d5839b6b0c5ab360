//! What members ask one another on the peer port, besides what raft says.

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
