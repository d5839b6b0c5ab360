//! `--audit-log`: who did what, a line of JSON for each request, written by a thread of its own.
//!
//! No request waits for the file: what finds no room in the queue is dropped, and the file says how much
//! that was. On SIGHUP the file is opened anew, so that whoever rotates it can set it aside.

use std::{
    fs::{File, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
        mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel},
    },
    thread::Builder,
    time::Duration,
};

use api::Record;
use base::{Clock as _, OsClock, Pace, UnixNanos};
use serde::Serialize;
use signal_hook::consts::SIGHUP;
use time::OffsetDateTime;

/// Records that wait to be written.
const WAITING_MAX: usize = 16_384;
/// Lines that are written together.
const BATCH_BYTES: usize = 256 * 1024;
/// Between two looks whether the file is to be opened anew, and whether what failed works now.
const LOOK: Duration = Duration::from_secs(1);
/// What the last lines may take when the member ends.
const END_PATIENCE: Duration = Duration::from_secs(2);

/// Writes records as long as it lives.
#[derive(Debug)]
pub(crate) struct Auditing {
    queue: Arc<Queue>,
    /// Hears of the end.
    ended: Receiver<()>,
}

/// What waits to be written.
#[derive(Debug)]
struct Queue {
    send: SyncSender<Next>,
    dropped: Arc<AtomicU64>,
}

enum Next {
    Record(Box<Record>),
    End,
}

impl api::AuditLog for Queue {
    fn keep(&self, record: Record) {
        if self.send.try_send(Next::Record(Box::new(record))).is_err() {
            self.dropped.fetch_add(1, Relaxed);
        }
    }
}

impl Auditing {
    /// Opens the file, which only its owner can read if it is new. The error is one line.
    pub(crate) fn begin(path: &Path) -> Result<Self, String> {
        let cannot = |error: io::Error| format!("--audit-log \"{}\": {error}", path.display());
        let file = open(path).map_err(cannot)?;
        let reopen = Arc::new(AtomicBool::new(false));
        signal_hook::flag::register(SIGHUP, Arc::clone(&reopen)).map_err(cannot)?;
        let (send, take) = sync_channel(WAITING_MAX);
        let (end, ended) = sync_channel(1);
        let queue = Arc::new(Queue { send, dropped: Arc::default() });
        let writer = Writer::new(path, file, Arc::clone(&queue.dropped));
        let run = move || {
            writer.run(&take, &reopen);
            drop(end);
        };
        Builder::new().name("audit".to_owned()).spawn(run).map_err(cannot)?;
        Ok(Self { queue, ended })
    }

    pub(crate) fn audit(&self) -> api::Audit {
        Arc::<Queue>::clone(&self.queue)
    }

    /// Writes what is left. Waits, but not for long.
    pub(crate) fn end(self) {
        let clock = OsClock::new();
        let until = clock.monotonic() + END_PATIENCE;
        while self.queue.send.try_send(Next::End).is_err() && clock.monotonic() < until {
            std::thread::yield_now();
        }
        if self.ended.recv_timeout(END_PATIENCE) == Err(RecvTimeoutError::Timeout) {
            tracing::warn!("the last lines of the audit log may be lost");
        }
    }
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).mode(0o600).open(path)
}

/// A record as it stands in the file.
#[derive(Serialize)]
struct Line<'a> {
    time: String,
    #[serde(flatten)]
    record: &'a Record,
}

/// So many records are missing before this line.
#[derive(Serialize)]
struct Gap {
    time: String,
    dropped: u64,
}

struct Writer<W> {
    path: PathBuf,
    file: W,
    dropped: Arc<AtomicU64>,
    /// Written together next.
    batch: Vec<u8>,
    lines: u64,
    /// A line may have been cut off.
    is_torn: bool,
    clock: OsClock,
    complaints: Pace,
}

impl Writer<File> {
    fn run(mut self, take: &Receiver<Next>, reopen: &AtomicBool) {
        loop {
            let next = take.recv_timeout(LOOK);
            if reopen.swap(false, Relaxed) {
                self.reopen();
            }
            let has_ended = match next {
                Ok(next) => self.write_all(next, take),
                Err(RecvTimeoutError::Timeout) => {
                    self.write_gap();
                    false
                }
                Err(RecvTimeoutError::Disconnected) => true,
            };
            if has_ended {
                return;
            }
        }
    }

    fn reopen(&mut self) {
        match open(&self.path) {
            Ok(file) => (self.file, self.is_torn) = (file, false),
            Err(error) => self.complain("open the audit log anew", &error),
        }
    }
}

impl<W: Write> Writer<W> {
    fn new(path: &Path, file: W, dropped: Arc<AtomicU64>) -> Self {
        let (path, batch) = (path.to_owned(), Vec::new());
        let (clock, complaints) = (OsClock::new(), Pace::default());
        Self { path, file, dropped, batch, lines: 0, is_torn: false, clock, complaints }
    }

    /// Writes all that waits, then what is missing; true at the end.
    fn write_all(&mut self, first: Next, take: &Receiver<Next>) -> bool {
        let mut next = Some(first);
        let mut has_ended = false;
        while let Some(one) = next {
            match one {
                Next::Record(record) => self.add(&record),
                Next::End => has_ended = true,
            }
            if self.batch.len() >= BATCH_BYTES {
                self.flush();
            }
            next = take.try_recv().ok();
        }
        self.flush();
        self.write_gap();
        has_ended
    }

