//! Flags that shape a machinery which is built differently here, or belongs to the v3 API.

use super::{Fate, Flag, Kind, idle, later, used};

const V3: &str = "the v3 API is not served yet";
const COMPACTION: &str = "history is compacted once it passes a quarter of the quota or 5 million \
                          revisions; other rules come with the v3 API";
const BBOLT: &str = "there is no bbolt file";
const FLUSHER: &str = "the flusher sets its own pace";
const SMALL_STEPS: &str = "compaction always goes in small steps";
const NO_DEFRAG: &str = "there is nothing to defragment";
const ONE_MEMBER: &str = "with one member there is nobody to compare with";
const LIMIT: &str = "the limit is 1.5 MiB";
const WARNINGS: &str = "slow requests are not logged yet";
const TRACING: &str = "distributed tracing";
const LEASES: &str = "there are no leases yet";

pub(super) const FLAGS: &[Flag] = &[
    idle("auto-compaction-mode", Kind::OneOf(&["periodic", "revision"]), "periodic", COMPACTION),
    idle("auto-compaction-retention", Kind::Text, "0", COMPACTION),
    idle("experimental-auto-compaction-retention", Kind::Text, "0", COMPACTION),
    idle("max-request-bytes", Kind::Count, "1572864", LIMIT),
    idle("max-txn-ops", Kind::Count, "128", V3),
    idle("max-concurrent-streams", Kind::Count, "4294967295", V3),
    idle("grpc-keepalive-min-time", Kind::Text, "5s", V3),
    idle("grpc-keepalive-interval", Kind::Text, "2h", V3),
    idle("grpc-keepalive-timeout", Kind::Text, "20s", V3),
    idle("enable-grpc-gateway", Kind::Switch, "true", V3),
    idle("experimental-v3demo", Kind::Switch, "false", V3),
    idle("experimental-gRPC-addr", Kind::Text, "127.0.0.1:2378", V3),
    idle("watch-progress-notify-interval", Kind::Text, "10m", V3),
    idle("experimental-watch-progress-notify-interval", Kind::Text, "10m", V3),
    idle("metrics", Kind::OneOf(&["basic", "extensive"]), "basic", "there is one set of metrics"),
    idle("backend-batch-interval", Kind::Text, "", FLUSHER),
    idle("backend-batch-limit", Kind::Count, "0", FLUSHER),
    idle("backend-bbolt-freelist-type", Kind::Text, "map", BBOLT),
    idle("experimental-backend-bbolt-freelist-type", Kind::Text, "map", BBOLT),
    idle("compaction-batch-limit", Kind::Count, "1000", SMALL_STEPS),
    idle("experimental-compaction-batch-limit", Kind::Count, "1000", SMALL_STEPS),
    idle("compaction-sleep-interval", Kind::Text, "10ms", SMALL_STEPS),
    idle("experimental-compaction-sleep-interval", Kind::Text, "10ms", SMALL_STEPS),
    idle("bootstrap-defrag-threshold-megabytes", Kind::Count, "0", NO_DEFRAG),
    idle("experimental-bootstrap-defrag-threshold-megabytes", Kind::Count, "0", NO_DEFRAG),
    idle("experimental-stop-grpc-service-on-defrag", Kind::Switch, "false", NO_DEFRAG),
    used(
        "snapshot-catchup-entries",
        Kind::Count,
        "5000",
        "Applied entries kept in memory for members that lag; who needs older ones gets a snapshot.",
    ),
    Flag {
        name: "experimental-snapshot-catchup-entries",
        kind: Kind::Count,
        default: "5000",
        fate: Fate::Renamed("snapshot-catchup-entries"),
    },
    idle("experimental-snapshot-catch-up-entries", Kind::Count, "5000", ONE_MEMBER),
    idle("corrupt-check-time", Kind::Text, "0s", ONE_MEMBER),
    idle("experimental-corrupt-check-time", Kind::Text, "0s", ONE_MEMBER),
    idle("experimental-initial-corrupt-check", Kind::Switch, "false", ONE_MEMBER),
    idle("compact-hash-check-time", Kind::Text, "1m", ONE_MEMBER),
    idle("experimental-compact-hash-check-time", Kind::Text, "1m", ONE_MEMBER),
    idle("experimental-compact-hash-check-enabled", Kind::Switch, "false", ONE_MEMBER),
    idle("downgrade-check-time", Kind::Text, "5s", AT_ONCE),
    idle("experimental-downgrade-check-time", Kind::Text, "5s", AT_ONCE),
    idle("experimental-enable-lease-checkpoint", Kind::Switch, "false", LEASES),
    idle("experimental-enable-lease-checkpoint-persist", Kind::Switch, "false", LEASES),
    idle("warning-apply-duration", Kind::Text, "100ms", WARNINGS),
    idle("experimental-warning-apply-duration", Kind::Text, "100ms", WARNINGS),
    idle("warning-unary-request-duration", Kind::Text, "300ms", WARNINGS),
    idle("experimental-warning-unary-request-duration", Kind::Text, "300ms", WARNINGS),
    idle("experimental-txn-mode-write-with-shared-buffer", Kind::Switch, "true", BBOLT),
    idle("memory-mlock", Kind::Switch, "false", BBOLT),
    idle("experimental-memory-mlock", Kind::Switch, "false", BBOLT),
    idle("feature-gates", Kind::Text, "", "none of the original's gates exists here"),
    later("enable-distributed-tracing", Kind::Switch, "false", TRACING),
    later("experimental-enable-distributed-tracing", Kind::Switch, "false", TRACING),
    idle("distributed-tracing-address", Kind::Text, "localhost:4317", NO_TRACING),
    idle("experimental-distributed-tracing-address", Kind::Text, "localhost:4317", NO_TRACING),
    idle("distributed-tracing-service-name", Kind::Text, "etcd", NO_TRACING),
    idle("experimental-distributed-tracing-service-name", Kind::Text, "etcd", NO_TRACING),
    idle("distributed-tracing-instance-id", Kind::Text, "", NO_TRACING),
    idle("experimental-distributed-tracing-instance-id", Kind::Text, "", NO_TRACING),
    idle("distributed-tracing-sampling-rate", Kind::Count, "0", NO_TRACING),
    idle("experimental-distributed-tracing-sampling-rate", Kind::Count, "0", NO_TRACING),
];

const AT_ONCE: &str = "the end of a downgrade is noticed at once";
const NO_TRACING: &str = "there is no distributed tracing yet";
