//! The v2 API of etcd 2.3.8.

pub(crate) mod auth;
mod content_type;
mod failure;
pub(crate) mod form;
pub(crate) mod json;
pub(crate) mod keys;
pub(crate) mod listing;
pub(crate) mod members;
pub(crate) mod parameters;
pub(crate) mod stats;
pub(crate) mod watch;
