//! Flags on the cluster: what members tell each other and how they find each other.

use super::{Flag, Kind, idle, used};

const V2V3: &str = "the v2 API and the v3 API always share one keyspace";
const V2_STAGES: &[&str] =
    &["not-yet", "write-only", "write-only-skip-check", "write-only-drop-data", "gone"];
const ROLLING: &str = "members of neighbouring versions always work together";

pub(super) const FLAGS: &[Flag] = &[
    used(
        "advertise-client-urls",
        Kind::ClientUrls,
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
    used(
        "raft-read-timeout",
        Kind::Duration,
        "5s",
        "How long another member may say nothing before its streams are given up; 5s or more.",
    ),
    used(
        "raft-write-timeout",
        Kind::Duration,
        "5s",
        "How long another member may take nothing of what is written to it; 5s or more.",
    ),
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
    used(
        "discovery-token",
        Kind::Text,
        "",
        "Token at which the members of a new cluster find each other through the v3 API.",
    ),
    used(
        "discovery-endpoints",
        Kind::List,
        "",
        "Members of the cluster that has that token, as host:port or URLs, separated by commas.",
    ),
    used("discovery-cacert", Kind::Text, "", "Authorities that their certificates must come from."),
    used("discovery-cert", Kind::Text, "", "Certificate to show to them."),
    used("discovery-key", Kind::Text, "", "Its key."),
    used("discovery-user", Kind::Text, "", "User to be there, as name or name:password."),
    used("discovery-password", Kind::Text, "", "The user's password."),
    used(
        "discovery-insecure-transport",
        Kind::Switch,
        "true",
        "Speak to endpoints without a scheme in the clear, unless another flag asks for TLS.",
    ),
    used(
        "discovery-insecure-skip-tls-verify",
        Kind::Switch,
        "false",
        "UNSAFE: take their certificates without a look.",
    ),
    used("discovery-dial-timeout", Kind::Duration, "2s", "Time for a connection to one of them."),
    used("discovery-request-timeout", Kind::Duration, "5s", "Time for one request."),
    used(
        "discovery-keepalive-time",
        Kind::Duration,
        "2s",
        "Silence after which a connection is asked for a sign of life; 0 asks for none.",
    ),
    used("discovery-keepalive-timeout", Kind::Duration, "6s", "Time that this may take."),
    used(
        "discovery-fallback",
        Kind::OneOf(&["exit", "proxy"]),
        "proxy",
        "What to do when the token is full: 'exit', or serve as a 'proxy' of the cluster.",
    ),
    idle("experimental-enable-v2v3", Kind::Text, "", V2V3),
    idle("next-cluster-version-compatible", Kind::Switch, "false", ROLLING),
    idle("v2-deprecation", Kind::OneOf(V2_STAGES), "write-only", "the v2 API stays"),
];
