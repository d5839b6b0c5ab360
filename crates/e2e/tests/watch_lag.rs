//! A watch whose client does not read holds nobody up, costs little memory, and hears of everything in
//! the end.

use std::time::Duration;

use base64::Engine as _;
use e2e::{Connection, Member, Request, memory};
use serde_json::Value;

const PATIENCE: Duration = Duration::from_mins(1);
const CHANGES: usize = 1_500;
/// All changes together are more than buffers on the way can hold.
const VALUE_BYTES: usize = 12_000;
const MORE_MAX: u64 = 64 << 20;
/// Watches of keys of their own, and what happens to each: without a bound in bytes 64 changes would
/// wait for each watch, 200 MB together.
const OWN: usize = 12;
const OWN_CHANGES: usize = 100;
const OWN_VALUE_BYTES: usize = 256 << 10;

/// A stream of watches through the gateway.
struct Watch {
    connection: Connection,
    /// What has come of a line that is not whole.
    part: Vec<u8>,
}

impl Watch {
    /// Watches all keys that begin with `k`, from that revision on.
    fn open(member: &Member, revision: i64) -> Self {
        Self::of(member, ("aw==", "bA=="), revision)
    }

    /// Watches a range.
    fn of(member: &Member, (key, range_end): (&str, &str), revision: i64) -> Self {
        let mut connection = member.connect();
        connection.set_patience(PATIENCE);
        let create = format!(
            "{{\"create_request\":{{\"key\":\"{key}\",\"range_end\":\"{range_end}\",\
             \"start_revision\":\"{revision}\"}}}}"
        );
        connection.send(&Request::json("POST", "/v3/watch", &create)).expect("it takes it");
        assert_eq!(connection.receive_head().expect("it answers").status, 200);
        let mut watch = Self { connection, part: Vec::new() };
        assert_eq!(watch.next()["result"]["created"], true);
        watch
    }

    fn next(&mut self) -> Value {
        loop {
            if let Some(end) = self.part.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.part.drain(..=end).collect();
                return serde_json::from_slice(&line).expect("a line is JSON");
            }
            let chunk = self.connection.receive_chunk().expect("it goes on").expect("and on");
            self.part.extend_from_slice(&chunk);
        }
    }

    /// The revisions of so many events, each of which has one.
    fn revisions(&mut self, count: usize) -> Vec<i64> {
        let mut revisions = Vec::new();
        while revisions.len() < count {
            let answer = self.next();
            let events = answer["result"]["events"].as_array().cloned().unwrap_or_default();
            revisions.extend(events.iter().map(|event| {
                let revision = event["kv"]["mod_revision"].as_str().expect("it has one");
                revision.parse::<i64>().expect("a number")
            }));
        }
        revisions
    }
}

fn put_all(member: &Member) {
    let value = "dmFs".repeat(VALUE_BYTES / 3);
    let mut connection = member.connect();
    connection.set_patience(PATIENCE);
    for at in 0..CHANGES {
        // `k0` to `k9`.
        let key = ["azA=", "azE=", "azI=", "azM=", "azQ=", "azU=", "azY=", "azc=", "azg=", "azk="];
        let put = format!("{{\"key\":\"{}\",\"value\":\"{value}\"}}", key[at % key.len()]);
        let answer =
            connection.ask(&Request::json("POST", "/v3/kv/put", &put)).expect("it goes on");
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
}

#[test]
fn a_client_that_does_not_read_holds_up_neither_writes_nor_other_watches() {
    let member = Member::start();
    let mut stalled: Vec<_> = (0..20).map(|_| Watch::open(&member, 0)).collect();
    let mut reading = Watch::open(&member, 0);
    let told = std::thread::scope(|scope| {
        let told = scope.spawn(|| reading.revisions(CHANGES));
        put_all(&member);
        told.join().expect("it hears of all")
    });
    let expected: Vec<_> = (2..).take(CHANGES).collect();
    assert_eq!(told, expected);
    // Those who stood hear of the same, in order, from history.
    for watch in &mut stalled[..3] {
        assert_eq!(watch.revisions(CHANGES), expected);
    }
    // As does one who comes now.
    assert_eq!(Watch::open(&member, 2).revisions(CHANGES), expected);
}

#[test]
fn what_waits_for_watches_that_stand_is_little_however_large_it_is() {
    let member = Member::start();
    let names: Vec<_> = (0..OWN).map(|at| format!("own{at:02}")).collect();
    let encode = |name: &str| base64::prelude::BASE64_STANDARD.encode(name);
    let mut stalled: Vec<_> =
        names.iter().map(|name| Watch::of(&member, (&encode(name), ""), 0)).collect();
    let value = "dmFs".repeat(OWN_VALUE_BYTES / 3);
    let mut connection = member.connect();
    connection.set_patience(PATIENCE);
    for _ in 0..OWN_CHANGES {
        for name in &names {
            let put = format!("{{\"key\":\"{}\",\"value\":\"{value}\"}}", encode(name));
            let put = Request::json("POST", "/v3/kv/put", &put);
            assert_eq!(connection.ask(&put).expect("it goes on").status, 200);
        }
    }
    let with = memory::at_rest(member.pid());
    // One of them hears of all in the end; the others go.
    let last = stalled.pop().map(|mut watch| watch.revisions(OWN_CHANGES));
    let own = i64::try_from(OWN).expect("few");
    let expected = (1..).map(|round| own * round + 1).take(OWN_CHANGES).collect::<Vec<_>>();
    assert_eq!(last, Some(expected));
    drop(stalled);
    let without = memory::at_rest(member.pid());
    let held = with.saturating_sub(without);
    println!("{} MiB with them, {} MiB without", with >> 20, without >> 20);
    assert!(held < MORE_MAX, "{} MiB are held for {OWN} watches", held >> 20);
}
