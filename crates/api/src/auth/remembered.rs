//! Credentials that were found right. v2 sends them with each request, and looking at a password
//! costs a tenth of a second.

use std::{collections::BTreeSet, mem};

use base::limits::CREDENTIALS_MAX;
use parking_lot::Mutex;
use ring::{
    hmac::{self, HMAC_SHA256, Key},
    rand::SecureRandom,
};

/// What is kept of a name, a password, and the hash that is the user's: nobody who reads it can tell them,
/// or try others, without the key, which is this process's own. Another hash makes another tag: whoever gets a
/// new password is remembered no more, and nobody else is forgotten.
pub(super) type Tag = [u8; 32];

/// Credentials that are right.
#[derive(Debug)]
pub(super) struct Remembered {
    /// `None`: there is no randomness to make one of; nothing is remembered.
    key: Option<Key>,
    known: Mutex<Known>,
}

/// Of two generations, so that those that are used are not forgotten with the others.
#[derive(Debug, Default)]
struct Known {
    young: BTreeSet<Tag>,
    old: BTreeSet<Tag>,
}

impl Remembered {
    pub(super) fn new(random: &dyn SecureRandom) -> Self {
        Self { key: Key::generate(HMAC_SHA256, random).ok(), known: Mutex::default() }
    }

    pub(super) fn tag(&self, user: &str, hash: &[u8], password: &str) -> Option<Tag> {
        let mut context = hmac::Context::with_key(self.key.as_ref()?);
        for part in [user.as_bytes(), hash] {
            context.update(&(part.len() as u64).to_be_bytes());
            context.update(part);
        }
        context.update(password.as_bytes());
        context.sign().as_ref().try_into().ok()
    }

    /// Whether these were right.
    pub(super) fn knows(&self, tag: &Tag) -> bool {
        let mut known = self.known.lock();
        if known.young.contains(tag) {
            return true;
        }
        let is_old = known.old.remove(tag);
        if is_old {
            known.add(*tag);
        }
        is_old
    }

    pub(super) fn add(&self, tag: Tag) {
        self.known.lock().add(tag);
    }
}

impl Known {
    fn add(&mut self, tag: Tag) {
        if self.young.len() >= CREDENTIALS_MAX / 2 {
            self.old = mem::take(&mut self.young);
        }
        self.young.insert(tag);
    }
}

#[cfg(test)]
mod tests {
    use ring::rand::SystemRandom;

    use super::*;

    #[test]
    fn credentials_are_known_until_their_users_hash_is_another() {
        let remembered = Remembered::new(&SystemRandom::new());
        let tag =
            |user, hash: &str, password| remembered.tag(user, hash.as_bytes(), password).unwrap();
        let own = tag("a", "h", "b");
        assert!(!remembered.knows(&own));
        remembered.add(own);
        assert!(remembered.knows(&tag("a", "h", "b")));
        for (user, hash, password) in
            [("a", "h", "c"), ("a", "i", "b"), ("ah", "", "b"), ("", "ah", "b"), ("a", "hb", "")]
        {
            assert!(!remembered.knows(&tag(user, hash, password)), "{user} {hash} {password}");
        }
        let other = Remembered::new(&SystemRandom::new());
        assert_ne!(other.tag("a", b"h", "b").unwrap(), own);
    }

    #[test]
    fn who_comes_often_is_not_forgotten_with_the_others() {
        let remembered = Remembered::new(&SystemRandom::new());
        let tag = |name: usize| remembered.tag(&name.to_string(), b"h", "p").unwrap();
        for name in 0..3 * CREDENTIALS_MAX {
            remembered.add(tag(name));
            assert!(remembered.knows(&tag(0)), "{name}");
        }
        assert!(!remembered.knows(&tag(1)));
        let known = remembered.known.lock();
        assert!(known.young.len() + known.old.len() <= CREDENTIALS_MAX);
    }
}
