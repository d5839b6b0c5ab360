//! The client against servers that answer from a script: every failure at the moment of choice.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod failover;
mod proxied;
mod server;
mod sync;
mod watching;
