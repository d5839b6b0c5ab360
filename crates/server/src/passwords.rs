//! Checking and hashing passwords, which costs a tenth of a second each time, by design.
//!
//! Threads of their own do it, below the others in priority, in turn for each user and each host that asks: a
//! flood of wrong passwords for one holds up neither other clients, nor other users who log in, nor that user
//! himself at another host. Where one host asks for too many at once, the oldest make way; before them, those who
//! have hung up (`applicant`).

mod applicant;

use std::{
    collections::{BTreeMap, VecDeque},
    fmt, io,
    net::IpAddr,
    sync::Arc,
    thread::{self, Builder},
};

use base::limits::{PASSWORDS_OF_LANE_WAITING_MAX, PASSWORDS_WAITING_MAX};
use bcrypt::Version;
use bytes::Bytes;
use parking_lot::{Condvar, Mutex};
use tokio::sync::oneshot;

pub use self::applicant::{Applicant, Presence};
use crate::threads::snapshots::yield_to_others;

/// What bcrypt looks at of a password.
const PASSWORD_BYTES_MAX: usize = 72;
/// Hashes that clients bring may cost so much, a second of a thread, or what new ones cost here.
const COST_BROUGHT_MAX: u32 = 14;
/// Threads, where there are processors for them.
const THREADS_MAX: usize = 4;

/// Why a password was not looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PasswordError {
    /// Too many wait.
    #[error("etcdserver: too many requests")]
    TooMany,
    /// As the original says it.
    #[error("bcrypt: password length exceeds 72 bytes")]
    TooLong,
    /// The original takes it, and is busy with it at each login.
    #[error("bcrypt: the hash costs more than this member's --bcrypt-cost and than 14")]
    TooCostly,
    #[error("etcdserver: server stopped")]
    Stopped,
}

/// Whoever asks waits for its turn.
pub struct Passwords {
    line: Arc<Line>,
    cost: u32,
}

struct Line {
    queue: Mutex<Queue>,
    news: Condvar,
}

#[derive(Default)]
struct Queue {
    lanes: BTreeMap<Lane, VecDeque<Waiting>>,
    /// Those in which something waits, whose turn comes first in front.
    turns: VecDeque<Lane>,
    waiting: usize,
    has_threads: bool,
    is_closed: bool,
}

/// Whose password it is, and at which host he asks. `None`: that is not known, or is this one.
type Lane = (String, Option<IpAddr>);

/// Something to do, for whom.
struct Waiting {
    presence: Option<Arc<Presence>>,
    job: Job,
}

type Tell<T> = oneshot::Sender<Result<T, PasswordError>>;

enum Job {
    Check { password: String, hash: Bytes, tell: Tell<bool> },
    Hash { password: String, cost: u32, tell: Tell<Bytes> },
}

impl fmt::Debug for Passwords {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Passwords").field("cost", &self.cost).finish_non_exhaustive()
    }
}

impl Passwords {
    /// Its threads begin with the first that is asked, and end when this is dropped. `cost`: of new
    /// hashes, as bcrypt has it.
    pub fn new(cost: u32) -> Self {
        Self { line: Arc::new(Line { queue: Mutex::default(), news: Condvar::new() }), cost }
    }

    fn add(&self, lane: Lane, waiting: Waiting) -> Result<(), PasswordError> {
        if self.line.add(lane, waiting) {
            return Ok(());
        }
        self.start().map_err(|error| {
            tracing::error!(%error, "cannot start a thread for passwords");
            PasswordError::Stopped
        })
    }

    fn start(&self) -> io::Result<()> {
        let threads = thread::available_parallelism().map_or(1, usize::from) / 2;
        for _ in 0..threads.clamp(1, THREADS_MAX) {
            let line = Arc::clone(&self.line);
            let work = move || {
                yield_to_others();
                while let Some(job) = line.next() {
                    job.carry_out();
                }
            };
            drop(Builder::new().name("password".to_owned()).spawn(work)?);
        }
        self.line.queue.lock().has_threads = true;
        Ok(())
    }

    /// Whether this is the user's password, as somebody at that host says.
    pub async fn check(
        &self,
        (user, applicant): (&str, &Applicant),
        password: &str,
        hash: &Bytes,
    ) -> Result<bool, PasswordError> {
        let (tell, told) = oneshot::channel();
        let (password, hash) = (password.to_owned(), hash.clone());
        let (job, presence) = (Job::Check { password, hash, tell }, applicant.presence.clone());
        let _waits = applicant.waits();
        self.add((user.to_owned(), applicant.host), Waiting { presence, job })?;
        told.await.unwrap_or(Err(PasswordError::Stopped))
    }

