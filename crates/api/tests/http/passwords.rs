//! Passwords that wait to be checked, when somebody sends very many.

use std::{net::Shutdown, time::Duration};

use base::limits::PASSWORDS_OF_LANE_WAITING_MAX;
use serde_json::json;
use socket2::SockRef;

use crate::{
    member::Member,
    users::{ask, base64, log_in, member, prepare, v3},
    wire::Wire,
};

/// Gives users a password that is looked at for as long as bcrypt's cost says; nobody knows it.
fn make_costly(wire: &mut Wire, cost: u32, users: &[&str]) {
    let root = log_in(wire, "root");
    let costly = format!("$2a${cost:02}$N9qo8uLOickgx2ZMRZoMyeIjZAgcfl7p92ldGxad68LJZdL17lhWy");
    for name in users {
        let change = json!({ "name": name, "hashedPassword": base64(&costly) });
        assert_eq!(v3(wire, &root, "auth/user/changepw", &change).0, 200);
    }
}

/// Sends so many wrong passwords of a user, each over a connection of its own.
fn flood(member: &Member, user: &str, ids: impl IntoIterator<Item = usize>) -> Vec<Wire> {
    let send = |id: usize| {
        let mut wire = member.connect();
        let pair = base64(&format!("{user}:wrong {id}"));
        let head = "GET /v2/keys/b HTTP/1.1\r\nHost: x\r\nAuthorization: Basic";
        wire.send(format!("{head} {pair}\r\n\r\n"));
        wire
    };
    ids.into_iter().map(send).collect()
}

/// Without blocking: whether an answer, or part of it, has come.
fn is_answered(wire: &Wire) -> bool {
    wire.stream.set_nonblocking(true).unwrap();
    let come = wire.stream.peek(&mut [0]);
    wire.stream.set_nonblocking(false).unwrap();
    come.is_ok_and(|bytes| bytes > 0)
}

/// Threads for passwords are busy, and what one host may have waiting waits: nobody else waits behind it.
#[test]
fn a_flood_of_wrong_passwords_is_overtaken_by_everybody_else() {
    let member = member();
    let mut wire = member.connect();
    prepare(&mut wire);
    // Hers is looked at for the first time behind the flood; root's and alice's are known before.
    let body = json!({ "user": "new", "password": "newpw", "roles": ["some"] }).to_string();
    ask(&mut wire, "root:rootpw", "PUT", "/v2/auth/users/new", Some(&body)).expect(200);
    let token = log_in(&mut wire, "alice");
    ask(&mut wire, "alice:alicepw", "GET", "/v2/keys/b", None).expect(200);
    // Looking at one of these takes so long that the others are done long before the flood is.
    make_costly(&mut wire, 11, &["idle"]);

    let attackers = flood(&member, "idle", 0..PASSWORDS_OF_LANE_WAITING_MAX);
    ask(&mut wire, "alice:alicepw", "GET", "/v2/keys/b", None).expect(200);
    ask(&mut wire, "alice:alicepw", "PUT", "/v2/keys/a/x", Some("value=2")).expect(200);
    let range = json!({ "key": base64("/a/x") });
    assert_eq!(v3(&mut wire, &token, "kv/range", &range).0, 200);
    // Whose password was never looked at waits for those that are being looked at, not for those before it.
    ask(&mut wire, "new:newpw", "GET", "/v2/keys/b", None).expect(200);
    let login = log_in(&mut wire, "new");
    assert_eq!(v3(&mut wire, &login, "auth/user/get", &json!({ "name": "new" })).0, 200);
    // A thread each may have come to an end meanwhile, of the four that there are at most, and the next one.
    let answered = attackers.iter().filter(|attacker| is_answered(attacker)).count();
    assert!(answered <= 16, "{answered} of {} were served first", attackers.len());
}

#[test]
fn who_resets_his_connection_is_not_looked_at() {
    let member = member();
    let mut wire = member.connect();
    prepare(&mut wire);
    make_costly(&mut wire, 11, &["idle", "alice"]);
    let gone = flood(&member, "idle", 0..60);
    for wire in &gone {
        SockRef::from(&wire.stream).set_linger(Some(Duration::ZERO)).unwrap();
    }
    drop(gone);
    // The two have their turns one after the other.
    let others = flood(&member, "alice", 0..40);
    let mut last = flood(&member, "idle", [60]).remove(0);
    last.answer().expect(401);
    let answered = others.iter().filter(|other| is_answered(other)).count();
    assert!(answered <= 16, "{answered} of {} were served first", others.len());
}

/// He may have gone away, or be `nc -N`.
#[test]
fn who_has_closed_his_half_is_answered_but_makes_way_first() {
    let member = member();
    let mut wire = member.connect();
    prepare(&mut wire);
    let mut right = member.connect();
    let (head, pair) = ("GET /v2/keys/b HTTP/1.1\r\nHost: x\r\n", base64("alice:alicepw"));
    right.send(format!("{head}Authorization: Basic {pair}\r\n\r\n"));
    right.stream.shutdown(Shutdown::Write).unwrap();
    right.answer().expect(200);

    make_costly(&mut wire, 9, &["idle"]);
    let most = PASSWORDS_OF_LANE_WAITING_MAX;
    let mut listen = flood(&member, "idle", 0..16);
    let mut closed = flood(&member, "idle", 16..most);
    for wire in &closed {
        wire.stream.shutdown(Shutdown::Write).unwrap();
    }
    // What was asked before is seen before.
    ask(&mut wire, "root:rootpw", "GET", "/v2/keys/b", None).expect(200);
    listen.extend(flood(&member, "idle", most..most + 32));
    for wire in &mut listen {
        wire.answer().expect(401);
    }
    let statuses: Vec<u16> = closed.iter_mut().map(|wire| wire.answer().status).collect();
    assert!(statuses.iter().all(|status| [401, 503].contains(status)), "{statuses:?}");
    assert!(statuses.contains(&401) && statuses.contains(&503), "{statuses:?}");
}
