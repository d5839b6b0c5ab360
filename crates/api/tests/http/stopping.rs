//! The end: what runs is finished, what waits is told, nobody is kept.

use std::{
    net::TcpStream,
    time::{Duration, Instant},
};

use crate::{
    member::Member,
    wire::{FORM, Wire, request},
};

/// Until both listeners have returned.
fn stop(member: &mut Member) -> Duration {
    let began = Instant::now();
    member.stop.send(true).unwrap();
    let served = std::mem::take(&mut member.served);
    member.runtime.block_on(async {
        for one in served {
            one.await.expect("no panic");
        }
    });
    began.elapsed()
}

#[test]
fn idle_connections_and_watches_end_at_once_and_in_order() {
    let mut member = Member::start();
    let mut idle = member.connect();
    idle.ask("GET", "/v2/keys/", None).expect(200);
    let mut fresh = member.connect();
    let mut polls: Vec<Wire> = (0..20)
        .map(|at| {
            let mut poll = member.connect();
            let stream = if at % 2 == 0 { "&stream=true" } else { "" };
            poll.send(request("GET", &format!("/v2/keys/a?wait=true{stream}"), None));
            assert_eq!(poll.head().status, 200);
            poll
        })
        .collect();
    let took = stop(&mut member);
    assert!(took < Duration::from_millis(500), "it took {took:?}");
    for poll in &mut polls {
        assert_eq!(poll.chunk().unwrap(), None, "an empty body, ended in order");
        assert!(poll.is_at_end());
    }
    assert!(idle.is_at_end());
    assert!(fresh.is_at_end());
    TcpStream::connect(member.address).expect_err("nobody listens any more");
    TcpStream::connect(member.peers).expect_err("nobody listens any more");
}

#[test]
fn a_request_that_runs_is_finished() {
    let mut member = Member::start();
    let mut wire = member.connect();
    wire.send(format!("PUT /v2/keys/a HTTP/1.1\r\nHost: x\r\n{FORM}Content-Length: 7\r\n\r\nval"));
    // It runs once its head was read.
    std::thread::sleep(Duration::from_millis(50));
    let sender = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(200));
        wire.send("ue=x");
        let answer = wire.answer();
        (answer, wire.is_at_end())
    });
    let took = stop(&mut member);
    assert!(took < Duration::from_secs(1), "it took {took:?}");
    let (answer, is_at_end) = sender.join().unwrap();
    assert_eq!(answer.expect(201).json()["node"]["value"], "x");
    assert!(is_at_end);
}

#[test]
fn who_does_not_finish_is_not_waited_for() {
    let mut member = Member::start();
    let mut wire = member.connect();
    wire.send(format!("PUT /v2/keys/a HTTP/1.1\r\nHost: x\r\n{FORM}Content-Length: 7\r\n\r\nval"));
    std::thread::sleep(Duration::from_millis(50));
    let took = stop(&mut member);
    assert!(took < Duration::from_secs(3), "it took {took:?}");
}
