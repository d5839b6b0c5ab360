//! TLS for clients and peers: certificates, who may connect, and what changes while we run.
//!
//! [`Settings`] mirror etcd's flags. An [`Acceptor`] and a [`Connector`] are made of them; both look
//! at the files again when a handshake begins, at most once a second: a certificate, key, CA or CRL
//! that was exchanged counts from then on. What is broken leaves the old in force, with one line in
//! the log. Checks of who the other is (revoked, name not allowed) are made after the handshake, in
//! one place for both directions. A connection that stands is judged anew when CAs or CRLs have
//! changed, and something is to go over it.
//!
//! [`Jws`] signs tokens: its keys are files, too.

mod accept;
mod admit;
mod auto;
mod ciphers;
mod connect;
mod files;
mod jws;
mod live;
mod names;
mod settings;
mod socket;
mod standing;
mod trust;
mod versions;
mod wire;

#[cfg(test)]
mod tests;

use std::path::PathBuf;

pub use accept::{Acceptor, ServerStream};
pub use auto::self_signed;
pub use ciphers::is_weak;
pub use connect::{ClientStream, Connector};
pub use files::common_name;
pub use jws::Jws;
pub use settings::Settings;
pub use socket::Socket;
pub use standing::Standing;
pub use wire::Wire;

/// Why TLS cannot be set up. One line, for operators.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot read {path}: {error}")]
    Read { path: PathBuf, error: std::io::Error },
    #[error("cannot write {path}: {error}")]
    Write { path: PathBuf, error: std::io::Error },
    /// The file is there and of no use.
    #[error("{path}: {why}")]
    File { path: PathBuf, why: String },
    /// Settings that do not go together, mostly in etcd's words.
    #[error("{0}")]
    Settings(String),
}
