//! The v3 API of etcd 3.6, as far as it is there: one call of its JSON gateway.

pub(crate) mod downgrade;
mod gateway;
