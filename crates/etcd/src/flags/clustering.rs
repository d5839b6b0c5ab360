//! Flags on the cluster: what members tell each other and how they find each other.

use super::{Fate, Flag, Kind, idle, later, used};

const DISCOVERY_V3: &str = "discovery through etcd's v3 API (--discovery and --discovery-srv are)";
const IDLE_DISCOVERY_V3: &str = "there is no discovery through etcd's v3 API yet";
const V2V3: &str = "v2 and v3 share one keyspace: leave it out";

pub(super) const FLAGS: &[Flag] = &[
    used(
        "advertise-client-urls",
        Kind::Urls,
        "http://localhost:2379,http://localhost:4001",
        "URLs that clients are told to use.",
    ),
    used(
        "initial-advertise-peer-urls",
        Kind::Urls,
        "http://localhost:2380,http://localhost:7001",
        "URLs that other members are told to use.",
    ),
    used(
        "initial-cluster",
        Kind::Text,
        "",
        "Members of a new cluster, as name=URL,name=URL (default: this one at its advertised URLs).",
    ),
    used(
        "initial-cluster-state",
        Kind::OneOf(&["new", "existing"]),
        "new",
        "Found a cluster ('new'), or join one that runs and has this member added ('existing').",
    ),
    used(
        "initial-cluster-token",
        Kind::Text,
        "etcd-cluster",
        "Tells clusters apart that were founded with the same flags.",
    ),
    used(
        "strict-reconfig-check",
        Kind::Switch,
        "true",
        "Refuse changes of the members that would leave too few of them started.",
    ),
    idle("pre-vote", Kind::Switch, "true", "elections always begin with a pre-vote"),
    idle(
        "initial-election-tick-advance",
        Kind::Switch,
        "true",
        "elections at a start are as soon as is safe",
    ),
    idle("raft-read-timeout", Kind::Text, "5s", "a silent peer is given up after 15 s"),
    idle("raft-write-timeout", Kind::Text, "5s", "a peer that does not read is given up after 5 s"),
    used(
        "max-learners",
        Kind::Count,
        "1",
        "Learners that the cluster may have at once; the same for all members.",
    ),
    used(
        "discovery",
        Kind::Text,
        "",
        "URL of a token at which the members of a new cluster find each other.",
    ),
    used(
        "discovery-proxy",
        Kind::Text,
        "",
        "HTTP proxy to reach that URL through: http://host:port.",
    ),
    used(
        "discovery-srv",
        Kind::Text,
        "",
        "Domain whose SRV records (_etcd-server-ssl._tcp, _etcd-server._tcp) name the members of a \
         new cluster.",
    ),
    used(
        "discovery-srv-name",
        Kind::Text,
        "",
        "Asks for _etcd-server-ssl-NAME._tcp and _etcd-server-NAME._tcp instead.",
    ),
    later("discovery-endpoints", Kind::Text, "", DISCOVERY_V3),
    later("discovery-token", Kind::Text, "", DISCOVERY_V3),
    later("discovery-cacert", Kind::Text, "", DISCOVERY_V3),
    later("discovery-cert", Kind::Text, "", DISCOVERY_V3),
    later("discovery-key", Kind::Text, "", DISCOVERY_V3),
    later("discovery-user", Kind::Text, "", DISCOVERY_V3),
    later("discovery-password", Kind::Text, "", DISCOVERY_V3),
    later("discovery-insecure-skip-tls-verify", Kind::Switch, "false", DISCOVERY_V3),
    idle("discovery-insecure-transport", Kind::Switch, "true", IDLE_DISCOVERY_V3),
    idle("discovery-dial-timeout", Kind::Text, "2s", IDLE_DISCOVERY_V3),
    idle("discovery-request-timeout", Kind::Text, "5s", IDLE_DISCOVERY_V3),
    idle("discovery-keepalive-time", Kind::Text, "2s", IDLE_DISCOVERY_V3),
    idle("discovery-keepalive-timeout", Kind::Text, "6s", IDLE_DISCOVERY_V3),
    used(
        "discovery-fallback",
        Kind::OneOf(&["exit", "proxy"]),
        "proxy",
        "What to do when the token is full: 'exit', or serve as a 'proxy' of the cluster.",
    ),
    Flag {
        name: "experimental-enable-v2v3",
        kind: Kind::Text,
        default: "",
        fate: Fate::Gone(V2V3),
    },
    idle("v2-deprecation", Kind::Text, "write-only", "the v2 API stays"),
];
