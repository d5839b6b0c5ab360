//! What must hold whatever happens: one file each.

pub(crate) mod acknowledged;
pub(crate) mod durable;
pub(crate) mod election_safety;
pub(crate) mod expiry;
pub(crate) mod indexes;
pub(crate) mod leader_completeness;
pub(crate) mod leases;
pub(crate) mod log;
pub(crate) mod log_matching;
pub(crate) mod only_sent;
pub(crate) mod reads;
pub(crate) mod replay;
pub(crate) mod terms;
pub(crate) mod watchers;
