//! What the command lines have in common.
//!
//! - `failure`, `refusal`: why a run failed, in the original's form
//! - `output`: what stdout shows
//! - `go`, `table`: texts as Go writes and reads them, tables as the original draws them
//! - `scripts`, `pages`: completion and manual pages, from a grammar
//! - `keyspace`: what is in a file
//! - `founding`: whose data directory is to be made
//! - `snapshot`: looking into a saved snapshot, and making a member of it. `etcdutl` has these
//!   commands, and `etcdctl` as up to 3.5.

mod failure;
mod founding;
pub mod go;
pub mod keyspace;
pub mod output;
pub mod pages;
mod refusal;
pub mod scripts;
pub mod snapshot;
pub mod table;

pub use self::{
    failure::{Exit, Failure},
    founding::Founding,
    refusal::refusal,
};
