//! The network between members: streams of messages, which are opaque here.
//!
//! Each member opens two streams to every other one, so that a heartbeat does not wait behind
//! entries: a request `GET /raft/stream/<lane>` on the peer port that is upgraded, then frames. What
//! cannot be sent now is dropped, and the shell is told: raft sends again what it must.
//!
//! - `identity`: who speaks, and whom a member listens to
//! - `frame`: what goes over a stream
//! - `queue`: what waits to be sent to a peer
//! - `outgoing`: the streams that a member opens; `standing`: how each of them does
//! - `incoming`: those that are opened to it
//! - `ask`: what a cluster tells of its members; `calls`: what one member asks another
//! - `dial`: connections
//! - `snapshots`: a stream for each; `transfers`: how many there were
//! - `round_trips`: how far away a peer is
//! - `watched`: what stands still ends, after these `timeouts`

pub mod ask;
mod calls;
mod dial;
mod frame;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod identity;
mod incoming;
mod outgoing;
mod peers;
mod queue;
mod round_trips;
mod snapshots;
mod standing;
mod timeouts;
mod transfers;
mod watched;

pub use calls::{Answer, Question};
pub use dial::Dialer;
pub use identity::Identity;
pub use peers::{Inbound, Lane, PeerStatus, Peers};
pub use queue::{Covers, Stay};
pub use round_trips::RoundTrips;
pub use snapshots::{Arriving, Piece};
pub use timeouts::Timeouts;
pub use transfers::Transfers;

#[cfg(test)]
mod tests;
