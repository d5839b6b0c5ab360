//! A member that begins to differ while it runs is found: by the clock, and at a compaction.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    net::{TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    },
    thread,
    time::Duration,
};

use base::{Index, MemberId};
use proto::command::{Compact, Member, Op};
use state::apply::membership_change::Change;

use super::{mem, mem_config, set, start_on};
use crate::{Config, CorruptionChecks, DIGEST_PATH, Handle};

/// Another member, for all that a leader asks it about digests: it says what the leader has, until it is
/// told to say something else.
#[derive(Default)]
struct Other {
    differs: AtomicBool,
    asked: AtomicUsize,
}

impl Other {
    fn serve(self: &Arc<Self>, handle: &Handle) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (this, handle) = (Arc::clone(self), handle.clone());
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (this, handle) = (Arc::clone(&this), handle.clone());
                thread::spawn(move || this.answer(&handle, &stream));
            }
        });
        url
    }

    /// One question after the other. Streams of raft's messages are refused: it never catches up.
    fn answer(&self, handle: &Handle, mut stream: &TcpStream) -> Option<()> {
        let mut lines = BufReader::new(stream).lines();
        loop {
            let first = lines.next()?.ok()?;
            while !lines.next()?.ok()?.is_empty() {}
            let path = first.split(' ').nth(1)?;
            let Some(at) = path.strip_prefix(DIGEST_PATH) else {
                let refused =
                    b"HTTP/1.1 404 Not Found\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";
                return stream.write_all(refused).ok();
            };
            self.asked.fetch_add(1, Relaxed);
            let told = handle.tell_digest(Index(at.parse().ok()?));
            let (since, value) = told.trim_end().split_once(' ')?;
            let differs = u64::from(self.differs.load(Relaxed));
            let body = format!("{since} {}\n", value.parse::<u64>().ok()? ^ differs);
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
            stream.write_all((head + &body).as_bytes()).ok()?;
        }
    }
}

async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    for _ in 0..6_000 {
        if holds() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("never: {what}");
}

/// A member that compares so often, and what `then` does is what another one that differs is found by.
fn is_found(every: Duration, then: impl AsyncFnOnce(&Handle)) {
    let (_, disk) = mem();
    let corruption = CorruptionChecks { every, ..CorruptionChecks::default() };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let handle = start_on(&disk, Config { corruption, ..mem_config() }).unwrap();
        handle.ready().await;
        handle.write(set("/a", "1")).await.unwrap();
        // What is compared because this one has started is compared.
        until("it looks", || handle.shared.compare.borrow().is_none()).await;
        let other = Arc::new(Other::default());
        let id = MemberId(7);
        let learner = Member {
            id: id.0,
            name: "other".to_owned(),
            peer_urls: vec![other.serve(&handle)],
            client_urls: Vec::new(),
            learner: true,
            version: String::new(),
        };
        handle.change_members(Change::AddLearner(learner, 1)).await.unwrap();
        // The raft thread tells it to the network a moment later.
        let knows =
            || handle.peers().is_some_and(|all| all.status().iter().any(|one| one.id == id));
        until("the network knows where it is", knows).await;
        handle.compare_soon(false);
        until("it is compared", || other.asked.load(Relaxed) > 0).await;
        until("that is over", || handle.shared.compare.borrow().is_none()).await;
        let is_corrupt = || handle.reader().alarms().is_corrupt(id);
        assert!(!is_corrupt(), "it says the same");
        other.differs.store(true, Relaxed);
        then(&handle).await;
        until("it is found", is_corrupt).await;
        assert!(!handle.is_fenced(), "who is right goes on");
        handle.write(set("/a", "3")).await.unwrap();
        handle.stop().await;
    });
}

#[test]
fn a_running_member_that_differs_is_found_by_the_clock() {
    is_found(Duration::from_millis(100), async |_| {});
}

#[test]
fn a_running_member_that_differs_is_found_at_a_compaction() {
    is_found(Duration::from_hours(1), async |handle| {
        handle.write(set("/a", "2")).await.unwrap();
        let revision = handle.reader().store().revision();
        handle.write(Op::Compact(Compact { revision })).await.unwrap();
    });
}
