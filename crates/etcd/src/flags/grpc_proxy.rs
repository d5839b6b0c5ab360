//! Flags of `etcd grpc-proxy start`. They are its own: neither the environment nor a file has them.

use super::{Flag, Group, Kind, help::write_group, idle, later, used};

pub(crate) const GROUPS: &[Group] = &[
    Group { title: "Members", flags: MEMBERS },
    Group { title: "Clients", flags: CLIENTS },
    Group { title: "Proxies beside this one", flags: RESOLVER },
    Group { title: "Tuning and debugging", flags: TUNING },
];

const MEMBERS: &[Flag] = &[
    used(
        "endpoints",
        Kind::List,
        "127.0.0.1:2379",
        "Where the members are, as host:port or URLs, separated by commas.",
    ),
    used(
        "endpoints-auto-sync-interval",
        Kind::Duration,
        "0s",
        "Ask the members so often who they are; 0: never.",
    ),
    used(
        "discovery-srv",
        Kind::Text,
        "",
        "DNS domain whose SRV records say where the members are, instead of --endpoints.",
    ),
    used("discovery-srv-name", Kind::Text, "", "Suffix of the service's name in SRV records."),
    used(
        "insecure-discovery",
        Kind::Switch,
        "false",
        "Take what SRV records say without a look at certificates.",
    ),
    used("cert", Kind::Text, "", "Certificate to show to members (PEM), without a common name."),
    used("key", Kind::Text, "", "Its key."),
    used("cacert", Kind::Text, "", "Authorities that members' certificates must come from."),
    used(
        "insecure-skip-tls-verify",
        Kind::Switch,
        "false",
        "Take every server for a member: for tests only.",
    ),
    used("dial-keepalive-time", Kind::Duration, "0s", "Ping members so often; 0: never."),
    used("dial-keepalive-timeout", Kind::Duration, "20s", "Time that this may take."),
    used(
        "permit-without-stream",
        Kind::Switch,
        "false",
        "Ping members also while nothing is asked of them.",
    ),
    used("max-send-bytes", Kind::Count, "1572864", "Largest request that goes to members."),
    used("max-recv-bytes", Kind::Count, "2147483647", "Largest answer that is taken of them."),
];

const CLIENTS: &[Flag] = &[
    used("listen-addr", Kind::Text, "127.0.0.1:23790", "Listen address, as host:port."),
    used("metrics-addr", Kind::Text, "", "URL to serve health and metrics on as well."),
    used("namespace", Kind::Text, "", "Prefix of all keys, which clients do not see."),
    used("cert-file", Kind::Text, "", "Certificate to serve clients with (PEM)."),
    used("key-file", Kind::Text, "", "Its key."),
    used("trusted-ca-file", Kind::Text, "", "Authorities whose clients are let in."),
    used("auto-tls", Kind::Switch, "false", "Serve clients with a certificate made here."),
    used("data-dir", Kind::Text, "default.proxy", "Where that is kept."),
    used("self-signed-cert-validity", Kind::Count, "1", "Years that it is good for."),
    used("client-crl-file", Kind::Text, "", "Certificates that are revoked (CRL)."),
    used("listen-cipher-suites", Kind::List, "", "Cipher suites of TLS 1.2, by Go's names."),
    used("tls-min-version", Kind::Text, "TLS1.2", "TLS1.2 or TLS1.3."),
    used("tls-max-version", Kind::Text, "", "TLS1.2 or TLS1.3; empty: the newest."),
    used(
        "grpc-keepalive-min-time",
        Kind::Duration,
        "5s",
        "Clients that ping more often are sent away; 0: nobody is.",
    ),
    used("grpc-keepalive-interval", Kind::Duration, "2h", "Ping clients so often; 0: never."),
    used("grpc-keepalive-timeout", Kind::Duration, "20s", "Time that this may take."),
    used(
        "max-concurrent-streams",
        Kind::Count,
        "4294967295",
        "Requests and streams at once on one connection; 10000 unless given.",
    ),
];

const RESOLVER: &[Flag] = &[
    used(
        "advertise-client-url",
        Kind::Text,
        "127.0.0.1:23790",
        "Where clients reach this proxy: what they are told of members. Empty: the members' own.",
    ),
    used("resolver-prefix", Kind::Text, "", "Prefix of the keys by which proxies know each other."),
    used(
        "resolver-ttl",
        Kind::Number,
        "0",
        "Seconds after which a proxy that is gone is forgotten.",
    ),
];

const TUNING: &[Flag] = &[
    used(
        "experimental-serializable-ordering",
        Kind::Switch,
        "false",
        "Reads never go back in time, whichever member answers.",
    ),
    later("experimental-leasing-prefix", Kind::Text, "", "leasing of keys to proxies"),
    used(
        "experimental-enable-grpc-logging",
        Kind::Switch,
        "false",
        "Log each call with its outcome.",
    ),
    used("debug", Kind::Switch, "false", "Log more."),
    idle("enable-pprof", Kind::Switch, "false", "there is no Go runtime to be profiled"),
];

const OPENING: &str = "\
etcd grpc-proxy: answers clients of the v3 API in the members' place

Usage:

  etcd grpc-proxy start [flags]   start the proxy
  etcd grpc-proxy --help          print this help

Watches of the same keys share one watch of the members, and what was read lately is read again
from memory by who asks for serializable reads.
";

/// What `etcd grpc-proxy --help` prints.
pub(crate) fn help() -> String {
    let mut text = OPENING.to_owned();
    for group in GROUPS {
        write_group(&mut text, group);
    }
    text
}
