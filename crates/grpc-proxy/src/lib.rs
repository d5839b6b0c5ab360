//! `etcd grpc-proxy`: clients of the v3 API find one address, and members have few connections.
//!
//! Watches of the same keys share one watch of the members, renewals of a lease one renewal, and
//! what was read lately is read again from a small cache, by who is content with that. All else is
//! passed on.
//!
//! - `calls`: from a path to a service; `behalf`: who asks; `failure`: what a client is told
//! - `kv` with `cache` and `order`; `namespace`: the part of the keyspace that clients see
//! - `watch`: one stream of a client's, and `watch/hub` where watches meet
//! - `lease`: leases; `cluster`: members; `registry`: the proxies that serve beside this one
//! - `pump`: streams that are told to a client message by message
//! - `pages`: health and metrics; `figures`: what is counted
//!
//! *Invariants: a watch joins others only once it has been told all that they have been told; no
//! client holds up another; whoever asks is known to the members by its own token.*

mod behalf;
mod cache;
mod calls;
mod cluster;
mod failure;
mod figures;
mod generated;
mod kv;
mod lease;
mod namespace;
mod order;
mod pages;
mod proxy;
mod pump;
mod registry;
#[cfg(test)]
mod scripted;
mod watch;

pub use proxy::{Config, Proxy, Registration};
