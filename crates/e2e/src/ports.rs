//! Ports that nobody else uses, found without a race between the tests of one run.

use std::{
    fs,
    sync::atomic::{AtomicU32, Ordering},
};

/// Below Linux's ephemeral range (32768 on), or an outgoing connection may take the port between
/// our look and the server's bind.
const FIRST: u32 = 10_000;
const COUNT: u32 = 22_000;

/// A free port on 127.0.0.1. Two calls never give the same one soon after each other.
pub fn free() -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    // Test processes run side by side: each begins at a place of its own.
    let start = std::process::id() % COUNT * 251;
    loop {
        let step = NEXT.fetch_add(1, Ordering::Relaxed);
        let port = FIRST + (start + step) % COUNT;
        if !is_taken(port) {
            return u16::try_from(port).expect("the range ends below 32768");
        }
    }
}

/// Whether a socket has the port, on any address.
///
/// Nothing is bound to find out: a process that another test starts meanwhile would have the socket too,
/// from its fork to its exec, and the server that the port is for would find it in use.
fn is_taken(port: u32) -> bool {
    let local = format!(":{port:04X}");
    ["/proc/net/tcp", "/proc/net/tcp6"].iter().any(|table| {
        // Without IPv6 there is no second table.
        let sockets = fs::read_to_string(table).unwrap_or_default();
        let mut rows = sockets.lines().skip(1);
        rows.any(|row| row.split_whitespace().nth(1).is_some_and(|at| at.ends_with(&local)))
    })
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn a_port_that_somebody_has_is_taken() {
        let four = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let port = u32::from(four.local_addr().expect("it is bound").port());
        assert!(is_taken(port));
        assert!(!is_taken(0x1_0000 + port), "there is none so high");
    }
}
