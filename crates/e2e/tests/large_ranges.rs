//! A range over a million keys costs the member that sends it no more than 64 MB, however it is asked
//! for and however slowly its client reads.

use std::{
    fs,
    io::Read as _,
    process::{Command, Stdio},
    thread::sleep,
    time::Duration,
};

use e2e::{Connection, Member, Request, binaries, cluster::Cluster, eventually, run};

const KEYS: usize = 1_000_000;
const VALUE_BYTES: usize = 100;
/// Keys that are put in one transaction.
const PUTS: usize = 4_000;
const MORE_MAX: u64 = 64 << 20;
const PATIENCE: Duration = Duration::from_mins(2);

/// What the member has in memory now, and at most since it was asked to forget.
fn memory(member: &Member) -> (u64, u64) {
    let status = fs::read_to_string(format!("/proc/{}/status", member.pid())).expect("it runs");
    let field = |name: &str| {
        let line = status.lines().find(|line| line.starts_with(name)).expect("Linux tells it");
        let number = line.split_whitespace().nth(1).expect("a number");
        number.parse::<u64>().expect("a number") * 1024
    };
    (field("VmRSS:"), field("VmHWM:"))
}

fn forget_peak(member: &Member) {
    fs::write(format!("/proc/{}/clear_refs", member.pid()), "5").expect("it is ours");
}

/// In base64, for the gateway.
fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for three in bytes.chunks(3) {
        let bits = three.iter().fold(0, |bits, byte| bits << 8 | u32::from(*byte));
        let bits = bits << (8 * (3 - three.len()));
        for at in 0..4 {
            let letter = char::from(LETTERS[(bits >> (18 - 6 * at)) as usize & 63]);
            text.push(if at <= three.len() { letter } else { '=' });
        }
    }
    text
}

fn load(member: &Member) {
    let value = base64(&[b'v'; VALUE_BYTES]);
    let mut connection = member.connect();
    connection.set_patience(PATIENCE);
    for first in (0..KEYS).step_by(PUTS) {
        let puts = (first..first + PUTS).map(|at| {
            let key = base64(format!("k{at:07}").as_bytes());
            format!("{{\"requestPut\":{{\"key\":\"{key}\",\"value\":\"{value}\"}}}}")
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
    let body = format!("{{\"key\":\"{}\",\"range_end\":\"{}\"}}", base64(b"k"), base64(b"l"));
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
        let look = || members.iter().map(|member| memory(member).0).collect::<Vec<_>>();
        eventually(PATIENCE, "the members come to rest", || {
            let before = look();
            sleep(Duration::from_secs(2));
            let after = look();
            let is_still = |(one, other): (&u64, &u64)| one.abs_diff(*other) < 1 << 20;
            before.iter().zip(&after).all(is_still).then_some(after)
        })
    };
    let serving = (leader + 1) % 3;
    let ways: [(&str, Way<'_>); 4] = [
        ("gRPC", &|member| {
            let arguments = ["get", "k", "--prefix", "--print-value-only"];
            lines_read_slowly(etcdctl(member, &arguments))
        }),
        ("gRPC, descending", &|member| {
            let arguments = ["get", "k", "--prefix", "--print-value-only", "--order=DESCEND"];
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
        cluster.members.iter().for_each(forget_peak);
        assert_eq!(ask(&cluster.members[serving]), KEYS, "{how}");
        let peaks = cluster.members.iter().map(|member| memory(member).1);
        let more: Vec<_> =
            peaks.zip(&before).map(|(peak, before)| peak.saturating_sub(*before)).collect();
        let mebibytes: Vec<_> = more.iter().map(|bytes| bytes >> 20).collect();
        println!("{how}: {mebibytes:?} MiB more than {before:?}");
        assert!(more[serving] <= MORE_MAX, "{how}: {mebibytes:?} MiB; member {serving} has sent");
    }
}
