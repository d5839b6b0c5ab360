//! GET with `wait=true`.

use std::{
    sync::Arc,
    task::{Context, Poll, ready},
};

use base::Code;
use bytes::Bytes;
use mvcc::{Commit, Interest, ReadError, Store};

use super::{Error, Event, index, tell};

/// GET with `wait=true`.
///
/// `since`: the first index of interest; 0 is "from now on". Below what compaction has left: 401,
/// cause `the requested history has been cleared [oldest/asked]`.
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
    let interest = Interest::Path { path: path.clone(), recursive };
    let inner =
        store.watch(interest.clone(), since).map_err(|error| cleared(store, since, error))?;
    let store = Arc::clone(store);
    Ok(Watcher { store, interest, since, index: index(current), inner, current: None })
}

/// A running watch; dropping it ends it.
#[derive(Debug)]
pub struct Watcher {
    store: Arc<Store>,
    interest: Interest,
    since: i64,
    index: u64,
    inner: mvcc::Watcher,
    /// A commit that is being told, and how many of its changes were considered.
    current: Option<(Arc<Commit>, usize)>,
}

impl Watcher {
    /// The store's index when the watch began: its `X-Etcd-Index`.
    pub fn index(&self) -> u64 {
        self.index
    }

    /// The next event, in order, none left out. With `prev_node` where history still has it.
    pub fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Result<Event, Error>> {
        loop {
            if let Some(event) = self.next_of_current()? {
                return Poll::Ready(Ok(event));
            }
            match ready!(self.inner.poll_next(cx)) {
                Ok(commit) => self.current = Some((commit, 0)),
                Err(error) => {
                    let asked = self.inner.position();
                    return Poll::Ready(Err(cleared(&self.store, asked, error)));
                }
            }
        }
    }

    /// The next event of the commit that is being told. A v3 write of many keys has many, of which
    /// some concern this watcher.
    fn next_of_current(&mut self) -> Result<Option<Event>, Error> {
        let Some((commit, considered)) = &mut self.current else { return Ok(None) };
        for (at, record) in tell::told(commit).skip(*considered) {
            *considered += 1;
            if at >= self.since && self.interest.concerns(record) {
                let prev_node = tell::prev_node(&self.store, record)?;
                return Ok(Some(tell::event(record, at, prev_node)));
            }
        }
        self.current = None;
        Ok(None)
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
