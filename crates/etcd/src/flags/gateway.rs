//! Flags of `etcd gateway start`. They are its own: neither the environment nor a file has them.

use super::{Flag, Group, Kind, help::write_group, used};

pub(crate) const GROUPS: &[Group] = &[Group { title: "Flags", flags: FLAGS }];

const FLAGS: &[Flag] = &[
    used("listen-addr", Kind::Text, "127.0.0.1:23790", "Listen address, as host:port."),
    used(
        "endpoints",
        Kind::List,
        "127.0.0.1:2379",
        "Where the members are, as host:port or URLs, separated by commas.",
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
    used(
        "trusted-ca-file",
        Kind::Text,
        "",
        "Authorities that certificates of members found by SRV records must come from.",
    ),
    used("retry-delay", Kind::Duration, "1m", "How long an endpoint that failed is left alone."),
];

const OPENING: &str = "\
etcd gateway: forwards TCP connections to the members of a cluster

Usage:

  etcd gateway start [flags]      start the gateway
  etcd gateway --help             print this help

Clients then find the cluster at one address on this machine. Nothing is looked into: TLS is
between client and member.
";

/// What `etcd gateway --help` prints.
pub(crate) fn help() -> String {
    let mut text = OPENING.to_owned();
    for group in GROUPS {
        write_group(&mut text, group);
    }
    text
}
