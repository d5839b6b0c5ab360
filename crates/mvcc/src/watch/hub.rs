//! Finds the watchers that a commit concerns, without asking all of them.

use std::{
    collections::BTreeMap,
    ops::Bound,
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicUsize, Ordering},
    },
    task::Waker,
};

use bytes::Bytes;
use parking_lot::Mutex;

use super::{
    Interest,
    intervals::Intervals,
    mailbox::{Backlog, Mailbox, Offer},
};
use crate::{
    path,
    record::{Commit, Kind, Record},
};

/// All watchers of a store.
#[derive(Clone, Debug, Default)]
pub(crate) struct Hub(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    watchers: Mutex<Watchers>,
    /// Of paths, and of keys.
    counts: [AtomicUsize; 2],
    backlog: Arc<Backlog>,
    /// All that happened up to this revision was offered to those whom it concerns.
    published: AtomicI64,
}

type Mailboxes = BTreeMap<u64, Arc<Mailbox>>;
type ByName = BTreeMap<Bytes, Mailboxes>;

#[derive(Debug, Default)]
struct Watchers {
    last_id: u64,
    /// v2, the path alone.
    exact: ByName,
    /// v2, the path and all below.
    recursive: ByName,
    /// v3, one key.
    keys: ByName,
    /// v3, true ranges.
    ranges: Intervals<Arc<Mailbox>>,
}

/// Where an interest is kept.
#[derive(Debug)]
enum Place {
    Exact(Bytes),
    Recursive(Bytes),
    Key(Bytes),
    Range(Bytes, Option<Bytes>),
}

impl Place {
    /// The names are copied: they may be slices of a whole request.
    fn of(interest: &Interest) -> Self {
        let copy = |name: &Bytes| Bytes::copy_from_slice(name);
        match interest {
            Interest::Path { path, recursive: false } => Self::Exact(copy(path)),
            Interest::Path { path, recursive: true } => Self::Recursive(copy(path)),
            Interest::Keys { from, to: Some(to) } if **to == *path::successor(from) => {
                Self::Key(copy(from))
            }
            Interest::Keys { from, to } => Self::Range(copy(from), to.as_ref().map(copy)),
        }
    }
}

/// A watcher's place in the hub, given back when dropped.
#[derive(Debug)]
pub(crate) struct Registration {
    hub: Hub,
    id: u64,
    place: Place,
    mailbox: Arc<Mailbox>,
}

impl Registration {
    pub(crate) fn mailbox(&self) -> &Mailbox {
        &self.mailbox
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.hub.0.watchers.lock().remove(self.id, &self.place);
        self.hub.count(&self.place).fetch_sub(1, Ordering::Relaxed);
    }
}

impl Hub {
    /// Watchers of paths, and of keys.
    pub(crate) fn counts(&self) -> [usize; 2] {
        self.0.counts.each_ref().map(|count| count.load(Ordering::Relaxed))
    }

    fn count(&self, of: &Place) -> &AtomicUsize {
        let [paths, keys] = &self.0.counts;
        match of {
            Place::Exact(_) | Place::Recursive(_) => paths,
            Place::Key(_) | Place::Range(..) => keys,
        }
    }

    /// Watchers that have history to read, and commits that wait in mailboxes.
    pub(crate) fn backlog(&self) -> (usize, usize) {
        let Backlog { behind, waiting } = &*self.0.backlog;
        (behind.load(Ordering::Relaxed), waiting.load(Ordering::Relaxed))
    }

    /// A hub of a store that begins at this revision.
    pub(crate) fn at(revision: i64) -> Self {
        let hub = Self::default();
        hub.0.published.store(revision, Ordering::Release);
        hub
    }

    /// See [`Store::published`](crate::Store::published).
    pub(crate) fn published(&self) -> i64 {
        self.0.published.load(Ordering::Acquire)
    }

    /// Commits with `main >= since` that concern `interest` come into the mailbox from now on.
    pub(crate) fn register(&self, interest: &Interest, since: i64) -> Registration {
        let mailbox = Arc::new(Mailbox::new(interest, since, &self.0.backlog));
        let place = Place::of(interest);
        let id = self.0.watchers.lock().add(&place, Arc::clone(&mailbox));
        self.count(&place).fetch_add(1, Ordering::Relaxed);
        Registration { hub: self.clone(), id, place, mailbox }
    }

