//! Stories of gRPC's clients on a real socket, before a real member.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    clippy::wildcard_enum_match_arm,
    dead_code,
    reason = "tests wait in real time, and fail by panicking; parts of the harness are for others"
)]

mod audit;
mod auth;
mod client;
mod elections;
mod guards;
mod large_watches;
mod leases;
mod locks;
mod maintenance;
#[path = "../http/member.rs"]
mod member;
mod members;
mod methods;
mod permissions;
mod pings;
mod ranges;
mod reflection;
mod streams;
mod watch_regressions;
#[path = "../http/wire.rs"]
mod wire;
