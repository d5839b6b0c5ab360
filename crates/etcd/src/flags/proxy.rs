//! Flags on proxy mode: clients are answered by the members of a cluster elsewhere.

use super::{Flag, Kind, used};

pub(super) const FLAGS: &[Flag] = &[
    used(
        "proxy",
        Kind::OneOf(&["off", "readonly", "on"]),
        "off",
        "Be no member: pass what clients ask on to the members, all of it ('on') or GETs alone \
         ('readonly'). The members are found as a new member would find them.",
    ),
    used(
        "proxy-failure-wait",
        Kind::Count,
        "5000",
        "Milliseconds for which a member that failed is not asked.",
    ),
    used(
        "proxy-refresh-interval",
        Kind::Count,
        "30000",
        "Milliseconds between two looks at who the members are.",
    ),
    used(
        "proxy-dial-timeout",
        Kind::Count,
        "1000",
        "Milliseconds for a connection to a member (0: no bound).",
    ),
    used(
        "proxy-write-timeout",
        Kind::Count,
        "5000",
        "Milliseconds for a member to take what is sent to it (0: no bound).",
    ),
    used(
        "proxy-read-timeout",
        Kind::Count,
        "0",
        "Milliseconds for which a member that was asked may be silent (0: no bound; watches wait \
         for long).",
    ),
];
