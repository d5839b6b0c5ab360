//! How a server ends: by the signal it got, soon, with what it had accepted.

use std::{
    io::{Read as _, Write as _},
    os::unix::process::ExitStatusExt as _,
    time::{Duration, Instant},
};

use nix::sys::signal::Signal;

use super::process::{ANY_PORTS, PATIENCE, Server, etcd};

/// A busy machine takes its time, but nobody may wait for the two seconds that running requests
/// are given.
const SOON: Duration = Duration::from_millis(1500);

#[test]
fn a_signal_ends_it_as_it_ends_the_original() {
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let mut server = Server::start(&[]);
        server.signal(signal);
        let status = server.wait(PATIENCE);
        // A shell shows 143 and 130, as with etcd 3.4.23.
        assert_eq!(status.signal(), Some(signal as i32), "{status}");
    }
}

#[test]
fn it_leaves_soon_though_watchers_wait() {
    let mut server = Server::start(&[]);
    let mut watches: Vec<_> =
        (0..50).map(|at| server.send("GET", &format!("/v2/keys/{at}?wait=true"), "")).collect();
    // All have been answered with headers: they are accepted and wait.
    for watch in &mut watches {
        let mut byte = [0];
        watch.read_exact(&mut byte).unwrap();
    }
    let since = Instant::now();
    server.signal(Signal::SIGTERM);
    server.wait(SOON);
    assert!(since.elapsed() < SOON, "{:?}", since.elapsed());
}

#[test]
fn a_request_that_was_accepted_is_finished() {
    let mut server = Server::start(&[]);
    let head = "PUT /v2/keys/late HTTP/1.1\r\nHost: x\r\nContent-Length: 7\r\n\
                Content-Type: application/x-www-form-urlencoded\r\n\r\nval";
    let mut stream = server.send("GET", "/version", "");
    let mut late = std::net::TcpStream::connect(server.address).unwrap();
    late.write_all(head.as_bytes()).unwrap();
    // The server has read the head by the time it has answered another connection.
    stream.read_to_end(&mut Vec::new()).unwrap();
    std::thread::sleep(Duration::from_millis(100));
    server.signal(Signal::SIGTERM);
    server.wait_for("shutting down...");
    // A server that did not wait would be gone by now.
    std::thread::sleep(Duration::from_millis(300));
    late.write_all(b"ue=1").unwrap();
    late.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut answer = String::new();
    late.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 201 "), "{answer}");
    assert_eq!(server.wait(PATIENCE).signal(), Some(Signal::SIGTERM as i32));
}

#[test]
fn a_second_signal_ends_it_at_once() {
    let mut server = Server::start(&[]);
    // A request that does not go on: an orderly end would wait for it.
    let mut late = std::net::TcpStream::connect(server.address).unwrap();
    late.write_all(b"PUT /v2/keys/late HTTP/1.1\r\nHost: x\r\nContent-Length: 7\r\n\r\nval")
        .unwrap();
    std::thread::sleep(Duration::from_millis(100));
    server.signal(Signal::SIGTERM);
    server.wait_for("shutting down...");
    let since = Instant::now();
    server.signal(Signal::SIGINT);
    assert_eq!(server.wait(PATIENCE).signal(), Some(Signal::SIGINT as i32));
    assert!(since.elapsed() < Duration::from_secs(1), "{:?}", since.elapsed());
}

#[test]
fn what_was_written_is_there_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let start = || Server::spawn(etcd(dir.path()).args(ANY_PORTS).arg("--data-dir=data"));
    let mut server = start();
    server.ask("PUT", "/v2/keys/message", "value=Hello");
    server.signal(Signal::SIGTERM);
    server.wait(PATIENCE);
    let server = start();
    let answer = server.ask("GET", "/v2/keys/message", "");
    assert!(answer.contains("\"value\":\"Hello\""), "{answer}");
}
