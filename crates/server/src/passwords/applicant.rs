//! Who asks that a password be looked at, and whether he still listens.

use std::{
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    },
};

/// Whose password is looked at.
#[derive(Clone, Debug, Default)]
pub struct Applicant {
    /// From which he asks. `None`: that is not known, or is this one.
    pub host: Option<IpAddr>,
    /// Of connections that say by it whether he listens; others give up waiting when he does not.
    pub presence: Option<Arc<Presence>>,
}

/// Whether somebody waits for a password to be looked at, and whether he has closed his half of the
/// connection meanwhile. Whoever has may have gone away, or may be done with asking and not with listening:
/// before something is sent to him nobody can tell.
#[derive(Debug, Default)]
pub struct Presence {
    waiting: AtomicUsize,
    has_hung_up: AtomicBool,
}

impl Presence {
    /// Whether it is worth a look.
    pub fn is_waiting(&self) -> bool {
        self.waiting.load(Relaxed) > 0
    }

    /// He has closed his half.
    pub fn hang_up(&self) {
        self.has_hung_up.store(true, Relaxed);
    }

    pub(super) fn has_hung_up(&self) -> bool {
        self.has_hung_up.load(Relaxed)
    }
}

impl Applicant {
    /// He waits until what is returned is dropped.
    pub(super) fn waits(&self) -> Waits<'_> {
        let waits = Waits(self.presence.as_deref());
        if let Waits(Some(presence)) = waits {
            presence.waiting.fetch_add(1, Relaxed);
        }
        waits
    }
}

/// See [`Applicant::waits`].
pub(super) struct Waits<'a>(Option<&'a Presence>);

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        if let Self(Some(presence)) = self {
            presence.waiting.fetch_sub(1, Relaxed);
        }
    }
}
