//! What a process has in memory.

use std::{fs, thread::sleep, time::Duration};

use crate::eventually;

/// A process that is at rest changes by less in this time.
const REST: (u64, Duration) = (1 << 20, Duration::from_secs(2));
const PATIENCE: Duration = Duration::from_mins(3);

/// Bytes that are in memory now.
pub fn resident(pid: u32) -> u64 {
    field(pid, "VmRSS:")
}

/// Bytes that were in memory at most since its start, or since [`forget_peak`].
pub fn peak(pid: u32) -> u64 {
    field(pid, "VmHWM:")
}

pub fn forget_peak(pid: u32) {
    fs::write(format!("/proc/{pid}/clear_refs"), "5").expect("it is ours");
}

/// What is in memory once that changes no more.
pub fn at_rest(pid: u32) -> u64 {
    eventually(PATIENCE, "the process comes to rest", || {
        let before = resident(pid);
        sleep(REST.1);
        let after = resident(pid);
        (before.abs_diff(after) < REST.0).then_some(after)
    })
}

fn field(pid: u32, name: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    let line = status.lines().find(|line| line.starts_with(name)).expect("Linux tells it");
    let kibibytes = line.split_whitespace().nth(1).expect("a number");
    kibibytes.parse::<u64>().expect("a number") * 1024
}
