//! Flags on TLS and authentication: refused until both exist, since without them data would be
//! open that was meant to be closed.

use super::{Flag, Kind, idle, later};

const TLS: &str = "TLS";
const NO_TLS: &str = "there is no TLS yet";
const AUTH: &str = "this kind of token";

pub(super) const FLAGS: &[Flag] = &[
    later("cert-file", Kind::Text, "", TLS),
    later("key-file", Kind::Text, "", TLS),
    later("trusted-ca-file", Kind::Text, "", TLS),
    later("ca-file", Kind::Text, "", TLS),
    later("client-cert-auth", Kind::Switch, "false", TLS),
    later("client-cert-file", Kind::Text, "", TLS),
    later("client-key-file", Kind::Text, "", TLS),
    later("client-crl-file", Kind::Text, "", TLS),
    later("client-cert-allowed-hostname", Kind::Text, "", TLS),
    later("auto-tls", Kind::Switch, "false", TLS),
    later("peer-cert-file", Kind::Text, "", TLS),
    later("peer-key-file", Kind::Text, "", TLS),
    later("peer-trusted-ca-file", Kind::Text, "", TLS),
    later("peer-ca-file", Kind::Text, "", TLS),
    later("peer-client-cert-auth", Kind::Switch, "false", TLS),
    later("peer-client-cert-file", Kind::Text, "", TLS),
    later("peer-client-key-file", Kind::Text, "", TLS),
    later("peer-crl-file", Kind::Text, "", TLS),
    later("peer-cert-allowed-cn", Kind::Text, "", TLS),
    later("peer-cert-allowed-hostname", Kind::Text, "", TLS),
    later("peer-auto-tls", Kind::Switch, "false", TLS),
    later("tls-max-version", Kind::Text, "", TLS),
    // These only narrow or shape a TLS that one of the flags above would have to turn on.
    idle("tls-min-version", Kind::Text, "TLS1.2", NO_TLS),
    idle("cipher-suites", Kind::Text, "", NO_TLS),
    idle("self-signed-cert-validity", Kind::Count, "1", NO_TLS),
    idle("peer-skip-client-san-verification", Kind::Switch, "false", NO_TLS),
    idle("experimental-peer-skip-client-san-verification", Kind::Switch, "false", NO_TLS),
    later("host-whitelist", Kind::Text, "*", "a list of host names"),
    later("auth-token", Kind::Text, "simple", AUTH),
    idle("auth-token-ttl", Kind::Count, "300", "there are no tokens yet"),
    idle("bcrypt-cost", Kind::Count, "10", "there are no passwords yet"),
];
