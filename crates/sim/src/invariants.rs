//! What must hold whatever happens: one file each, named as in a [`Violation`](crate::Violation).

pub(crate) mod apply_agreement;
pub(crate) mod durable;
pub(crate) mod election_safety;
pub(crate) mod expiry;
pub(crate) mod failed_sync;
pub(crate) mod indexes;
pub(crate) mod leader_completeness;
pub(crate) mod leases;
pub(crate) mod linearizability;
pub(crate) mod log_matching;
pub(crate) mod membership;
pub(crate) mod no_lost_acknowledgement;
pub(crate) mod only_sent;
pub(crate) mod reads;
pub(crate) mod replay;
pub(crate) mod terms;
pub(crate) mod watch_atomic;
pub(crate) mod watch_bookmarkable;
pub(crate) mod watch_filter;
pub(crate) mod watch_is_create;
pub(crate) mod watch_order;
pub(crate) mod watch_ordered;
pub(crate) mod watch_prev_kv;
pub(crate) mod watch_reliable;
pub(crate) mod watch_resumable;
pub(crate) mod watch_unique;
