//! A snapshot that a client takes costs its member no more than 64 MB, however large it is and however
//! slowly its client reads.

use std::{thread::sleep, time::Duration};

use e2e::{Connection, Member, Request, binaries, memory, run, v3};

const VALUES: usize = 300;
const VALUE_BYTES: usize = 1 << 20;
const MORE_MAX: u64 = 64 << 20;
const PATIENCE: Duration = Duration::from_mins(2);

fn load(member: &Member) {
    let value = v3::bytes(vec![b'v'; VALUE_BYTES]);
    let mut connection = member.connect();
    connection.set_patience(PATIENCE);
    for at in 0..VALUES {
        let key = v3::bytes(format!("k{at:03}"));
        let body = format!("{{\"key\":{key},\"value\":{value}}}");
        let answer = connection.ask(&Request::json("POST", "/v3/kv/put", &body));
        assert_eq!(answer.expect("it answers").status, 200);
    }
}

/// Bytes of a snapshot that comes through the gateway, read slowly.
fn read_slowly(member: &Member) -> usize {
    let mut connection = Connection::open(member.address()).expect("it listens");
    connection.set_patience(PATIENCE);
    let request = Request::json("POST", "/v3/maintenance/snapshot", "{}");
    connection.send(&request).expect("it takes it");
    let head = connection.receive_head().expect("it answers");
    assert_eq!(head.status, 200);
    let mut bytes = 0;
    while let Some(chunk) = connection.receive_chunk().expect("it goes on") {
        bytes += chunk.len();
        sleep(Duration::from_millis(1));
    }
    bytes
}

#[test]
fn a_snapshot_costs_its_member_little() {
    let member = Member::start();
    load(&member);
    let dir = tempfile::tempdir().expect("/tmp can be written");
    let saved = dir.path().join("saved");
    let save = || {
        let mut command = run::etcdctl_v3(&binaries::etcdctl(), &member.url());
        let ran = run::run(command.args(["snapshot", "save"]).arg(&saved), "");
        assert_eq!(ran.exit, Some(0), "{ran:?}");
        let length = std::fs::metadata(&saved).expect("it is there").len();
        usize::try_from(length).expect("it fits")
    };
    let slowly = || read_slowly(&member);
    let ways: [(&str, &dyn Fn() -> usize); 2] = [("gRPC", &save), ("gateway, slowly", &slowly)];
    for (way, take) in ways {
        let before = memory::at_rest(member.pid());
        memory::forget_peak(member.pid());
        let bytes = take();
        let more = memory::peak(member.pid()).saturating_sub(before);
        println!("{way}: {bytes} bytes, {} KiB more than {} KiB", more >> 10, before >> 10);
        assert!(bytes > VALUES * VALUE_BYTES, "{way}: {bytes} bytes");
        assert!(more < MORE_MAX, "{way}: {} KiB more", more >> 10);
    }
}
