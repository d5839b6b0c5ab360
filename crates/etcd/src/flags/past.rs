//! Flags of etcd 0.4 and of releases since, renamed or dropped by the original itself.

use super::{Fate, Flag, Kind};

pub(super) const FLAGS: &[Flag] = &[
    renamed("addr", Kind::Address, "advertise-client-urls"),
    renamed("bind-addr", Kind::Address, "listen-client-urls"),
    renamed("peer-addr", Kind::Address, "initial-advertise-peer-urls"),
    renamed("peer-bind-addr", Kind::Address, "listen-peer-urls"),
    renamed("log-output", Kind::Text, "log-outputs"),
    // Of the pre-releases of 3.6 alone.
    renamed("experimental-max-learners", Kind::Count, "max-learners"),
    past("experimental-wait-cluster-ready-timeout"),
    gone("peers", "use --initial-cluster"),
    gone("peers-file", "use --initial-cluster"),
    past("cluster-active-size"),
    past("cluster-remove-delay"),
    past("cluster-sync-interval"),
    past("config"),
    past("force"),
    past("max-result-buffer"),
    past("max-retry-attempts"),
    past("peer-heartbeat-interval"),
    past("peer-election-timeout"),
    past("retry-interval"),
    past("snapshot"),
    past("v"),
    past("vv"),
];

const fn renamed(name: &'static str, kind: Kind, to: &'static str) -> Flag {
    Flag { name, kind, default: "", fate: Fate::Renamed(to) }
}

const fn gone(name: &'static str, advice: &'static str) -> Flag {
    Flag { name, kind: Kind::Text, default: "", fate: Fate::Gone(advice) }
}

const fn past(name: &'static str) -> Flag {
    Flag { name, kind: Kind::Text, default: "", fate: Fate::Past }
}
