//! The client of API 3 against servers that answer from a script: every failure at the moment of
//! choice.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    clippy::unnecessary_wraps,
    clippy::wildcard_enum_match_arm,
    clippy::semicolon_if_nothing_returned,
    reason = "tests"
)]

mod calls;
mod keeping;
mod server;
mod watching;
