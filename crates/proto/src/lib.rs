//! Messages that leave the process: what stands in the raft log, and later what goes over gRPC.
//!
//! Fields are only ever added; a number is never used for another meaning.

pub mod command;

pub use prost::Message;
