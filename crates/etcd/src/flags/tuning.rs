//! Flags of the v3 API, and those that shape a machinery which is built differently here.

use super::{Flag, Kind, gates::LEASES, idle, renamed, used};

const BBOLT: &str = "there is no bbolt file";
const FLUSHER: &str = "the flusher sets its own pace";
const SMALL_STEPS: &str = "compaction always goes in small steps";
const NO_DEFRAG: &str = "there is nothing to defragment";

pub(super) const FLAGS: &[Flag] = &[
    used(
        "auto-compaction-mode",
        Kind::OneOf(&["periodic", "revision"]),
        "periodic",
        "What --auto-compaction-retention counts: 'periodic' time, 'revision' revisions.",
    ),
    used(
        "auto-compaction-retention",
        Kind::Text,
        "0",
        "History that is kept: hours or a time like 30m, or revisions; 0 keeps all. Not given: what \
         passes a quarter of the quota or 5 million revisions is compacted to the newest 10,000.",
    ),
    renamed("experimental-auto-compaction-retention", Kind::Text, "0", "auto-compaction-retention"),
    used(
        "max-request-bytes",
        Kind::Count,
        "1572864",
        "The largest request that is taken, in bytes; at most 16 MiB.",
    ),
    used(
        "max-txn-ops",
        Kind::Count,
        "128",
        "Operations in each list of a transaction, nested ones included.",
    ),
    used(
        "max-concurrent-streams",
        Kind::Count,
        "4294967295",
        "Calls and streams at once on one connection of gRPC; at most 10,000 unless given.",
    ),
    used(
        "grpc-keepalive-min-time",
        Kind::Duration,
        "5s",
        "Time that a client leaves between two pings: who sends them more often is sent away.",
    ),
    used(
        "grpc-keepalive-interval",
        Kind::Duration,
        "2h",
        "Time between two signs of life that are asked of a client's connection; 0 asks for none.",
    ),
    used(
        "grpc-keepalive-timeout",
        Kind::Duration,
        "20s",
        "Time after which a connection ends that gives none.",
    ),
    used(
        "enable-grpc-gateway",
        Kind::Switch,
        "true",
        "Answers the v3 API as JSON too, below /v3/.",
    ),
    idle("experimental-v3demo", Kind::Switch, "false", "the v3 API is always on"),
    idle(
        "experimental-gRPC-addr",
        Kind::Text,
        "127.0.0.1:2378",
        "gRPC is served where clients are: see --listen-client-urls",
    ),
    used(
        "watch-progress-notify-interval",
        Kind::Duration,
        "10m",
        "Time after which a watch that asks for it is told how far it is.",
    ),
    renamed(
        "experimental-watch-progress-notify-interval",
        Kind::Duration,
        "10m",
        "watch-progress-notify-interval",
    ),
    used(
        "metrics",
        Kind::OneOf(&["basic", "extensive"]),
        "basic",
        "What /metrics tells: 'extensive' adds how long each method of gRPC takes.",
    ),
    idle("backend-batch-interval", Kind::Duration, "", FLUSHER),
    idle("backend-batch-limit", Kind::Count, "0", FLUSHER),
    idle("backend-bbolt-freelist-type", Kind::Text, "map", BBOLT),
    idle("experimental-backend-bbolt-freelist-type", Kind::Text, "map", BBOLT),
    idle("compaction-batch-limit", Kind::Count, "1000", SMALL_STEPS),
    idle("experimental-compaction-batch-limit", Kind::Count, "1000", SMALL_STEPS),
    idle("compaction-sleep-interval", Kind::Duration, "10ms", SMALL_STEPS),
    idle("experimental-compaction-sleep-interval", Kind::Duration, "10ms", SMALL_STEPS),
    idle("bootstrap-defrag-threshold-megabytes", Kind::Count, "0", NO_DEFRAG),
    idle("experimental-bootstrap-defrag-threshold-megabytes", Kind::Count, "0", NO_DEFRAG),
    idle("experimental-stop-grpc-service-on-defrag", Kind::Switch, "false", NO_DEFRAG),
    used(
        "snapshot-catchup-entries",
        Kind::Count,
        "5000",
        "Applied entries kept in memory for members that lag, 4 MB of them at most; older ones that a \
         member needs are kept in files, up to 1 GB, while it has been silent for less than ten \
         election timeouts.",
    ),
    renamed(
        "experimental-snapshot-catchup-entries",
        Kind::Count,
        "5000",
        "snapshot-catchup-entries",
    ),
    renamed(
        "experimental-snapshot-catch-up-entries",
        Kind::Count,
        "5000",
        "snapshot-catchup-entries",
    ),
    used(
        "corrupt-check-time",
        Kind::Duration,
        "0s",
        "Time between two comparisons of members by hashes, which read all there is; 0: none. By what \
         they have written they are compared every minute anyway.",
    ),
    renamed("experimental-corrupt-check-time", Kind::Duration, "0s", "corrupt-check-time"),
    used(
        "experimental-initial-corrupt-check",
        Kind::Switch,
        "false",
        "As --feature-gates=InitialCorruptCheck=true: a member that starts is compared by its hash, too.",
    ),
    used(
        "compact-hash-check-time",
        Kind::Duration,
        "1m",
        "Time between two comparisons of what compactions have hashed \
         (--feature-gates=CompactHashCheck=true).",
    ),
    renamed(
        "experimental-compact-hash-check-time",
        Kind::Duration,
        "1m",
        "compact-hash-check-time",
    ),
    used(
        "experimental-compact-hash-check-enabled",
        Kind::Switch,
        "false",
        "As --feature-gates=CompactHashCheck=true: each compaction hashes what it sees.",
    ),
    used(
        "rebuild-corrupt",
        Kind::Switch,
        "false",
        "If this member is found to differ from the others, it takes the leader's data in place of its \
         own.",
    ),
    idle("downgrade-check-time", Kind::Duration, "5s", AT_ONCE),
    idle("experimental-downgrade-check-time", Kind::Duration, "5s", AT_ONCE),
    idle("experimental-enable-lease-checkpoint", Kind::Switch, "false", LEASES),
    idle("experimental-enable-lease-checkpoint-persist", Kind::Switch, "false", LEASES),
    used(
        "warning-apply-duration",
        Kind::Duration,
        "100ms",
        "Time after which a write that is applied, or a read, is told in the log.",
    ),
    renamed(
        "experimental-warning-apply-duration",
        Kind::Duration,
        "100ms",
        "warning-apply-duration",
    ),
    used(
        "warning-unary-request-duration",
        Kind::Duration,
        "300ms",
        "Time after which a call through gRPC is told in the log, once a second for each method.",
    ),
    renamed(
        "experimental-warning-unary-request-duration",
        Kind::Duration,
        "300ms",
        "warning-unary-request-duration",
    ),
    idle("experimental-txn-mode-write-with-shared-buffer", Kind::Switch, "true", BBOLT),
    idle("memory-mlock", Kind::Switch, "false", BBOLT),
    idle("experimental-memory-mlock", Kind::Switch, "false", BBOLT),
    used(
        "feature-gates",
        Kind::Gates,
        "",
        "The original's switches for what is new, as Name=true,Name=false; the log says what has \
         taken the place of each.",
    ),
    used(
        "enable-distributed-tracing",
        Kind::Switch,
        "false",
        "Send spans of calls to a collector of OpenTelemetry, by OTLP over gRPC.",
    ),
    used(
        "distributed-tracing-address",
        Kind::Text,
        "localhost:4317",
        "Where that collector is: host:port, without TLS.",
    ),
    used(
        "distributed-tracing-service-name",
        Kind::Text,
        "etcd",
        "The service's name in spans: the same for all members.",
    ),
    used(
        "distributed-tracing-instance-id",
        Kind::Text,
        "",
        "The member's name in spans, its own one; none if empty.",
    ),
    used(
        "distributed-tracing-sampling-rate",
        Kind::Count,
        "0",
        "Calls of a million that are traced where their client does not say; 0: none of these.",
    ),
    renamed(
        "experimental-enable-distributed-tracing",
        Kind::Switch,
        "false",
        "enable-distributed-tracing",
    ),
    renamed(
        "experimental-distributed-tracing-address",
        Kind::Text,
        "localhost:4317",
        "distributed-tracing-address",
    ),
    renamed(
        "experimental-distributed-tracing-service-name",
        Kind::Text,
        "etcd",
        "distributed-tracing-service-name",
    ),
    renamed(
        "experimental-distributed-tracing-instance-id",
        Kind::Text,
        "",
        "distributed-tracing-instance-id",
    ),
    renamed(
        "experimental-distributed-tracing-sampling-rate",
        Kind::Count,
        "0",
        "distributed-tracing-sampling-rate",
    ),
];

const AT_ONCE: &str = "the end of a downgrade is noticed at once";