    /// What no password is the right one for, and costs as much as any: for users that there are not, who
    /// would be told from others by time.
    pub fn stand_in(&self) -> Bytes {
        let (salt, hash) = (".".repeat(22), ".".repeat(31));
        format!("$2a${:02}${salt}{hash}", self.cost).into()
    }

    /// Whether a hash may be kept that a client brings. Of one that is none no password is the right one,
    /// and it costs nothing.
    pub fn accepts(&self, hash: &[u8]) -> Result<(), PasswordError> {
        let cost = str::from_utf8(hash).ok().and_then(|text| text.split('$').nth(2)?.parse().ok());
        let is_costly = cost.is_some_and(|cost: u32| cost > COST_BROUGHT_MAX.max(self.cost));
        if is_costly { Err(PasswordError::TooCostly) } else { Ok(()) }
    }

    /// What is kept of a new password.
    pub async fn hash(&self, user: &str, password: &str) -> Result<Bytes, PasswordError> {
        if password.len() > PASSWORD_BYTES_MAX {
            return Err(PasswordError::TooLong);
        }
        let (tell, told) = oneshot::channel();
        let (password, cost) = (password.to_owned(), self.cost);
        let job = Job::Hash { password, cost, tell };
        self.add((user.to_owned(), None), Waiting { presence: None, job })?;
        told.await.unwrap_or(Err(PasswordError::Stopped))
    }
}

impl Drop for Passwords {
    fn drop(&mut self) {
        self.line.queue.lock().is_closed = true;
        self.line.news.notify_all();
    }
}

impl Line {
    /// Whether there are threads that see to it.
    fn add(&self, lane: Lane, waiting: Waiting) -> bool {
        let mut queue = self.queue.lock();
        let refused = queue.add(lane, waiting);
        let has_threads = queue.has_threads;
        drop(queue);
        if let Some(refused) = refused {
            refused.refuse(PasswordError::TooMany);
        }
        self.news.notify_one();
        has_threads
    }

    /// The next, once there is one; `None`: nobody asks any more.
    fn next(&self) -> Option<Job> {
        let mut queue = self.queue.lock();
        loop {
            if queue.is_closed {
                return None;
            }
            match queue.take() {
                Some(job) => return Some(job),
                None => self.news.wait(&mut queue),
            }
        }
    }
}

impl Queue {
    /// Gives what makes way for it; those who have gone away do first, then one who has hung up.
    fn add(&mut self, lane: Lane, waiting: Waiting) -> Option<Job> {
        let is_full =
            self.lanes.get(&lane).is_some_and(|jobs| jobs.len() >= PASSWORDS_OF_LANE_WAITING_MAX);
        if is_full || self.waiting >= PASSWORDS_WAITING_MAX {
            self.forget_those_gone();
        }
        let of_lane = self.lanes.get(&lane).map_or(0, VecDeque::len);
        let refused = if of_lane >= PASSWORDS_OF_LANE_WAITING_MAX {
            self.make_way(&lane)
        } else if self.waiting >= PASSWORDS_WAITING_MAX {
            let key =
                |jobs: &VecDeque<Waiting>| (jobs.iter().any(Waiting::has_hung_up), jobs.len());
            let longest = self.lanes.iter().max_by_key(|(_, jobs)| key(jobs));
            let longest = longest.map(|(lane, _)| lane.clone());
            longest.and_then(|longest| self.make_way(&longest))
        } else {
            None
        };
        if !self.lanes.contains_key(&lane) {
            self.turns.push_back(lane.clone());
        }
        self.lanes.entry(lane).or_default().push_back(waiting);
        self.waiting += 1;
        refused
    }

    /// The first of a lane who has hung up, or its oldest.
    fn make_way(&mut self, lane: &Lane) -> Option<Job> {
        let hung_up = self.lanes.get(lane)?.iter().position(Waiting::has_hung_up);
        self.take_from(lane, hung_up.unwrap_or(0))
    }

    /// One of a lane, which goes on having its turns if there is more in it.
    fn take_from(&mut self, lane: &Lane, at: usize) -> Option<Job> {
        let jobs = self.lanes.get_mut(lane)?;
        let waiting = jobs.remove(at);
        if jobs.is_empty() {
            self.lanes.remove(lane);
            self.turns.retain(|other| other != lane);
        }
        self.waiting -= usize::from(waiting.is_some());
        waiting.map(|waiting| waiting.job)
    }

