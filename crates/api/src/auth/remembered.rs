//! Credentials that were found right. v2 sends them with each request, and looking at a password
//! costs a tenth of a second.

use std::collections::BTreeSet;

use base::limits::CREDENTIALS_MAX;
use parking_lot::Mutex;
use ring::{
    hmac::{self, HMAC_SHA256, Key},
    rand::SecureRandom,
};

/// What is kept of name and password: nobody who reads it can tell them, or try others, without the
/// key, which is this process's own.
type Tag = [u8; 32];

/// Credentials that are right, as users are at an auth revision.
#[derive(Debug)]
pub(crate) struct Remembered {
    /// `None`: there is no randomness to make one of; nothing is remembered.
    key: Option<Key>,
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    revision: u64,
    tags: BTreeSet<Tag>,
}

impl Remembered {
    pub(crate) fn new(random: &dyn SecureRandom) -> Self {
        Self { key: Key::generate(HMAC_SHA256, random).ok(), known: Mutex::default() }
    }

    fn tag(&self, user: &str, password: &str) -> Option<Tag> {
        let mut context = hmac::Context::with_key(self.key.as_ref()?);
        context.update(&(user.len() as u64).to_be_bytes());
        context.update(user.as_bytes());
        context.update(password.as_bytes());
        context.sign().as_ref().try_into().ok()
    }

    /// Whether these were right at this auth revision.
    pub(crate) fn knows(&self, revision: u64, user: &str, password: &str) -> bool {
        let Some(tag) = self.tag(user, password) else { return false };
        let known = self.known.lock();
        known.revision == revision && known.tags.contains(&tag)
    }

    pub(crate) fn add(&self, revision: u64, user: &str, password: &str) {
        let Some(tag) = self.tag(user, password) else { return };
        let mut known = self.known.lock();
        if known.revision < revision || known.tags.len() >= CREDENTIALS_MAX {
            known.tags.clear();
        }
        if known.revision <= revision {
            known.revision = revision;
            known.tags.insert(tag);
        }
    }
}

#[cfg(test)]
mod tests {
    use ring::rand::SystemRandom;

    use super::*;

    #[test]
    fn credentials_are_known_until_users_change() {
        let remembered = Remembered::new(&SystemRandom::new());
        assert!(!remembered.knows(3, "a", "b"));
        remembered.add(3, "a", "b");
        assert!(remembered.knows(3, "a", "b"));
        for (user, password) in [("a", "c"), ("ab", ""), ("", "ab"), ("a", ""), ("b", "a")] {
            assert!(!remembered.knows(3, user, password), "{user} {password}");
        }
        assert!(!remembered.knows(4, "a", "b"));
        remembered.add(4, "c", "d");
        assert!(!remembered.knows(3, "a", "b") && !remembered.knows(4, "a", "b"));
        // Whoever was looked at before that comes late.
        remembered.add(3, "e", "f");
        assert!(!remembered.knows(3, "e", "f") && !remembered.knows(4, "e", "f"));
        for number in 0..=CREDENTIALS_MAX {
            remembered.add(4, "many", &number.to_string());
        }
        assert!(remembered.known.lock().tags.len() <= CREDENTIALS_MAX);
        let other = Remembered::new(&SystemRandom::new());
        assert_ne!(other.tag("a", "b"), remembered.tag("a", "b"));
    }
}
