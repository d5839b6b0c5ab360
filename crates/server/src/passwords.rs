//! Checking and hashing passwords, which costs a tenth of a second each time, by design.
//!
//! Threads of their own do it, below the others in priority, user by user in turn: a flood of wrong
//! passwords for one holds up neither other clients nor other users who log in.

use std::{
    collections::{BTreeMap, VecDeque},
    fmt, io,
    sync::Arc,
    thread::{self, Builder},
};

use base::limits::{PASSWORDS_OF_USER_WAITING_MAX, PASSWORDS_WAITING_MAX};
use bcrypt::Version;
use bytes::Bytes;
use parking_lot::{Condvar, Mutex};
use tokio::sync::oneshot;

use crate::threads::snapshots::yield_to_others;

/// What bcrypt looks at of a password.
const PASSWORD_BYTES_MAX: usize = 72;
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
    of_users: BTreeMap<String, VecDeque<Job>>,
    /// Users with something that waits, whose turn comes first in front.
    turns: VecDeque<String>,
    waiting: usize,
    has_threads: bool,
    is_closed: bool,
}

enum Job {
    Check { password: String, hash: Bytes, tell: oneshot::Sender<bool> },
    Hash { password: String, cost: u32, tell: oneshot::Sender<io::Result<Bytes>> },
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

    fn add(&self, user: &str, job: Job) -> Result<(), PasswordError> {
        if self.line.add(user, job)? {
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

    /// Whether this is the user's password.
    pub async fn check(
        &self,
        user: &str,
        password: &str,
        hash: &Bytes,
    ) -> Result<bool, PasswordError> {
        let (tell, told) = oneshot::channel();
        let (password, hash) = (password.to_owned(), hash.clone());
        self.add(user, Job::Check { password, hash, tell })?;
        told.await.map_err(|_| PasswordError::Stopped)
    }

    /// What is kept of a new password.
    pub async fn hash(&self, user: &str, password: &str) -> Result<Bytes, PasswordError> {
        if password.len() > PASSWORD_BYTES_MAX {
            return Err(PasswordError::TooLong);
        }
        let (tell, told) = oneshot::channel();
        let (password, cost) = (password.to_owned(), self.cost);
        self.add(user, Job::Hash { password, cost, tell })?;
        let hashed = told.await.map_err(|_| PasswordError::Stopped)?;
        hashed.map_err(|error| {
            tracing::error!(%error, "cannot hash a password");
            PasswordError::Stopped
        })
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
    fn add(&self, user: &str, job: Job) -> Result<bool, PasswordError> {
        let mut queue = self.queue.lock();
        let of_user = queue.of_users.get(user).map_or(0, VecDeque::len);
        if queue.waiting >= PASSWORDS_WAITING_MAX || of_user >= PASSWORDS_OF_USER_WAITING_MAX {
            return Err(PasswordError::TooMany);
        }
        if of_user == 0 {
            queue.turns.push_back(user.to_owned());
        }
        queue.of_users.entry(user.to_owned()).or_default().push_back(job);
        queue.waiting += 1;
        let has_threads = queue.has_threads;
        drop(queue);
        self.news.notify_one();
        Ok(has_threads)
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
    fn take(&mut self) -> Option<Job> {
        let user = self.turns.pop_front()?;
        let jobs = self.of_users.get_mut(&user)?;
        let job = jobs.pop_front()?;
        self.waiting -= 1;
        if jobs.is_empty() {
            self.of_users.remove(&user);
        } else {
            self.turns.push_back(user);
        }
        Some(job)
    }
}

impl Job {
    /// For whoever has gone away meanwhile nothing is done.
    fn carry_out(self) {
        match self {
            Self::Check { tell, .. } if tell.is_closed() => {}
            Self::Hash { tell, .. } if tell.is_closed() => {}
            Self::Check { password, hash, tell } => {
                let hash = str::from_utf8(&hash).unwrap_or_default();
                let is_right = bcrypt::verify(password, hash).unwrap_or(false);
                tell.send(is_right).ok();
            }
            Self::Hash { password, cost, tell } => {
                let hashed = bcrypt::hash_with_result(password, cost);
                // The kind that Go's bcrypt makes.
                let hashed = hashed.map(|parts| parts.format_for_version(Version::TwoA).into());
                drop(tell.send(hashed.map_err(io::Error::other)));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of bcrypt: so that a test takes no time.
    const LEAST: u32 = 4;

    #[tokio::test]
    async fn a_password_is_known_by_its_hash_alone() {
        let passwords = Passwords::new(LEAST);
        let hash = passwords.hash("alice", "geheim").await.unwrap();
        assert!(hash.starts_with(b"$2a$04$"), "{hash:?}");
        assert_ne!(hash, passwords.hash("alice", "geheim").await.unwrap(), "salted");
        assert_eq!(passwords.check("alice", "geheim", &hash).await, Ok(true));
        assert_eq!(passwords.check("alice", "Geheim", &hash).await, Ok(false));
        assert_eq!(passwords.check("alice", "", &hash).await, Ok(false));
        for none in ["", "geheim", "$2a$04$short"] {
            assert_eq!(passwords.check("alice", "", &none.into()).await, Ok(false), "{none}");
        }
        let empty = passwords.hash("bob", "").await.unwrap();
        assert_eq!(passwords.check("bob", "", &empty).await, Ok(true));
        let most = "x".repeat(PASSWORD_BYTES_MAX);
        let hash = passwords.hash("bob", &most).await.unwrap();
        assert_eq!(passwords.check("bob", &most, &hash).await, Ok(true));
        assert_eq!(passwords.hash("bob", &(most + "x")).await, Err(PasswordError::TooLong));
    }

    fn asked(line: &Line, user: &str) -> Result<bool, PasswordError> {
        let (tell, _) = oneshot::channel();
        line.add(user, Job::Check { password: user.to_owned(), hash: Bytes::new(), tell })
    }

    #[test]
    fn users_have_their_turns_and_nobody_fills_the_line() {
        let line = Line { queue: Mutex::default(), news: Condvar::new() };
        for _ in 0..PASSWORDS_OF_USER_WAITING_MAX {
            asked(&line, "root").unwrap();
        }
        assert_eq!(asked(&line, "root"), Err(PasswordError::TooMany));
        asked(&line, "alice").unwrap();
        asked(&line, "bob").unwrap();
        asked(&line, "alice").unwrap();
        let next = || match line.next().unwrap() {
            Job::Check { password, .. } | Job::Hash { password, .. } => password,
        };
        let turns: Vec<String> = (0..6).map(|_| next()).collect();
        assert_eq!(turns, ["root", "alice", "bob", "root", "alice", "root"]);
        asked(&line, "root").unwrap();
        for user in 0.. {
            if asked(&line, &format!("user {user}")).is_err() {
                break;
            }
        }
        let queue = line.queue.lock();
        assert_eq!(queue.waiting, PASSWORDS_WAITING_MAX);
        let waiting: usize = queue.of_users.values().map(VecDeque::len).sum();
        assert_eq!((waiting, queue.turns.len()), (queue.waiting, queue.of_users.len()));
    }
}