    fn add(&mut self, record: &Record) {
        if serde_json::to_writer(&mut self.batch, &Line { time: stamp(record.at), record }).is_ok()
        {
            self.batch.push(b'\n');
            self.lines += 1;
        }
    }

    /// What cannot be written is counted as dropped.
    fn flush(&mut self) {
        let lines = std::mem::take(&mut self.lines);
        let batch = std::mem::take(&mut self.batch);
        if !self.write(&batch) {
            self.dropped.fetch_add(lines, Relaxed);
        }
    }

    fn write_gap(&mut self) {
        let dropped = self.dropped.swap(0, Relaxed);
        if dropped == 0 {
            return;
        }
        let gap = Gap { time: stamp(self.clock.wall()), dropped };
        let line = serde_json::to_vec(&gap).map(|line| [&line[..], b"\n"].concat());
        if line.is_ok_and(|line| self.write(&line)) {
            if let Some(times) = self.complaints.note(self.clock.monotonic()) {
                let path = self.path.display();
                tracing::warn!(%path, dropped, times, "records are missing in the audit log");
            }
        } else {
            self.dropped.fetch_add(dropped, Relaxed);
        }
    }

    /// Whether it is written.
    fn write(&mut self, bytes: &[u8]) -> bool {
        let start: &[u8] = if self.is_torn && !bytes.is_empty() { b"\n" } else { b"" };
        let written = self.file.write_all(start).and_then(|()| self.file.write_all(bytes));
        self.is_torn = written.is_err();
        if let Err(error) = &written {
            self.complain("write the audit log", error);
        }
        written.is_ok()
    }

    fn complain(&self, what: &str, error: &io::Error) {
        if let Some(times) = self.complaints.note(self.clock.monotonic()) {
            let path = self.path.display();
            tracing::error!(%path, %error, times, "cannot {what}");
        }
    }
}

/// `2026-11-26T10:05:00.000000Z`.
fn stamp(at: UnixNanos) -> String {
    let at = OffsetDateTime::from_unix_timestamp_nanos(at.0.into());
    let at = at.unwrap_or(OffsetDateTime::UNIX_EPOCH);
    let (date, (hour, minute, second, micro)) = (at.date(), at.time().as_hms_micro());
    let (year, month, day) = (date.year(), u8::from(date.month()), date.day());
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{micro:06}Z")
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "tests own a clock and files")]
mod tests {
    use api::AuditLog as _;

    use super::*;

    fn record(user: &str) -> Record {
        Record {
            at: UnixNanos(1_795_687_500_250_001_999),
            user: Some(user.to_owned()),
            claimed: None,
            from: Some(([127, 0, 0, 1], 4_242).into()),
            api: "v3",
            method: "etcdserverpb.KV/Put".to_owned(),
            keys: Vec::new(),
            more_keys: 0,
            about: api::About::default(),
            who: api::Who::NotAsked,
            allowed: true,
            error: None,
            code: "OK".to_owned(),
        }
    }

    fn line(user: &str) -> String {
        format!(
            "{{\"time\":\"2026-11-26T10:05:00.250001Z\",\"who\":\"not-asked\",\"user\":\"{user}\",\"from\":\"127.0.0.1:4242\",\
             \"api\":\"v3\",\"method\":\"etcdserverpb.KV/Put\",\"allowed\":true,\"code\":\"OK\"}}\n"
        )
    }

    #[test]
    fn what_finds_no_room_is_dropped_and_the_file_says_so() {
        let (send, take) = sync_channel(2);
        let queue = Queue { send, dropped: Arc::default() };
        for user in ["a", "b", "c", "d", "e"] {
            queue.keep(record(user));
        }
        let mut out = Vec::new();
        let mut writer = Writer::new(Path::new("x"), &mut out, Arc::clone(&queue.dropped));
        let first = take.recv().unwrap();
        assert!(!writer.write_all(first, &take));
        queue.keep(record("f"));
        let first = take.recv().unwrap();
        assert!(!writer.write_all(first, &take));
        drop(writer);
        let text = String::from_utf8(out).unwrap();
        let rest = text.strip_prefix(&(line("a") + &line("b"))).unwrap();
        let (gap, rest) = rest.split_once('\n').unwrap();
        assert!(gap.starts_with("{\"time\":\"") && gap.ends_with("\",\"dropped\":3}"), "{gap}");
        assert_eq!(rest, line("f"));
    }

    /// Takes half a line, and nothing, until it is mended.
    struct Full {
        taken: Vec<u8>,
        room: usize,
    }

    impl Write for Full {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let some = bytes.len().min(self.room);
            if some == 0 && !bytes.is_empty() {
                return Err(io::ErrorKind::StorageFull.into());
            }
            self.room -= some;
            self.taken.extend_from_slice(&bytes[..some]);
            Ok(some)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn what_a_full_disk_took_away_is_told_once_there_is_room() {
        let full = Full { taken: Vec::new(), room: 10 };
        let (send, take) = sync_channel(8);
        let queue = Queue { send, dropped: Arc::default() };
        let mut writer = Writer::new(Path::new("x"), full, Arc::clone(&queue.dropped));
        queue.keep(record("a"));
        queue.keep(record("b"));
        let first = take.recv().unwrap();
        writer.write_all(first, &take);
        writer.file.room = usize::MAX;
        writer.write_gap();
        let text = String::from_utf8(writer.file.taken).unwrap();
        let mut lines = text.lines();
        assert_eq!(lines.next(), Some("{\"time\":\"2"), "cut off");
        assert!(lines.next().unwrap().ends_with("\"dropped\":2}"), "{text}");
        assert_eq!(lines.next(), None);
    }
}