    fn forget_those_gone(&mut self) {
        self.lanes.retain(|_, jobs| {
            jobs.retain(|waiting| !waiting.job.is_of_nobody());
            !jobs.is_empty()
        });
        self.waiting = self.lanes.values().map(VecDeque::len).sum();
        self.turns.retain(|lane| self.lanes.contains_key(lane));
    }

    /// The next of the lane whose turn it is. Those who have gone away have none.
    fn take(&mut self) -> Option<Job> {
        while let Some(lane) = self.turns.pop_front() {
            let mut job = self.take_from(&lane, 0);
            while job.as_ref().is_some_and(Job::is_of_nobody) {
                job = self.take_from(&lane, 0);
            }
            if self.lanes.contains_key(&lane) {
                self.turns.push_back(lane);
            }
            if job.is_some() {
                return job;
            }
        }
        None
    }
}

impl Waiting {
    fn has_hung_up(&self) -> bool {
        self.presence.as_ref().is_some_and(|presence| presence.has_hung_up())
    }
}

impl Job {
    /// Whoever has asked has gone away.
    fn is_of_nobody(&self) -> bool {
        match self {
            Self::Check { tell, .. } => tell.is_closed(),
            Self::Hash { tell, .. } => tell.is_closed(),
        }
    }

    fn carry_out(self) {
        match self {
            gone if gone.is_of_nobody() => {}
            Self::Check { password, hash, tell } => {
                let hash = str::from_utf8(&hash).unwrap_or_default();
                let is_right = bcrypt::verify(password, hash).unwrap_or(false);
                tell.send(Ok(is_right)).ok();
            }
            Self::Hash { password, cost, tell } => {
                let hashed = bcrypt::hash_with_result(password, cost);
                // The kind that Go's bcrypt makes.
                let hashed = hashed.map(|parts| parts.format_for_version(Version::TwoA).into());
                let hashed = hashed.map_err(|error| {
                    tracing::error!(%error, "cannot hash a password");
                    PasswordError::Stopped
                });
                drop(tell.send(hashed));
            }
        }
    }

