//! GET with `wait=true`.

use std::{
    collections::VecDeque,
    sync::Arc,
    task::{Context, Poll, ready},
};

use base::Code;
use bytes::Bytes;
use mvcc::{Commit, Interest, Kind, ReadError, Record, Search, Store, path::is_below};

use super::{Error, Event, Node, index, tell};

/// Revisions that are asked of the past at once.
const PAST_BATCH: usize = 1_024;

/// GET with `wait=true`.
///
/// `since`: the first index of interest; 0 is "from now on". Below what compaction has left: 401,
/// cause `the requested history has been cleared [oldest/asked]`.
///
/// What is hidden from a recursive watch comes from the past all the same, as in 2.3.8: from up to
/// where the store stands when the watch begins.
pub fn watch(
    store: &Arc<Store>,
    path: &Bytes,
    recursive: bool,
    since: u64,
) -> Result<Watcher, Error> {
    let current = store.revision();
    let since = match since {
        0 => current + 1,
        // No store lives to see the end of the numbers: who asks for it waits for ever.
        since => i64::try_from(since).unwrap_or(i64::MAX).min(i64::MAX - 1),
    };
    if since < store.compacted() {
        return Err(cleared(store, since, ReadError::Compacted));
    }
    // The past of a recursive watch has rules of its own; whatever else is the inner one's.
    let past = Past { since, until: if recursive { current } else { 0 }, ..Past::default() };
    let inner_since = if recursive { since.max(current + 1) } else { since };
    let interest = Interest::Path { path: path.clone(), recursive };
    let inner = store
        .watch(interest.clone(), inner_since)
        .map_err(|error| cleared(store, inner_since, error))?;
    let (store, path) = (Arc::clone(store), path.clone());
    Ok(Watcher {
        store,
        path,
        recursive,
        interest,
        since,
        begin: current,
        past,
        inner,
        current: None,
        below_only: false,
    })
}

/// A running watch; dropping it ends it.
#[derive(Debug)]
pub struct Watcher {
    store: Arc<Store>,
    path: Bytes,
    recursive: bool,
    interest: Interest,
    since: i64,
    /// Where the store stood.
    begin: i64,
    past: Past,
    inner: mvcc::Watcher,
    /// A commit that is being told, and how many of its changes were considered.
    current: Option<(Arc<Commit>, usize)>,
    below_only: bool,
}

/// What was there before a recursive watch began.
#[derive(Debug, Default)]
struct Past {
    /// Everything below was found.
    since: i64,
    until: i64,
    /// Found, but not told yet.
    found: VecDeque<i64>,
    search: Option<Search>,
}

impl Past {
    /// Pending while it is searched: others have their turn.
    fn poll_next(
        &mut self,
        cx: &mut Context<'_>,
        store: &Store,
        interest: &Interest,
    ) -> Poll<Result<Option<Arc<Commit>>, ReadError>> {
        if self.found.is_empty() && self.since <= self.until {
            let (since, until) = (self.since, self.until);
            let search = self.search.get_or_insert_with(|| {
                Search::with_hidden(interest.clone(), since, until, PAST_BATCH)
            });
            let Some(found) = store.look(search)? else {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            };
            self.search = None;
            let is_full = found.len() >= PAST_BATCH;
            self.found = found.into_iter().map(|place| place.main).collect();
            self.since = self.found.back().filter(|_| is_full).unwrap_or(&until) + 1;
        }
        let Some(main) = self.found.front().copied() else { return Poll::Ready(Ok(None)) };
        let commit = store.commit_at(main)?;
        self.found.pop_front();
        Poll::Ready(Ok(Some(commit)))
    }

    /// The revision from which the next commit will come.
    fn position(&self) -> i64 {
        self.found.front().copied().unwrap_or(self.since)
    }
}

impl Watcher {
    /// The same without what a key of the very path says: for who may read only what is below.
    #[must_use]
    pub fn below_only(self, below_only: bool) -> Self {
        Self { below_only, ..self }
    }

    /// The store's index when the watch began: its `X-Etcd-Index`.
    pub fn index(&self) -> u64 {
        index(self.begin)
    }

    /// The next event, in order, none left out. With `prev_node` where history still has it.
    pub fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Result<Event, Error>> {
        loop {
            if let Some(event) = self.next_of_current()? {
                return Poll::Ready(Ok(event));
            }
            let commit = ready!(self.poll_commit(cx))?;
            self.current = Some((commit, 0));
        }
    }

    fn poll_commit(&mut self, cx: &mut Context<'_>) -> Poll<Result<Arc<Commit>, Error>> {
        match ready!(self.past.poll_next(cx, &self.store, &self.interest)) {
            Ok(None) => {}
            Ok(Some(commit)) => return Poll::Ready(Ok(commit)),
            Err(error) => {
                return Poll::Ready(Err(cleared(&self.store, self.past.position(), error)));
            }
        }
        let next = ready!(self.inner.poll_next(cx));
        Poll::Ready(next.map_err(|error| cleared(&self.store, self.inner.position(), error)))
    }

    /// The next event of the commit that is being told. A v3 write of many keys has many, of which
    /// some concern this watcher.
    fn next_of_current(&mut self) -> Result<Option<Event>, Error> {
        let Some((commit, considered)) = self.current.take() else { return Ok(None) };
        for (nth, (at, record)) in tell::told(&commit).enumerate().skip(considered) {
            if at >= self.since && self.concerns(record) {
                let prev_node = tell::prev_node(&self.store, record)?;
                // A directory may have taken the key's place.
                let hides = |prev: &Node| self.below_only && !prev.dir && prev.key == self.path;
                let prev_node = prev_node.filter(|prev| !hides(prev));
                let event = tell::event(record, at, prev_node);
                self.current = Some((Arc::clone(&commit), nth + 1));
                return Ok(Some(event));
            }
        }
        Ok(None)
    }

    /// Whether a change that v2 tells is for this watcher.
    fn concerns(&self, record: &Record) -> bool {
        if self.below_only && record.kind == Kind::Key && record.name == self.path {
            return false;
        }
        let is_past = self.recursive && record.revision.main <= self.begin;
        self.interest.concerns(record) || is_past && is_below(&self.path, &record.name)
    }
}

/// What 2.3.8 says of a history that is gone.
fn cleared(store: &Store, asked: i64, error: ReadError) -> Error {
    if !matches!(error, ReadError::Compacted) {
        return error.into();
    }
    let oldest = store.compacted();
    let cause = format!("the requested history has been cleared [{oldest}/{asked}]");
    Error::refused(Code::EventIndexCleared, cause, store.revision())
}
