//! Flags on TLS and authentication.

use super::{Fate, Flag, Kind, used};

pub(super) const FLAGS: &[Flag] = &[
    used("cert-file", Kind::Text, "", "certificate to serve clients with (PEM)"),
    used("key-file", Kind::Text, "", "its key (PEM, not encrypted)"),
    used(
        "trusted-ca-file",
        Kind::Text,
        "",
        "authorities whose clients are let in; asks for certificates",
    ),
    used("ca-file", Kind::Text, "", "old form of --trusted-ca-file with --client-cert-auth"),
    used("client-cert-auth", Kind::Switch, "false", "clients must show a certificate"),
    used("client-cert-file", Kind::Text, "", "certificate to show as client, if not --cert-file"),
    used("client-key-file", Kind::Text, "", "its key"),
    used("client-crl-file", Kind::Text, "", "certificates that are revoked (CRL, DER or PEM)"),
    used(
        "client-cert-allowed-hostname",
        Kind::Text,
        "",
        "host names, one of which a client's certificate must be good for",
    ),
    used("auto-tls", Kind::Switch, "false", "serve clients with a certificate made here"),
    used("peer-cert-file", Kind::Text, "", "certificate between members, for both sides"),
    used("peer-key-file", Kind::Text, "", "its key"),
    used("peer-trusted-ca-file", Kind::Text, "", "authorities whose members are let in"),
    used(
        "peer-ca-file",
        Kind::Text,
        "",
        "old form of --peer-trusted-ca-file with --peer-client-cert-auth",
    ),
    used("peer-client-cert-auth", Kind::Switch, "false", "members must show a certificate"),
    used(
        "peer-client-cert-file",
        Kind::Text,
        "",
        "certificate to show to other members, if not --peer-cert-file",
    ),
    used("peer-client-key-file", Kind::Text, "", "its key"),
    used("peer-crl-file", Kind::Text, "", "members' certificates that are revoked (CRL)"),
    used(
        "peer-cert-allowed-cn",
        Kind::Text,
        "",
        "common names, one of which a member's certificate must have",
    ),
    used(
        "peer-cert-allowed-hostname",
        Kind::Text,
        "",
        "host names, one of which a member's certificate must be good for",
    ),
    used("peer-auto-tls", Kind::Switch, "false", "serve members with a certificate made here"),
    used("self-signed-cert-validity", Kind::Count, "1", "years that those made here are good for"),
    used("cipher-suites", Kind::Text, "", "cipher suites of TLS 1.2, by Go's names; empty: all"),
    used("tls-min-version", Kind::Text, "TLS1.2", "TLS1.2 or TLS1.3"),
    used("tls-max-version", Kind::Text, "", "TLS1.2 or TLS1.3; empty: the newest"),
    used(
        "peer-skip-client-san-verification",
        Kind::Switch,
        "false",
        "do not ask that a member's address is in its certificate",
    ),
    Flag {
        name: "experimental-peer-skip-client-san-verification",
        kind: Kind::Switch,
        default: "false",
        fate: Fate::Renamed("peer-skip-client-san-verification"),
    },
    used(
        "host-whitelist",
        Kind::List,
        "*",
        "host names by which clients may call this member over HTTP without TLS; * for all",
    ),
    used(
        "auth-token",
        Kind::Text,
        "simple",
        "what users log in with: simple, or jwt,sign-method=…,priv-key=…,pub-key=…,ttl=…",
    ),
    used("auth-token-ttl", Kind::Count, "300", "seconds that a simple token lives unused"),
    used("bcrypt-cost", Kind::Count, "10", "cost of the hashes of passwords, 4 to 31"),
    used(
        "audit-log",
        Kind::Text,
        "",
        "file to which a line of JSON is written for each request of a client: who, from where, what, on \
         which keys, allowed or not; opened anew on SIGHUP",
    ),
];
