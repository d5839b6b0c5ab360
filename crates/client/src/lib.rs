//! etcd from outside: one client for `etcdctl`, the load generator and the tests.
//!
//! A [`Client`] knows some endpoints and asks the one that answered last; when that one is down
//! or says that it cannot serve, the next is asked. A request that must not be carried out twice
//! moves on only while it is certain that nobody has carried it out. Every request and every
//! answer is bounded, in time and in bytes.
//!
//! ```no_run
//! # async fn demo() -> Result<(), client::Error> {
//! use client::{Client, Config, Get, Set};
//!
//! let client = Client::new(&["http://127.0.0.1:2379"], Config::default())?;
//! client.set("/message", "Hello", &Set::default()).await?;
//! let answer = client.get("/message", &Get::default()).await?;
//! assert_eq!(answer.node.value.as_deref(), Some("Hello"));
//! # Ok(())
//! # }
//! ```

mod cluster;
mod dial;
mod endpoint;
mod error;
mod escape;
mod keys;
mod members;
mod node;
mod proxy;
mod request;
pub mod srv;
mod status;
mod transport;
mod users;
pub mod v3;
mod watch;

pub use cluster::{Client, Config, Credentials, Trace};
pub use endpoint::{BadEndpoint, Endpoint};
pub use error::{Attempt, AttemptKind, Error, EtcdError, Unavailable};
pub use keys::{Delete, Get, Set};
pub use members::Member;
pub use node::{Node, Response};
pub use proxy::{BadProxy, Proxy};
pub use status::{Stats, Version};
pub use users::{Access, Role, User};
pub use watch::{Watch, Watcher};
