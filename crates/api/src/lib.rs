//! What clients speak: the v2 and v3 APIs, and what operators ask (health, metrics, version).
//!
//! The only crate that knows the wire format of HTTP and JSON.
//!
//! - `serve`: listeners, connections, their limits and their end; `stream`, `watchdog`: one
//!   connection's bytes, and what it has done; `authority`: what clients of 3.4 say for a host; `calm`: who asks too often; `port`: with TLS or without; `protocol`: which HTTP;
//!   `at_once`: polling again who woke himself
//! - `route`: from path and method to a handler; `escape`: what URLs escape; `cors`: who may ask across
//!   sites; `hosts`: by which names we may be called
//! - `v3`: the services of gRPC; `gateway`: the same as JSON
//! - `v2`: keys, members and statistics; `ops`: version, health, metrics, log level
//! - `auth`: who asks, by tokens, certificates and passwords
//! - `peers`: what the peer port answers; `forcing`: the same of a member that does not serve yet, and is
//!   about to go on without the others
//! - `proxy`: members answer, and requests and answers are passed on; `through`: the ports of a proxy that
//!   speaks gRPC
//! - `slow`: what is said of requests that take long
//! - `traces`: calls that somebody else follows; `audit`: records of requests that somebody else keeps
//! - `under_way`: room for answers, and threads for what takes long; `portions`: what is counted of a
//!   body until the client has it
//! - `eager`: answering where a request is read
//! - `answering`, `reply`, `numbers`, `body`, `upload`: how requests are read, answers made and sent

mod answering;
mod at_once;
mod audit;
mod auth;
mod authority;
mod body;
mod calm;
mod context;
mod cors;
mod eager;
mod escape;
mod forcing;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod gateway;
mod hosts;
mod numbers;
mod ops;
mod peers;
mod port;
mod portions;
mod protocol;
mod proxy;
mod reply;
mod route;
mod serve;
mod slow;
mod stream;
mod through;
mod traces;
mod under_way;
mod upload;
mod v2;
mod v3;
mod watchdog;

pub use audit::{About, Audit, AuditLog, Keys, Record, Who};
pub use auth::{AuthConfig, Jwt, JwtOptions, Tokens};
pub use context::{Config, Feature, Grpc, SetLogLevel};
pub use forcing::answer_forcing;
pub use ops::process::arguments;
pub use port::{Listener, Port, SocketFile};
pub use proxy::{Proxy, ProxyConfig};
pub use route::endpoints;
pub use serve::{Clients, Offer, serve_peers, serve_proxy};
pub use through::{Figure, Later, Passes, Through};
pub use traces::{Span, Tracer, Traces};
pub use v3::{WatchIds, cut as cut_watch_response};
