//! What a server printed, and which of its lines are complaints.

use std::{
    io::Read,
    sync::{Arc, Mutex},
    thread::JoinHandle,
};

/// WARN and ERROR lines that a test need not announce, each with the reason why it may come.
const EXPECTED: &[(&str, &str)] = &[
    (SLOW_SYNC, STILL),
    (SLOW_WRITE, STILL),
    ("apply request took too long", STILL),
    ("request stats", STILL),
    ("v2 request took too long", STILL),
    ("slow keyspace flush", STILL),
    ("leader failed to send out heartbeat on time", STILL),
    ("/health error", "whoever asked was told"),
    ("Health check error", "whoever asked was told"),
    ("guests may read and write every key", "so it is after enabling users through v2"),
    ("the log level is to be set", "whoever asked wants it so"),
];

const STILL: &str = "a machine's disk may stand still for a moment, and so may the process";

const SLOW_SYNC: &str = "slow fdatasync";
const SLOW_WRITE: &str = "slow write of the log";

/// What a member says whose log has taken nothing for an election timeout. It may if its disk stood still for so
/// long, of which there is a line of its own; without one a batch was forgotten on its way.
const STALL: &str = "the disk of the log takes nothing";

/// What a process has printed so far, gathered while it runs.
#[derive(Clone, Default)]
pub struct Log {
    bytes: Arc<Mutex<Vec<u8>>>,
}

impl Log {
    /// Gathers from `source` until it ends.
    pub fn gather(&self, mut source: impl Read + Send + 'static) -> JoinHandle<()> {
        let bytes = Arc::clone(&self.bytes);
        std::thread::spawn(move || {
            let mut chunk = [0; 4096];
            while let Ok(read @ 1..) = source.read(&mut chunk) {
                bytes.lock().expect("nobody panics in here").extend_from_slice(&chunk[..read]);
            }
        })
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes.lock().expect("nobody panics in here")).into_owned()
    }

    /// The whole lines so far.
    pub fn lines(&self) -> Vec<String> {
        let text = self.text();
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        whole.lines().map(str::to_owned).collect()
    }

    pub fn contains(&self, text: &str) -> bool {
        self.text().contains(text)
    }

    /// The complaints that neither this file nor the test has listed.
    pub fn unlisted_complaints(&self, allowed: &[String]) -> Vec<String> {
        let disk_stood_still = self.contains(SLOW_SYNC) || self.contains(SLOW_WRITE);
        let listed = |line: &String| {
            EXPECTED.iter().any(|(text, _)| line.contains(text))
                || (disk_stood_still && line.contains(STALL))
                || allowed.iter().any(|text| line.contains(text.as_str()))
        };
        self.lines().into_iter().filter(|line| complains(line) && !listed(line)).collect()
    }
}

/// Whether a log line is of level WARN or worse, in any of the formats that `etcd` can log in.
fn complains(line: &str) -> bool {
    // The level stands at the front, and a client's text further on must not count as one.
    let front: String = line.chars().take(60).collect();
    let words = ["WARN", "ERROR", "FATAL", "PANIC", "panicked at"];
    let json = ["\"level\":\"warn", "\"level\":\"error", "\"level\":\"fatal", "\"level\":\"panic"];
    let letters = [" W | ", " E | ", " C | "];
    let mut marks = words.iter().chain(&json).chain(&letters);
    marks.any(|mark| front.contains(mark) || json.contains(mark) && line.contains(mark))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_complaint_is_known_by_its_level_and_not_by_a_clients_words() {
        let check = |line: &str, expected: bool| assert_eq!(complains(line), expected, "{line}");
        check("2026-11-23T12:00:00.000Z  WARN server: slow disk", true);
        check("2026-11-23T12:00:00.000Z ERROR etcd: cannot listen", true);
        check("2026-11-23T12:00:00.000Z  INFO server: ready to serve client requests", false);
        check("thread 'main' panicked at crates/etcd/src/main.rs:1:1:", true);
        check("{\"level\":\"warn\",\"ts\":\"2026\",\"msg\":\"slow\"}", true);
        check("{\"level\":\"info\",\"msg\":\"wrote\",\"key\":\"WARN\"}", true);
        check("2026-11-23 12:00:00.123456 W | etcdserver: read-only range request took long", true);
        let quoting = format!("2026-11-23T12:00:00.000Z INFO {} ERROR", "x".repeat(60));
        check(&quoting, false);
    }

    #[test]
    fn a_listed_complaint_is_no_complaint() {
        let log = Log::default();
        log.gather("INFO a\nWARN b 1\nWARN c\n".as_bytes()).join().expect("it ends");
        assert_eq!(log.unlisted_complaints(&["b 1".to_owned()]), ["WARN c"]);
        assert_eq!(log.unlisted_complaints(&[]).len(), 2);
    }

    #[test]
    fn a_log_that_takes_nothing_is_a_complaint_unless_its_disk_was_slow() {
        let log = Log::default();
        let stall = format!("2026-11-28 10:04:43.296906 W | member/core/stall: {STALL}\n");
        log.bytes.lock().unwrap().extend_from_slice(stall.as_bytes());
        assert_eq!(log.unlisted_complaints(&[]), [stall.trim_end()]);
        let slow = "2026-11-28 10:04:43.396906 W | server/threads/log: slow fdatasync took=1.1s\n";
        log.bytes.lock().unwrap().extend_from_slice(slow.as_bytes());
        assert!(log.unlisted_complaints(&[]).is_empty());
    }
}
