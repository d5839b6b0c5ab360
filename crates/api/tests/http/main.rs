//! Stories of clients on a real socket, before a real member.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    clippy::wildcard_enum_match_arm,
    clippy::format_collect,
    clippy::float_cmp,
    reason = "tests wait in real time, and fail by panicking"
)]

mod connections;
mod edges;
mod gateway;
mod health;
mod large;
mod listings;
mod member;
mod operators;
mod passwords;
mod patience;
mod profiling;
mod stopping;
mod users;
mod watching;
mod wire;
