//! A range over a million keys costs the member that sends it no more than 64 MB, however it is asked
//! for and however slowly its client reads.

use std::{
    io::Read as _,
    process::{Command, Stdio},
    thread::sleep,
    time::Duration,
};

use e2e::{Connection, Member, Request, binaries, cluster::Cluster, eventually, memory, run, v3};
use serde_json::json;

const KEYS: usize = 1_000_000;
const VALUE_BYTES: usize = 100;
/// Keys that are put in one transaction.
const PUTS: usize = 4_000;
const MORE_MAX: u64 = 64 << 20;
const PATIENCE: Duration = Duration::from_mins(2);

fn load(member: &Member) {
    let value = v3::bytes([b'v'; VALUE_BYTES]);
    let mut connection = member.connect();
    connection.set_patience(PATIENCE);
    for first in (0..KEYS).step_by(PUTS) {
        let puts = (first..first + PUTS).map(|at| {
            let key = v3::bytes(format!("k{at:07}"));
            format!("{{\"requestPut\":{{\"key\":{key},\"value\":{value}}}}}")
        });
        let puts = puts.collect::<Vec<_>>().join(",");
        let request = Request::json("POST", "/v3/kv/txn", &format!("{{\"success\":[{puts}]}}"));
        let answer = connection.ask(&request).expect("it answers");
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
}

fn etcdctl(member: &Member, arguments: &[&str]) -> Command {
    let mut command = run::etcdctl_v3(&binaries::etcdctl(), &member.url());
    command.args(["--command-timeout=10m"]).args(arguments);
    command
}

/// Asks a member for all, and counts what comes.
type Way<'a> = &'a dyn Fn(&Member) -> usize;

/// Lines that a reader gets who reads slowly.
fn lines_read_slowly(mut command: Command) -> usize {
    let mut child = command.stdout(Stdio::piped()).spawn().expect("etcdctl starts");
    let mut stdout = child.stdout.take().expect("it is piped");
    let (mut lines, mut part) = (0, vec![0; 1 << 20]);
    loop {
        match stdout.read(&mut part).expect("a pipe can be read") {
            0 => break,
            length => lines += part[..length].split(|byte| *byte == b'\n').count() - 1,
        }
        sleep(Duration::from_millis(1));
    }
    assert!(child.wait().expect("it ends").success());
    lines
}

/// Pairs that come through the gateway, read slowly.
fn pairs_of_the_gateway(member: &Member) -> usize {
    let body = json!({"key": v3::bytes("k"), "range_end": v3::bytes("l")}).to_string();
    let mut connection = Connection::open(member.address()).expect("it listens");
    connection.set_patience(PATIENCE);
    connection.send(&Request::json("POST", "/v3/kv/range", &body)).expect("it takes it");
    let head = connection.receive_head().expect("it answers");
    assert_eq!(head.status, 200);
    let mut text = Vec::new();
    let mut pairs = 0;
    while let Some(chunk) = connection.receive_chunk().expect("it goes on") {
        text.extend_from_slice(&chunk);
        let count = |text: &[u8]| text.windows(7).filter(|part| *part == b"\"value\"").count();
        // What may be cut off stays for the next time.
        let kept = text.len().saturating_sub(6);
        pairs += count(&text);
        text.drain(..kept);
        sleep(Duration::from_millis(1));
    }
    let end = String::from_utf8_lossy(&text).into_owned();
    assert!(end.ends_with('}'), "{end}");
    pairs
}

#[test]
fn a_range_over_a_million_keys_costs_its_member_little() {
    let mut cluster = Cluster::start_with(3, &["--max-txn-ops=10000"]);
    let leader = cluster.leader();
    load(&cluster.members[leader]);
    let count = |member: &Member| {
        let ran = run::run(
            &mut etcdctl(member, &["get", "k", "--prefix", "--count-only", "-w=fields"]),
            "",
        );
        ran.stdout.contains(&format!("\"Count\" : {KEYS}\n"))
    };
    for member in &cluster.members {
        eventually(PATIENCE, "all is there", || count(member).then_some(()));
    }
    // What is to be flushed has been: nothing else grows meanwhile.
    let at_rest = |members: &[Member]| {
        let look =
            || members.iter().map(|member| memory::resident(member.pid())).collect::<Vec<_>>();
        eventually(PATIENCE, "the members come to rest", || {
            let before = look();
            sleep(Duration::from_secs(2));
            let after = look();
            let is_still = |(one, other): (&u64, &u64)| one.abs_diff(*other) < 1 << 20;
            before.iter().zip(&after).all(is_still).then_some(after)
        })
    };
    let serving = (leader + 1) % 3;
    let ways: [(&str, Way<'_>); 5] = [
        ("gRPC", &|member| {
            let arguments = ["get", "k", "--prefix", "--print-value-only"];
            lines_read_slowly(etcdctl(member, &arguments))
        }),
        ("gRPC, descending", &|member| {
            let arguments = ["get", "k", "--prefix", "--print-value-only", "--order=DESCEND"];
            lines_read_slowly(etcdctl(member, &arguments))
        }),
        ("gRPC, filtered", &|member| {
            let arguments = ["get", "k", "--prefix", "--print-value-only", "--min-create-rev=2"];
            lines_read_slowly(etcdctl(member, &arguments))
        }),
        ("gRPC in messages", &|member| {
            let arguments = ["get", "k", "--prefix", "--print-value-only", "--stream"];
            lines_read_slowly(etcdctl(member, &arguments))
        }),
        ("the gateway", &pairs_of_the_gateway),
    ];
    for (how, ask) in ways {
        let before = at_rest(&cluster.members);
        cluster.members.iter().for_each(|member| memory::forget_peak(member.pid()));
        assert_eq!(ask(&cluster.members[serving]), KEYS, "{how}");
        let peaks = cluster.members.iter().map(|member| memory::peak(member.pid()));
        let more: Vec<_> =
            peaks.zip(&before).map(|(peak, before)| peak.saturating_sub(*before)).collect();
        let mebibytes: Vec<_> = more.iter().map(|bytes| bytes >> 20).collect();
        println!("{how}: {mebibytes:?} MiB more than {before:?}");
        assert!(more[serving] <= MORE_MAX, "{how}: {mebibytes:?} MiB; member {serving} has sent");
    }
}
