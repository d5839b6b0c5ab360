//! Watches of the same keys that go together.

use std::sync::{Arc, atomic::Ordering::Relaxed};

use client::v3::Asker;
use parking_lot::Mutex;
use proto::etcdserverpb::WatchResponse;
use tokio::sync::Notify;

use super::receiver::{Receiver, Slow, last_revision};
use crate::figures::Figures;

/// Watches of the same keys that go together.
///
/// *Invariant: each of them has been told all up to `told`, and will be told all above.*
#[derive(Debug)]
pub(super) struct Group {
    inner: Mutex<Inner>,
    empty: Notify,
    asker: Asker,
}

#[derive(Debug)]
struct Inner {
    told: i64,
    receivers: Vec<Arc<Receiver>>,
    has_ended: bool,
}

/// Whether a watch goes along with a group.
#[derive(Debug)]
pub(super) enum Joined {
    /// It does.
    Along,
    /// It has to be told first what the group was told.
    Behind,
    /// There is no such group any more.
    Ended,
    /// There was none: this one is its own.
    Founded(Arc<Group>),
}

/// How the time of a group has ended.
#[derive(Debug)]
pub(super) enum Led {
    /// Nobody is left.
    Over,
    /// The founder is alone, and has no room for this.
    Alone(WatchResponse),
}

impl Group {
    pub(super) fn new(founder: &Arc<Receiver>, told: i64, asker: Asker) -> Self {
        let receivers = vec![Arc::clone(founder)];
        let inner = Mutex::new(Inner { told, receivers, has_ended: false });
        Self { inner, empty: Notify::new(), asker }
    }

    /// Takes in a watch that has been told all up to `told`.
    pub(super) fn join(&self, receiver: &Arc<Receiver>, told: i64, figures: &Figures) -> Joined {
        let mut inner = self.inner.lock();
        if inner.has_ended {
            return Joined::Ended;
        }
        if told < inner.told {
            return Joined::Behind;
        }
        receiver.set_asker(&self.asker);
        // It may have left a moment ago, and not have found itself here.
        if !receiver.is_gone() {
            inner.receivers.push(Arc::clone(receiver));
            figures.watchers.fetch_add(1, Relaxed);
        }
        Joined::Along
    }

    pub(super) fn leave(&self, receiver: &Arc<Receiver>, figures: &Figures) {
        let mut inner = self.inner.lock();
        let before = inner.receivers.len();
        inner.receivers.retain(|one| !Arc::ptr_eq(one, receiver));
        inner.lost(before, figures);
        if inner.receivers.is_empty() && before > 0 {
            inner.has_ended = true;
            self.empty.notify_one();
        }
    }

    /// Waits until nobody is left.
    pub(super) async fn emptied(&self) {
        self.empty.notified().await;
    }

    /// Tells all what a member has told, but for those who have no room for it: they belong to the group
    /// no longer. The error: there is none but the founder, who has none.
    pub(super) fn tell(
        &self,
        answer: &WatchResponse,
        founder: &Arc<Receiver>,
        figures: &Figures,
    ) -> Result<Vec<Arc<Receiver>>, Slow> {
        let mut inner = self.inner.lock();
        let before = inner.receivers.len();
        if let [only] = &*inner.receivers
            && Arc::ptr_eq(only, founder)
        {
            if let Err(slow) = only.offer(answer) {
                inner.has_ended = true;
                return Err(slow);
            }
            inner.told = last_revision(answer).map_or(inner.told, |last| inner.told.max(last));
            return Ok(Vec::new());
        }
        let all = std::mem::take(&mut inner.receivers);
        let (told, slow): (Vec<_>, Vec<_>) =
            all.into_iter().partition(|receiver| receiver.offer(answer).is_ok());
        inner.receivers = told;
        inner.told = last_revision(answer).map_or(inner.told, |last| inner.told.max(last));
        inner.lost(before, figures);
        if inner.receivers.is_empty() {
            inner.has_ended = true;
            self.empty.notify_one();
        }
        figures.events.fetch_add(before.saturating_sub(1) as u64, Relaxed);
        Ok(slow)
    }

    /// Its watch has ended; those who were there.
    pub(super) fn end(&self, figures: &Figures) -> Vec<Arc<Receiver>> {
        let mut inner = self.inner.lock();
        inner.has_ended = true;
        let before = inner.receivers.len();
        let receivers = std::mem::take(&mut inner.receivers);
        inner.lost(before, figures);
        receivers
    }
}

impl Inner {
    /// There were so many before: who is gone goes along with nobody.
    fn lost(&self, before: usize, figures: &Figures) {
        let along = |count: usize| count.saturating_sub(1) as u64;
        figures.watchers.fetch_sub(along(before) - along(self.receivers.len()), Relaxed);
    }
}
