//! Flags of one member: its name, its data, its addresses, its pace.

use super::{Flag, Kind, idle, used};

pub(super) const FLAGS: &[Flag] = &[
    used("name", Kind::Text, "default", "Human-readable name of this member."),
    used("data-dir", Kind::Text, "", "Directory of this member's data (default: ${name}.etcd)."),
    used(
        "wal-dir",
        Kind::Text,
        "",
        "Directory of the raft log (default: inside the data directory).",
    ),
    used(
        "listen-client-urls",
        Kind::ClientUrls,
        "http://localhost:2379,http://localhost:4001",
        "URLs to serve clients on: an IP or localhost, and a port; or a socket, unix:///path.",
    ),
    used(
        "listen-peer-urls",
        Kind::Urls,
        "http://localhost:2380,http://localhost:7001",
        "URLs to serve other members on: an IP or localhost, and a port.",
    ),
    used(
        "snapshot-count",
        Kind::Count,
        "10000",
        "Entries applied between two cuts of the raft log.",
    ),
    used("heartbeat-interval", Kind::Count, "100", "Milliseconds between two heartbeats."),
    used(
        "election-timeout",
        Kind::Count,
        "1000",
        "Milliseconds without a leader before an election: at least five heartbeats, at most 50000.",
    ),
    used(
        "quota-backend-bytes",
        Kind::Number,
        "0",
        "Live bytes that the keyspace may hold (0: 2 GiB; negative: no bound).",
    ),
    used(
        "listen-client-http-urls",
        Kind::ClientUrls,
        "",
        "URLs to serve HTTP on; those of --listen-client-urls then serve gRPC alone.",
    ),
    used(
        "listen-metrics-urls",
        Kind::ClientUrls,
        "",
        "URLs to serve /metrics, /health, /livez and /readyz on, besides where clients are.",
    ),
    used(
        "unsafe-no-fsync",
        Kind::Switch,
        "false",
        "UNSAFE: sync nothing; after a loss of power what was acknowledged may be gone.",
    ),
    used(
        "cors",
        Kind::Origins,
        "",
        "Origins that may ask across sites, separated by commas; * for all.",
    ),
    used(
        "socket-reuse-port",
        Kind::Switch,
        "false",
        "Set SO_REUSEPORT, to listen on ports that another process listens on.",
    ),
    used(
        "config-file",
        Kind::Text,
        "",
        "Take the configuration from this YAML file, and from nowhere else.",
    ),
    used(
        "force-new-cluster",
        Kind::Switch,
        "false",
        "UNSAFE: make a cluster of this member alone out of its data.",
    ),
    used("version", Kind::Switch, "false", "Print the version and exit."),
    idle("socket-reuse-address", Kind::Switch, "false", "SO_REUSEADDR is always set"),
    idle("enable-v2", Kind::Switch, "true", "the v2 API is always served"),
    idle("max-snapshots", Kind::Count, "5", "no old snapshots are kept"),
    idle("max-wals", Kind::Count, "5", "the raft log is cut by what is applied and on disk"),
    used(
        "enable-pprof",
        Kind::Switch,
        "false",
        "Tell under /debug/pprof/ where the processor's time goes, to whoever asks.",
    ),
];
