//! Ports that nobody else uses, found without a race between the tests of one run.

use std::{
    net::TcpListener,
    sync::atomic::{AtomicU16, Ordering},
};

/// Below Linux's ephemeral range (32768 on), or an outgoing connection may take the port between
/// our look and the server's bind.
const FIRST: u16 = 10_000;
const COUNT: u16 = 22_000;

/// A free port on 127.0.0.1. Two calls never give the same one soon after each other.
pub fn free() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    // Test processes run side by side: each begins at a place of its own.
    let start = (std::process::id() as u16).wrapping_mul(251) % COUNT;
    loop {
        let step = NEXT.fetch_add(1, Ordering::Relaxed);
        let port = FIRST + (u32::from(start) + u32::from(step)).rem_euclid(u32::from(COUNT)) as u16;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}
