//! The server's binary from outside: what it refuses and how, what it says once it serves, and how
//! it ends.

#![allow(clippy::disallowed_methods, reason = "tests own a clock and files")]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on must panic, in its harness too"
)]

mod end;
mod every_flag;
mod process;
mod refusals;
mod serving;
mod traces;
