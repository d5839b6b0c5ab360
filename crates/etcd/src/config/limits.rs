//! What requests may be and take, and what history is kept.

use std::time::Duration;

use base::limits;
use server::{AutoCompaction, Timeouts};

use super::given::Given;

/// Above it etcd warns.
const REQUEST_BYTES_RECOMMENDED: u64 = 10 << 20;
/// A client that stops sending is not found out in less time than a packet may take.
pub(super) const KEEPALIVE_MIN: Duration = Duration::from_secs(1);

/// How long members wait for each other.
const RAFT_TIMEOUTS: [&str; 2] = ["raft-read-timeout", "raft-write-timeout"];

/// As in etcd, no less than five seconds.
pub(super) fn raft_timeouts(given: &Given) -> Timeouts {
    let [read, write] = RAFT_TIMEOUTS.map(|name| given.duration(name).max(Timeouts::MIN));
    Timeouts { read, write }
}

/// What is taken, but not as it was meant.
pub(super) fn warn(given: &mut Given) {
    for name in RAFT_TIMEOUTS {
        if given.duration(name) < Timeouts::MIN {
            let (shown, value) = (given.show(name), given.text(name).to_owned());
            given.warn(format!("{shown} {value} is increased to the minimum: {:?}", Timeouts::MIN));
        }
    }
    let bytes = given.count("max-request-bytes");
    let shown = given.show("max-request-bytes");
    if bytes > limits::REQUEST_BYTES_CEILING as u64 {
        given.warn(format!(
            "{shown} {bytes}: requests of up to {} bytes are taken, which is what an entry of the log \
             can hold",
            limits::REQUEST_BYTES_CEILING
        ));
    } else if bytes > REQUEST_BYTES_RECOMMENDED {
        given.warn(format!(
            "{shown} {bytes} exceeds the maximum recommended size, {REQUEST_BYTES_RECOMMENDED}: while \
             one member writes such a request, heartbeats wait"
        ));
    }
    let quota = given.number("quota-backend-bytes");
    if quota > 8 << 30 {
        let shown = given.show("quota-backend-bytes");
        given.warn(format!(
            "{shown} {quota} exceeds the maximum recommended size, {}: a member that joins is sent all \
             of it",
            8_u64 << 30
        ));
    }
}

pub(super) fn request_bytes_max(given: &Given) -> usize {
    let bytes = usize::try_from(given.count("max-request-bytes")).unwrap_or(usize::MAX);
    bytes.min(limits::REQUEST_BYTES_CEILING)
}

pub(super) fn grpc(given: &Given) -> api::Grpc {
    let default = api::Grpc::default();
    let count = |name| usize::try_from(given.count(name)).unwrap_or(usize::MAX);
    let streams = u32::try_from(given.count("max-concurrent-streams")).unwrap_or(u32::MAX);
    let is_given = given.is_set("max-concurrent-streams");
    // Go takes none for no bound.
    let streams = if streams == 0 { u32::MAX } else { streams };
    let interval = given.duration("grpc-keepalive-interval");
    api::Grpc {
        request_bytes_max: request_bytes_max(given),
        txn_ops_max: count("max-txn-ops"),
        streams_max: if is_given { streams } else { default.streams_max },
        keepalive_min_time: given.duration("grpc-keepalive-min-time"),
        keepalive_interval: if interval.is_zero() { interval } else { interval.max(KEEPALIVE_MIN) },
        keepalive_timeout: given.duration("grpc-keepalive-timeout"),
        progress_interval: given.duration("watch-progress-notify-interval"),
        request_expected: given.duration("warning-unary-request-duration"),
    }
}

/// `None`: nothing is given, and the leader goes by its own rule. The error is in etcd's words.
pub(super) fn auto_compaction(given: &Given) -> Result<Option<AutoCompaction>, String> {
    let (mode, retention) = ("auto-compaction-mode", "auto-compaction-retention");
    if !given.is_set(mode) && !given.is_set(retention) {
        return Ok(None);
    }
    let text = given.text(retention);
    let by_time = given.text(mode) == "periodic";
    let wrong = |advice: &str| {
        let shown = given.show(retention);
        format!("error parsing CompactionRetention: {shown} \"{text}\": {advice}")
    };
    let kept = match (text.parse::<u32>(), by_time) {
        (Ok(0), _) => AutoCompaction::Never,
        (Ok(hours), true) => AutoCompaction::Periodic(Duration::from_hours(hours.into())),
        (Ok(revisions), false) => AutoCompaction::Revision(revisions.into()),
        (Err(_), false) => {
            let revisions = text.parse::<i64>().ok().filter(|revisions| *revisions >= 0);
            let advice = "with --auto-compaction-mode=revision a number of revisions is needed";
            AutoCompaction::Revision(revisions.ok_or_else(|| wrong(advice))?)
        }
        (Err(_), true) => {
            let period = base::duration::parse(text);
            match period.map_err(|_| wrong("a number of hours, or a time like 30m, is needed"))? {
                Duration::ZERO => AutoCompaction::Never,
                period => AutoCompaction::Periodic(period),
            }
        }
    };
    Ok(Some(kept))
}
