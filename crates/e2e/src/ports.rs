//! Ports that nobody else uses, found without a race between the tests of one run.

use std::{
    net::TcpListener,
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
        let port = u16::try_from(port).expect("the range ends below 32768");
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}
