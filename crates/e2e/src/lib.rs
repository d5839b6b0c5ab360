//! Tests through the real binaries: the harness that starts, asks, kills and stops them.
//!
//! The tests are in `tests/`, one story per file. By default they run the `etcd` and `etcdctl`
//! beside them in `target/`. `RETCD_ETCD` and `RETCD_ETCDCTL` name other binaries: with real
//! etcd 3.4 there, the tests that hold us to etcd's behaviour must pass as well, which is how we
//! know that they test the right thing.

pub mod authority;
pub mod binaries;
pub mod clients;
pub mod cluster;
pub mod dns;
pub mod docker;
pub mod far;
pub mod http;
pub mod limits;
pub mod logs;
pub mod member;
pub mod memory;
pub mod ports;
pub mod proxies;
pub mod records;
pub mod rings;
pub mod run;
pub mod v3;

pub use http::{Answer, Connection, Request};
pub use member::{Member, Start};

use std::time::{Duration, Instant};

/// Asks every few milliseconds until `done` gives something, for at most `limit`.
pub fn eventually<T>(limit: Duration, what: &str, mut done: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(found) = done() {
            return found;
        }
        assert!(Instant::now() < deadline, "not within {limit:?}: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// How often a test repeats what it does: the number in the environment variable, or `default`.
pub fn count(variable: &str, default: u64) -> u64 {
    match std::env::var(variable) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{variable}={text} is not a number")),
        Err(_) => default,
    }
}