    /// The store has gone on to this revision without commits to tell of: all watchers ask history.
    pub(crate) fn skip(&self, revision: i64) {
        let (mut wakers, offered) = (Vec::new(), self.published());
        self.0.watchers.lock().each(|mailbox| wakers.extend(mailbox.skip(offered, revision)));
        self.0.published.fetch_max(revision, Ordering::AcqRel);
        wakers.into_iter().for_each(Waker::wake);
    }

    pub(crate) fn publish(&self, commits: &[Arc<Commit>]) {
        let mut wakers = Vec::new();
        {
            // Not the count: a watcher that registers now must find the lock, or the commits.
            let watchers = self.0.watchers.lock();
            let concerned = if watchers.is_empty() { &[] } else { commits };
            for commit in concerned {
                let offer = Offer::new(commit);
                for record in &commit.records {
                    watchers.offer(offer, record, &mut wakers);
                }
            }
            if let Some(last) = commits.last() {
                self.0.published.fetch_max(last.main, Ordering::AcqRel);
            }
        }
        wakers.into_iter().for_each(Waker::wake);
    }
}

impl Watchers {
    fn is_empty(&self) -> bool {
        self.exact.is_empty()
            && self.recursive.is_empty()
            && self.keys.is_empty()
            && self.ranges.is_empty()
    }

    fn each(&self, mut tell: impl FnMut(&Mailbox)) {
        for by_name in [&self.exact, &self.recursive, &self.keys] {
            by_name.values().flat_map(BTreeMap::values).for_each(|mailbox| tell(mailbox));
        }
        self.ranges.each(&mut |mailbox| tell(mailbox));
    }

    fn add(&mut self, place: &Place, mailbox: Arc<Mailbox>) -> u64 {
        self.last_id += 1;
        let id = self.last_id;
        let (map, name) = match place {
            Place::Exact(name) => (&mut self.exact, name),
            Place::Recursive(name) => (&mut self.recursive, name),
            Place::Key(name) => (&mut self.keys, name),
            Place::Range(from, to) => {
                self.ranges.insert(id, (from.clone(), to.as_ref()), mailbox);
                return id;
            }
        };
        map.entry(name.clone()).or_default().insert(id, mailbox);
        id
    }

    fn remove(&mut self, id: u64, place: &Place) {
        let (map, name) = match place {
            Place::Exact(name) => (&mut self.exact, name),
            Place::Recursive(name) => (&mut self.recursive, name),
            Place::Key(name) => (&mut self.keys, name),
            Place::Range(from, _) => {
                self.ranges.remove(id, from);
                return;
            }
        };
        if let Some(mailboxes) = map.get_mut(name) {
            mailboxes.remove(&id);
            if mailboxes.is_empty() {
                map.remove(name);
            }
        }
    }

    /// Puts the commit into the mailboxes of those whom one of its records concerns. A mailbox
    /// takes a commit once, however often it is offered.
    fn offer(&self, offer: Offer<'_>, record: &Record, wakers: &mut Vec<Waker>) {
        let mut tell = |mailboxes: &Mailboxes| {
            wakers.extend(mailboxes.values().filter_map(|mailbox| mailbox.offer(offer)));
        };
        let name = record.name.as_ref();
        if record.kind == Kind::Key {
            self.keys.get(name).map(&mut tell);
        }
        if record.told && name != b"/" && path::is_path(name) {
            self.exact.get(name).map(&mut tell);
            self.recursive.get(name).map(&mut tell);
            let above = path::ancestors(name).chain([b"/".as_slice()]);
            for dir in above.filter(|dir| !path::is_hidden(dir, name)) {
                self.recursive.get(dir).map(&mut tell);
            }
            if record.deleted && record.kind == Kind::Dir {
                for map in [&self.exact, &self.recursive] {
                    below(map, name).for_each(&mut tell);
                }
            }
        }
        if record.kind == Kind::Key {
            self.ranges.containing(name, &mut |mailbox| wakers.extend(mailbox.offer(offer)));
        }
    }
}

/// Those who watch something strictly below a directory.
fn below<'a>(map: &'a ByName, dir: &[u8]) -> impl Iterator<Item = &'a Mailboxes> {
    let (from, to) = (path::prefix(dir), path::prefix_end(dir));
    map.range::<[u8], _>((Bound::Excluded(from.as_slice()), Bound::Excluded(to.as_slice())))
        .map(|(_, mailboxes)| mailboxes)
}