    fn refuse(self, why: PasswordError) {
        match self {
            Self::Check { tell, .. } => drop(tell.send(Err(why))),
            Self::Hash { tell, .. } => drop(tell.send(Err(why))),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{future::poll_fn, task::Poll};

    use super::*;

    /// Of bcrypt: so that a test takes no time.
    const LEAST: u32 = 4;
    const NOBODY: Applicant = Applicant { host: None, presence: None };
    const ALICE: (&str, &Applicant) = ("alice", &NOBODY);

    #[tokio::test]
    async fn a_password_is_known_by_its_hash_alone() {
        let passwords = Passwords::new(LEAST);
        let hash = passwords.hash("alice", "geheim").await.unwrap();
        assert!(hash.starts_with(b"$2a$04$"), "{hash:?}");
        assert_ne!(hash, passwords.hash("alice", "geheim").await.unwrap(), "salted");
        assert_eq!(passwords.check(ALICE, "geheim", &hash).await, Ok(true));
        assert_eq!(passwords.check(ALICE, "Geheim", &hash).await, Ok(false));
        assert_eq!(passwords.check(ALICE, "", &hash).await, Ok(false));
        for none in ["", "geheim", "$2a$04$short"] {
            assert_eq!(passwords.check(ALICE, "", &none.into()).await, Ok(false), "{none}");
        }
        // It is a hash, of which every password is tried in full.
        let stand_in = passwords.stand_in();
        let stand_in = std::str::from_utf8(&stand_in).unwrap();
        assert!(!bcrypt::verify("geheim", stand_in).unwrap());
        let empty = passwords.hash("bob", "").await.unwrap();
        assert_eq!(passwords.check(("bob", &NOBODY), "", &empty).await, Ok(true));
        let most = "x".repeat(PASSWORD_BYTES_MAX);
        let hash = passwords.hash("bob", &most).await.unwrap();
        assert_eq!(passwords.check(("bob", &NOBODY), &most, &hash).await, Ok(true));
        assert_eq!(passwords.hash("bob", &(most + "x")).await, Err(PasswordError::TooLong));
    }

    type Asked = oneshot::Receiver<Result<bool, PasswordError>>;

    fn asked(line: &Line, user: &str, host: u8, password: &str) -> Asked {
        asked_by(None, line, (user, host), password)
    }

    fn asked_by(
        presence: Option<&Arc<Presence>>,
        line: &Line,
        (user, host): (&str, u8),
        password: &str,
    ) -> Asked {
        let (tell, told) = oneshot::channel();
        let lane = (user.to_owned(), Some(IpAddr::from([10, 0, 0, host])));
        let job = Job::Check { password: password.to_owned(), hash: Bytes::new(), tell };
        line.add(lane, Waiting { presence: presence.cloned(), job });
        told
    }

    fn next(line: &Line) -> String {
        match line.next().unwrap() {
            Job::Check { password, .. } | Job::Hash { password, .. } => password,
        }
    }

    fn line() -> Line {
        Line { queue: Mutex::default(), news: Condvar::new() }
    }

    #[test]
    fn who_tries_passwords_holds_up_nobody_elsewhere_and_refuses_himself() {
        let line = line();
        let flood = |at: usize| asked(&line, "root", 1, &format!("wrong {at}"));
        let mut tried: Vec<Asked> = (0..PASSWORDS_OF_LANE_WAITING_MAX).map(flood).collect();
        // The same user at another host, and others at the same.
        let mut right = asked(&line, "root", 2, "right");
        let _alice = asked(&line, "alice", 1, "alice");
        let _last = flood(PASSWORDS_OF_LANE_WAITING_MAX);
        assert_eq!(tried[0].try_recv(), Ok(Err(PasswordError::TooMany)), "the oldest makes way");
        assert!(tried[1].try_recv().is_err() && right.try_recv().is_err(), "these wait");
        let turns: Vec<String> = (0..4).map(|_| next(&line)).collect();
        assert_eq!(turns, ["wrong 1", "right", "alice", "wrong 2"]);
    }

    #[test]
    fn who_has_gone_away_gives_his_place_up() {
        let line = line();
        let flood = |at: usize| asked(&line, "root", 1, &format!("wrong {at}"));
        let mut first = flood(0);
        let gone: Vec<Asked> = (1..PASSWORDS_OF_LANE_WAITING_MAX).map(flood).collect();
        let _alice = asked(&line, "alice", 1, "alice");
        drop(gone);
        let mut last = flood(PASSWORDS_OF_LANE_WAITING_MAX);
        assert!(first.try_recv().is_err() && last.try_recv().is_err(), "nobody makes way for it");
        assert_eq!(line.queue.lock().waiting, 3);
        let turns: Vec<String> = (0..3).map(|_| next(&line)).collect();
        assert_eq!(turns, ["wrong 0", "alice", &format!("wrong {PASSWORDS_OF_LANE_WAITING_MAX}")]);
        assert!(line.queue.lock().turns.is_empty());

        // Of all, the same.
        let mut longest = asked(&line, "root", 1, "first");
        let _more = asked(&line, "root", 1, "second");
        let all: Vec<Asked> = (2..PASSWORDS_WAITING_MAX)
            .map(|at| asked(&line, &format!("user {at}"), 1, "x"))
            .collect();
        drop(all);
        let _one_more = asked(&line, "alice", 2, "x");
        assert!(longest.try_recv().is_err(), "nobody makes way for it");
        let queue = line.queue.lock();
        assert_eq!((queue.waiting, queue.turns.len(), queue.lanes.len()), (3, 2, 2));
    }

    #[test]
    fn who_has_gone_away_has_no_turn() {
        let line = line();
        let flood = |at: usize| asked(&line, "root", 1, &format!("wrong {at}"));
        let gone: Vec<Asked> = (0..3).map(flood).collect();
        let alices: Vec<Asked> = (0..2).map(|_| asked(&line, "alice", 1, "alice")).collect();
        let bob = asked(&line, "bob", 1, "bob");
        let _last = flood(3);
        drop((gone, bob));
        let turns: Vec<String> = (0..3).map(|_| next(&line)).collect();
        assert_eq!(turns, ["wrong 3", "alice", "alice"], "{}", alices.len());
        let queue = line.queue.lock();
        assert!(queue.waiting == 0 && queue.turns.is_empty() && queue.lanes.is_empty());
    }

    #[test]
    fn who_has_hung_up_makes_way_before_all_who_listen() {
        let (line, most) = (line(), PASSWORDS_OF_LANE_WAITING_MAX);
        let presence = Arc::new(Presence::default());
        let mut listens: Vec<Asked> =
            (2..most).map(|at| asked(&line, "root", 1, &format!("wrong {at}"))).collect();
        let by = |password: &str| asked_by(Some(&presence), &line, ("root", 1), password);
        let (mut first, mut second) = (by("first"), by("second"));
        presence.hang_up();
        assert!(first.try_recv().is_err(), "while there is room nobody makes way");
        let _more = (asked(&line, "root", 1, "x"), asked(&line, "root", 1, "y"));
        let too_many = Ok(Err(PasswordError::TooMany));
        assert_eq!((first.try_recv(), second.try_recv()), (too_many.clone(), too_many.clone()));
        assert!(listens[0].try_recv().is_err(), "it is older, and is listened for");
        let _last = asked(&line, "root", 1, "z");
        assert_eq!(listens[0].try_recv(), too_many);

        // Of all, the same, though another lane is the longest.
        let alone = Arc::new(Presence::default());
        let mut alone_told = asked_by(Some(&alone), &line, ("alice", 1), "x");
        alone.hang_up();
        let all: Vec<Asked> = (most + 1..PASSWORDS_WAITING_MAX)
            .map(|at| asked(&line, &format!("user {at}"), 1, "x"))
            .collect();
        assert_eq!(line.queue.lock().waiting, PASSWORDS_WAITING_MAX);
        assert!(alone_told.try_recv().is_err());
        let _one_more = asked(&line, "bob", 1, "x");
        assert_eq!(
            (alone_told.try_recv(), all.len()),
            (too_many, PASSWORDS_WAITING_MAX - most - 1)
        );
        assert!(listens[1].try_recv().is_err());
    }

    #[tokio::test]
    async fn who_waits_is_known_to_wait_until_he_is_told_or_gives_up() {
        let passwords = Passwords::new(LEAST);
        let presence = Arc::new(Presence::default());
        let bob = Applicant { host: None, presence: Some(Arc::clone(&presence)) };
        let hash = passwords.hash("bob", "x").await.unwrap();
        assert!(!presence.is_waiting());
        for gives_up in [true, false] {
            let mut asks = Box::pin(passwords.check(("bob", &bob), "x", &hash));
            let pending = poll_fn(|cx| Poll::Ready(asks.as_mut().poll(cx).is_pending())).await;
            assert!(pending);
            assert!(presence.is_waiting());
            if gives_up {
                drop(asks);
            } else {
                assert_eq!(asks.await, Ok(true));
            }
            assert!(!presence.is_waiting());
        }
    }

    #[test]
    fn a_hash_that_a_client_brings_costs_no_more_than_ours() {
        let accepts = |cost, hash: &str| Passwords::new(cost).accepts(hash.as_bytes());
        let rest = "abcdefghijklmnopqrstuuAbCdEfGhIjKlMnOpQrStUvWxYz0123456";
        for kind in ["2a", "2b", "2y"] {
            assert_eq!(accepts(LEAST, &format!("${kind}$14${rest}")), Ok(()));
            let costly = format!("${kind}$15${rest}");
            assert_eq!(accepts(LEAST, &costly), Err(PasswordError::TooCostly));
            assert_eq!(accepts(15, &costly), Ok(()), "an operator wants it so");
        }
        assert_eq!(accepts(LEAST, &format!("$2a$31${rest}")), Err(PasswordError::TooCostly));
        assert_eq!(accepts(LEAST, "no hash"), Ok(()));
    }

    #[test]
    fn nobody_fills_the_line() {
        let line = line();
        let mut longest = asked(&line, "root", 1, "first");
        let _more = (asked(&line, "root", 1, "second"), asked(&line, "root", 1, "third"));
        let all: Vec<Asked> = (3..PASSWORDS_WAITING_MAX)
            .map(|at| asked(&line, &format!("user {at}"), 1, "x"))
            .collect();
        let _one_more = asked(&line, "alice", 2, "x");
        assert_eq!(longest.try_recv(), Ok(Err(PasswordError::TooMany)), "of the longest lane");
        let queue = line.queue.lock();
        assert_eq!((queue.waiting, all.len() + 3), (PASSWORDS_WAITING_MAX, PASSWORDS_WAITING_MAX));
        let waiting: usize = queue.lanes.values().map(VecDeque::len).sum();
        assert_eq!((waiting, queue.turns.len()), (queue.waiting, queue.lanes.len()));
    }
}
