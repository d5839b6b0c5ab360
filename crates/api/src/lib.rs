//! What clients speak: the v2 API, and what operators ask (health, metrics, version).
//!
//! The only crate that knows the wire format of HTTP and JSON.
//!
//! - `serve`: listeners, connections, their limits and their end; `stream`, `watchdog`: one
//!   connection's bytes, and what it has done; `port`: with TLS or without; `at_once`: polling again who woke himself
//! - `route`: from path and method to a handler; `escape`: what URLs escape; `cors`: who may ask across sites
//! - `v2`: keys, members and statistics; `v3`: one call of its JSON gateway so far; `ops`: version, health, metrics, log level
//! - `peers`: what the peer port answers
//! - `proxy`: members answer, and requests and answers are passed on
//! - `answering`, `reply`, `numbers`, `body`, `upload`: how requests are read, answers made and sent

mod answering;
mod at_once;
mod body;
mod context;
mod cors;
mod escape;
mod numbers;
mod ops;
mod peers;
mod port;
mod proxy;
mod reply;
mod route;
mod serve;
mod stream;
mod upload;
mod v2;
mod v3;
mod watchdog;

pub use context::{Config, SetLogLevel};
pub use port::Port;
pub use proxy::{Proxy, ProxyConfig};
pub use serve::{serve_clients, serve_peers, serve_proxy};
