//! Who has logged in: simple tokens, which come through the log, so that every member knows them.
//!
//! Each member forgets a token by its own clock when it was not used for some time, as in etcd. They
//! lie in memory alone: after a restart clients log in again.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use base::limits::{TOKEN_TTL_DEFAULT, TOKENS_MAX};
use parking_lot::Mutex;
use proto::command::By;

use super::Auth;

/// All tokens that this member knows.
#[derive(Debug)]
pub struct Tokens {
    inner: Mutex<Inner>,
    /// Some have come whose time has not begun.
    has_new: AtomicBool,
}

#[derive(Debug)]
struct Inner {
    tokens: BTreeMap<String, Token>,
    new: Vec<String>,
    ttl: Duration,
    swept: Duration,
}

#[derive(Debug)]
struct Token {
    user: String,
    /// The auth revision when it was made.
    revision: u64,
    /// Zero: its time has not begun.
    used: Duration,
}

impl Default for Tokens {
    fn default() -> Self {
        let inner = Inner {
            tokens: BTreeMap::new(),
            new: Vec::new(),
            ttl: TOKEN_TTL_DEFAULT,
            swept: Duration::ZERO,
        };
        Self { inner: Mutex::new(inner), has_new: AtomicBool::new(false) }
    }
}

impl Tokens {
    /// How long a token lives that nobody uses.
    pub fn keep_for(&self, ttl: Duration) {
        self.inner.lock().ttl = ttl;
    }

    /// A user has logged in, at this auth revision.
    pub(crate) fn add(&self, token: String, user: String, revision: u64) {
        let mut inner = self.inner.lock();
        inner.new.push(token.clone());
        inner.tokens.insert(token, Token { user, revision, used: Duration::ZERO });
        self.has_new.store(true, Ordering::Release);
    }

    /// Nobody is logged in any more.
    pub(crate) fn clear(&self) {
        let mut inner = self.inner.lock();
        inner.tokens.clear();
        inner.new.clear();
    }

    /// Lets the time of new ones begin, and forgets those whose time is over: whoever applies calls it
    /// right after, before anybody is answered. `now` is a clock that never goes back. Costs nothing if
    /// there are none.
    pub fn look(&self, now: Duration) {
        if !self.has_new.swap(false, Ordering::AcqRel) {
            return;
        }
        let now = now.max(Duration::from_nanos(1));
        let mut inner = self.inner.lock();
        for name in std::mem::take(&mut inner.new) {
            if let Some(token) = inner.tokens.get_mut(&name) {
                token.used = now;
            }
        }
        inner.sweep(now);
    }

    /// Whose token it is, with the auth revision as it is; `None`: nobody's, or no more.
    pub fn find(&self, auth: &Auth, token: &str, now: Duration) -> Option<By> {
        let mut inner = self.inner.lock();
        let ttl = inner.ttl;
        let found = inner.tokens.get_mut(token)?;
        let is_over = found.used + ttl < now && !found.used.is_zero();
        let user = auth.user(&found.user).filter(|user| user.since <= found.revision);
        if is_over || user.is_none() {
            inner.tokens.remove(token);
            return None;
        }
        if !found.used.is_zero() {
            found.used = now;
        }
        Some(By { user: found.user.clone(), auth_revision: auth.revision() })
    }
}

impl Inner {
    /// Not more often than there is much to find.
    fn sweep(&mut self, now: Duration) {
        let is_crowded = self.tokens.len() > TOKENS_MAX;
        if now < self.swept + self.ttl / 8 && !is_crowded {
            return;
        }
        self.swept = now;
        let ttl = self.ttl;
        self.tokens.retain(|_, token| token.used + ttl >= now);
        if self.tokens.len() > TOKENS_MAX {
            // An eighth, those that have rested longest.
            let mut used: Vec<Duration> = self.tokens.values().map(|token| token.used).collect();
            let (_, bound, _) = used.select_nth_unstable(TOKENS_MAX / 8);
            let bound = *bound;
            self.tokens.retain(|_, token| token.used > bound);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::{Draft, User};

    const SECOND: Duration = Duration::from_secs(1);

    fn with_user(since: u64) -> Auth {
        let mut draft = Draft::of(&Auth::default());
        draft.put_user("alice", User { since, ..User::default() });
        draft.finish().unwrap().0
    }

    #[test]
    fn a_token_lives_as_long_as_it_is_used() {
        let (auth, tokens) = (with_user(2), Tokens::default());
        tokens.keep_for(10 * SECOND);
        tokens.add("t.7".into(), "alice".into(), 2);
        tokens.look(5 * SECOND);
        let find = |at: u32| tokens.find(&auth, "t.7", at * SECOND);
        let alice = By { user: "alice".into(), auth_revision: auth.revision() };
        for at in [5, 15, 24, 34] {
            assert_eq!(find(at), Some(alice.clone()), "{at}");
        }
        assert_eq!(find(45), None);
        assert_eq!(find(34), None, "it is gone");
        assert_eq!(tokens.find(&auth, "t.8", SECOND), None);
    }

    #[test]
    fn a_token_is_nobodys_once_its_user_is_another() {
        let tokens = Tokens::default();
        tokens.add("t.7".into(), "alice".into(), 2);
        tokens.look(SECOND);
        assert!(tokens.find(&with_user(2), "t.7", SECOND).is_some());
        // Another password, or deleted and made anew.
        assert_eq!(tokens.find(&with_user(3), "t.7", SECOND), None);
        tokens.add("t.8".into(), "alice".into(), 2);
        assert_eq!(tokens.find(&Auth::default(), "t.8", SECOND), None);
        tokens.add("t.9".into(), "alice".into(), 2);
        tokens.clear();
        assert_eq!(tokens.find(&with_user(2), "t.9", SECOND), None);
    }

    #[test]
    fn tokens_that_nobody_uses_take_no_room() {
        let (auth, tokens) = (with_user(2), Tokens::default());
        tokens.keep_for(10 * SECOND);
        let add = |number: usize, at: Duration| {
            tokens.add(format!("t.{number}"), "alice".into(), 2);
            tokens.look(at);
        };
        (0..100).for_each(|number| add(number, SECOND));
        add(100, 20 * SECOND);
        assert_eq!(tokens.inner.lock().tokens.len(), 1);
        for number in 0..=TOKENS_MAX {
            let nanos = u64::try_from(number).unwrap();
            add(number, 20 * SECOND + Duration::from_nanos(nanos));
        }
        let left = tokens.inner.lock().tokens.len();
        assert!(left <= TOKENS_MAX && left > TOKENS_MAX / 2, "{left}");
        let last = format!("t.{TOKENS_MAX}");
        assert!(tokens.find(&auth, &last, 21 * SECOND).is_some(), "the newest is there");
        assert!(tokens.find(&auth, "t.0", 21 * SECOND).is_none(), "the oldest is not");
    }
}
