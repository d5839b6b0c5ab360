//! A fourth member that comes and goes while clients ask for anything.

use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    thread::sleep,
    time::{Duration, Instant},
};

use e2e::{Member, Request, Start, cluster, ports};
use serde_json::{Value, json};

/// A change of the members is refused while some are out of touch, and while alarms are raised.
const AGAIN: Duration = Duration::from_millis(500);
const PATIENCE: Duration = Duration::from_mins(2);

/// How often one has come and gone in this time is counted.
pub(crate) fn while_time(until: Instant, founders: &[Member], changes: &AtomicU64) {
    let mut number = 0;
    while Instant::now() < until {
        number += 1;
        if come_and_go(founders, number) {
            changes.fetch_add(1, Relaxed);
        }
        sleep(AGAIN);
    }
}

fn come_and_go(founders: &[Member], number: usize) -> bool {
    let peer_url = format!("http://127.0.0.1:{}", ports::free());
    let body = json!({"peerURLs": [peer_url]});
    let Some(added) = ask(founders, number, "member/add", &body) else { return false };
    let id = added["member"]["ID"].clone();
    let mut fourth = start(&format!("fourth{number}"), &peer_url, &added["members"]);
    fourth.wait_until_ready();
    sleep(Duration::from_secs(2));
    assert!(!fourth.has_ended(), "the fourth has died:\n{}", fourth.log().text());
    fourth.allow("permanently removed");
    let body = json!({"ID": id});
    let deadline = Instant::now() + PATIENCE;
    let mut turn = number;
    while ask(founders, turn, "member/remove", &body).is_none() && !fourth.has_ended() {
        assert!(Instant::now() < deadline, "it cannot be removed");
        turn += 1;
        sleep(AGAIN);
    }
    let ended = fourth.reap(PATIENCE);
    assert!(ended.success(), "{ended}:\n{}", fourth.log().text());
    true
}

/// `None`: it is refused.
fn ask(founders: &[Member], turn: usize, what: &str, body: &Value) -> Option<Value> {
    let path = format!("/v3/cluster/{what}");
    let answer =
        founders[turn % founders.len()].ask(&Request::json("POST", &path, &body.to_string()));
    (answer.status == 200).then(|| answer.json())
}

/// Starts a member that was added, whose name nobody knows yet.
fn start(name: &str, peer_url: &str, members: &Value) -> Member {
    let of = |member: &Value| {
        let name = member["name"].as_str().filter(|known| !known.is_empty()).unwrap_or(name);
        Some(format!("{name}={}", member["peerURLs"][0].as_str()?))
    };
    let rows: Vec<_> = members.as_array().into_iter().flatten().filter_map(of).collect();
    let client = ports::free();
    let url = format!("http://127.0.0.1:{client}");
    let start = Start::new().bare().client_port(client).peer_url(peer_url);
    let mut member = [
        ("name", name),
        ("listen-client-urls", &url),
        ("advertise-client-urls", &url),
        ("listen-peer-urls", peer_url),
        ("initial-advertise-peer-urls", peer_url),
        ("initial-cluster", &rows.join(",")),
        ("initial-cluster-state", "existing"),
        ("initial-cluster-token", "e2e"),
    ]
    .iter()
    .fold(start, |start, (name, value)| start.flag(&format!("--{name}={value}")))
    .spawn();
    for complaint in cluster::COMPLAINTS.iter().chain(&super::COMPLAINTS) {
        member.allow(complaint);
    }
    member
}
