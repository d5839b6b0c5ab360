//! The v3 API: gRPC beside HTTP/1.1, on the same port.
//!
//! - `services`: what is made of the descriptors; `dispatch`: from a path to a service
//! - `methods`: which there are; `guard`: what is asked of every request
//! - one file for each service

mod auth;
mod body;
mod cluster;
pub(crate) mod codec;
mod dispatch;
mod downgrade;
mod election;
mod failure;
mod generated;
mod guard;
pub(crate) mod header;
mod health;
mod kv;
mod lease;
mod lock;
mod maintenance;
pub(crate) mod methods;
mod patience;
mod queue;
pub(crate) mod range;
mod reflection;
mod unread;
pub(crate) mod watch;

pub use self::watch::{WatchIds, cut};
pub(crate) use self::{
    auth::Auth,
    body::Body,
    cluster::Cluster,
    dispatch::{Calls, Services, answer, http2, in_words_of_go, is_grpc},
    election::{Election, Observe},
    failure::{deadline_exceeded, read, status, unserved},
    guard::{begin, time},
    kv::Kv,
    lease::{KeepAlive, Lease},
    lock::Lock,
    maintenance::{Maintenance, Snapshot},
    patience::Ends,
    unread::Unread,
};

/// What each service can be asked, for those that ask in other ways than by gRPC.
pub(crate) mod services {
    pub(crate) use super::generated::{
        etcdserverpb::{
            auth_server::Auth, cluster_server::Cluster, kv_server::Kv, lease_server::Lease,
            maintenance_server::Maintenance,
        },
        v3electionpb::election_server::Election,
        v3lockpb::lock_server::Lock,
    };
}
