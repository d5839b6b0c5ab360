//! Whoever asks for signs of life too often is sent away, as grpc-go does it.

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    time::Duration,
};

use crate::member::Member;

const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;

/// A connection of which each frame is seen.
struct Wire(TcpStream);

impl Wire {
    fn connect(member: &Member) -> Self {
        let mut tcp = TcpStream::connect(member.address).unwrap();
        tcp.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        tcp.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").unwrap();
        let mut wire = Self(tcp);
        wire.send(SETTINGS, b"");
        wire
    }

    fn send(&mut self, kind: u8, body: &[u8]) {
        let length = u32::try_from(body.len()).unwrap().to_be_bytes();
        let head = [length[1], length[2], length[3], kind, 0, 0, 0, 0, 0];
        self.0.write_all(&[&head, body].concat()).unwrap();
    }

    /// The next frame's kind and body; `None` at the end.
    fn next(&mut self) -> Option<(u8, Vec<u8>)> {
        let mut head = [0; 9];
        self.0.read_exact(&mut head).ok()?;
        let mut body = vec![0; u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize];
        self.0.read_exact(&mut body).ok()?;
        Some((head[3], body))
    }

    /// The next frame of this kind; of others there may be some before.
    fn next_of(&mut self, kind: u8) -> Option<Vec<u8>> {
        loop {
            let (next, body) = self.next()?;
            if next == kind {
                return Some(body);
            }
        }
    }
}

#[test]
fn the_fourth_ping_that_comes_too_early_is_the_last() {
    let member = Member::start();
    let mut wire = Wire::connect(&member);
    for at in 0..3 {
        wire.send(PING, &[at; 8]);
        assert_eq!(wire.next_of(PING).unwrap(), [at; 8]);
    }
    wire.send(PING, &[9; 8]);
    let goodbye = wire.next_of(GOAWAY).expect("it says why");
    // Error 11 is ENHANCE_YOUR_CALM, and the word is what clients of Go look for.
    assert_eq!(goodbye[4..8], [0, 0, 0, 11]);
    assert_eq!(&goodbye[8..], b"too_many_pings");
    assert_eq!(wire.next(), None);
    // Others are served.
    let mut other = Wire::connect(&member);
    other.send(PING, &[1; 8]);
    assert_eq!(other.next_of(PING).unwrap(), [1; 8]);
}

#[test]
fn without_a_least_time_a_client_may_ask_as_often_as_it_likes() {
    let config = api::Config {
        grpc: api::Grpc { keepalive_min_time: Duration::ZERO, ..api::Grpc::default() },
        ..api::Config::default()
    };
    let member = Member::start_with(config);
    let mut wire = Wire::connect(&member);
    for at in 0..20 {
        wire.send(PING, &[at; 8]);
        assert_eq!(wire.next_of(PING).unwrap(), [at; 8]);
    }
}
