//! etcd's v3 API from outside: every call of its services, watches that go on, leases that are
//! kept, locks and elections.
//!
//! A [`Client`] asks its endpoints in turn. A call that may be carried out twice goes on to the
//! next endpoint when one is unavailable; any other does so only while it is certain that nobody
//! has carried it out. Connections are HTTP/2, made when they are needed and kept.

mod calls;
mod channel;
mod client;
mod config;
mod election;
mod error;
mod generated;
mod keep_alive;
mod line;
mod lock;
mod pass;
mod range;
mod round;
mod session;
mod streams;
mod token;
mod watch;

pub use client::Client;
pub use config::{Config, Credentials, Notice};
pub use election::{Election, Leaders};
pub use error::{Error, Refusal};
pub use keep_alive::KeepAlive;
pub use lock::Lock;
pub use pass::{AsItIs, Passed};
pub use range::{after, prefix_end};
pub use session::Session;
pub use streams::{Ranges, Snapshot};
pub use watch::{Asker, Watcher};
