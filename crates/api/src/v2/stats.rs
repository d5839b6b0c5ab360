//! `/v2/stats`: what this member has done.

use std::{sync::atomic::Ordering::Relaxed, time::Duration};

use http::{Method, StatusCode};
use peer::{PeerStatus, Peers};
use server::AppendFigures;

use super::json;
use crate::{
    context::Context,
    reply::{self, Reply},
};

/// `/v2/stats/store`.
pub(crate) fn of_store(context: &Context, method: &Method) -> Reply {
    if *method != Method::GET {
        return reply::method_not_allowed("GET");
    }
    let reader = context.handle.reader();
    let stats = reader.key_stats();
    let counters = [
        ("getsSuccess", &stats.gets_success),
        ("getsFail", &stats.gets_fail),
        ("setsSuccess", &stats.sets_success),
        ("setsFail", &stats.sets_fail),
        ("deleteSuccess", &stats.delete_success),
        ("deleteFail", &stats.delete_fail),
        ("updateSuccess", &stats.update_success),
        ("updateFail", &stats.update_fail),
        ("createSuccess", &stats.create_success),
        ("createFail", &stats.create_fail),
        ("compareAndSwapSuccess", &stats.compare_and_swap_success),
        ("compareAndSwapFail", &stats.compare_and_swap_fail),
        ("compareAndDeleteSuccess", &stats.compare_and_delete_success),
        ("compareAndDeleteFail", &stats.compare_and_delete_fail),
        ("expireCount", &stats.expire_count),
    ];
    let mut body = String::from("{");
    for (name, counter) in counters {
        let count = counter.load(Relaxed);
        body.push_str(&format!("\"{name}\":{count},"));
    }
    let [watchers, _] = reader.store().watchers_by_interest();
    body.push_str(&format!("\"watchers\":{watchers}}}"));
    reply::json(StatusCode::OK, body)
}

/// `/v2/stats/self`.
pub(crate) fn of_self(context: &Context, method: &Method) -> Reply {
    if *method != Method::GET {
        return reply::method_not_allowed("GET");
    }
    let handle = &context.handle;
    let status = handle.status();
    // As in 2.3.8, which never says here that a member is a candidate: `/debug/vars` does.
    let state = if status.is_leader { "StateLeader" } else { "StateFollower" };
    let leader = status.leader.map(|id| id.to_string()).unwrap_or_default();
    let since = status.leader_since.unwrap_or(handle.started_at());
    let uptime = go_duration(since.until(handle.clock().wall()));
    let mut body = Vec::from(*b"{\"name\":");
    json::write_string(&mut body, handle.name().as_bytes());
    let id = handle.member_id();
    body.extend_from_slice(format!(",\"id\":\"{id}\",\"state\":\"{state}\"").as_bytes());
    body.extend_from_slice(b",\"startTime\":\"");
    json::write_time(&mut body, handle.started_at());
    let info = format!("\",\"leaderInfo\":{{\"leader\":\"{leader}\",\"uptime\":\"{uptime}\"");
    body.extend_from_slice(info.as_bytes());
    body.extend_from_slice(b",\"startTime\":\"");
    json::write_time(&mut body, since);
    body.extend_from_slice(b"\"}");
    let (sent, received) = handle.appends();
    for (way, figures) in [("recv", received), ("send", sent)] {
        body.extend_from_slice(appends(way, figures).as_bytes());
    }
    body.push(b'}');
    reply::json(StatusCode::OK, String::from_utf8_lossy(&body).into_owned())
}

/// How often entries go one way; a rate of nothing is left out.
fn appends(way: &str, figures: AppendFigures) -> String {
    let AppendFigures { count, per_second, bytes_per_second } = figures;
    let mut text = format!(",\"{way}AppendRequestCnt\":{count}");
    for (what, rate) in [("Pkg", per_second), ("Bandwidth", bytes_per_second)] {
        if rate > 0.0 {
            text.push_str(&format!(",\"{way}{what}Rate\":{rate}"));
        }
    }
    text
}

/// `/v2/stats/leader`: the followers' latencies, in milliseconds there and back.
pub(crate) fn of_leader(context: &Context, method: &Method) -> Reply {
    if *method != Method::GET {
        return reply::method_not_allowed("GET");
    }
    if !context.handle.status().is_leader {
        return reply::message(StatusCode::FORBIDDEN, "not current leader");
    }
    let id = context.handle.member_id();
    let peers = context.handle.peers().map(Peers::status).unwrap_or_default();
    let followers: Vec<String> = peers.iter().map(follower).collect();
    let followers = followers.join(",");
    reply::json(StatusCode::OK, format!("{{\"leader\":\"{id}\",\"followers\":{{{followers}}}}}"))
}

fn follower(peer: &PeerStatus) -> String {
    let trips = &peer.round_trips;
    let millis = |duration: Duration| duration.as_secs_f64() * 1_000.0;
    #[allow(clippy::cast_precision_loss, reason = "an average of fewer than 2^52 trips")]
    let count = trips.count.max(1) as f64;
    let average = millis(trips.sum) / count;
    let variance = trips.sum_of_squares * 1e6 / count - average * average;
    format!(
        "\"{id}\":{{\"latency\":{{\"current\":{current},\"average\":{average},\
         \"standardDeviation\":{deviation},\"minimum\":{minimum},\"maximum\":{maximum}}},\
         \"counts\":{{\"fail\":{fail},\"success\":{success}}}}}",
        id = peer.id,
        current = millis(trips.last),
        deviation = variance.max(0.0).sqrt(),
        minimum = millis(trips.least),
        maximum = millis(trips.most),
        fail = peer.failed,
        success = peer.sent,
    )
}

/// A duration as Go prints it: `1h2m3.5s`, `4.2ms`, `7µs`.
fn go_duration(duration: Duration) -> String {
    let nanos = duration.as_nanos();
    let decimals = |whole: u128, rest: u128, digits: usize, unit: &str| {
        let rest = format!("{rest:0digits$}");
        let rest = rest.trim_end_matches('0');
        let point = if rest.is_empty() { "" } else { "." };
        format!("{whole}{point}{rest}{unit}")
    };
    match nanos {
        0 => "0s".to_owned(),
        1..1_000 => format!("{nanos}ns"),
        1_000..1_000_000 => decimals(nanos / 1_000, nanos % 1_000, 3, "µs"),
        1_000_000..1_000_000_000 => decimals(nanos / 1_000_000, nanos % 1_000_000, 6, "ms"),
        _ => {
            let seconds = nanos / 1_000_000_000;
            let tail = decimals(seconds % 60, nanos % 1_000_000_000, 9, "s");
            match (seconds / 3600, seconds / 60 % 60) {
                (0, 0) => tail,
                (0, minutes) => format!("{minutes}m{tail}"),
                (hours, minutes) => format!("{hours}h{minutes}m{tail}"),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_printed_as_go_does() {
        let check = |nanos: u64, expected: &str| {
            assert_eq!(go_duration(Duration::from_nanos(nanos)), expected);
        };
        check(0, "0s");
        check(999, "999ns");
        check(7_000, "7µs");
        check(4_200_000, "4.2ms");
        check(1_000_000_000, "1s");
        check(3_723_500_000_000, "1h2m3.5s");
        check(60_000_000_001, "1m0.000000001s");
    }
}
