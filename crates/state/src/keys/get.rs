//! GET.

use std::sync::Arc;

use bytes::Bytes;
use mvcc::{ReadError, Store, store::Larger};

use super::{
    Error, Listing, Node, index,
    lookup::{Place, look_up},
};

/// How often a node is looked up again because it was overwritten, and compacted, in between.
const ATTEMPTS_MAX: usize = 16;

/// What GET finds.
#[derive(Debug)]
pub struct Found {
    /// The node itself. For a directory, walk `listing`.
    pub node: Node,
    /// The store's index at which all of this was read.
    pub index: u64,
    /// Only for a directory.
    pub listing: Option<Listing>,
}

/// GET: 100 or 104 as in 2.3.8 if it is not there.
///
/// `path` is a clean one: see [`clean`](super::clean). Counts nothing:
/// [`Reader::get`](crate::Reader::get) does.
pub fn get(store: &Arc<Store>, path: &Bytes, recursive: bool) -> Result<Found, Error> {
    get_while(store, path, recursive, || ())
}

/// The same; a value with more than so many bytes is not read.
pub(crate) fn get_up_to(
    store: &Arc<Store>,
    path: &Bytes,
    recursive: bool,
    value_max: usize,
) -> Result<Result<Found, Larger>, Error> {
    find(store, path, (recursive, value_max), || ())
}

/// [`get`], with what a test lets happen between looking a node up and reading it.
pub(crate) fn get_while(
    store: &Arc<Store>,
    path: &Bytes,
    recursive: bool,
    meanwhile: impl FnMut(),
) -> Result<Found, Error> {
    // No value is larger than that.
    find(store, path, (recursive, usize::MAX), meanwhile)?.or(Err(ReadError::Compacted.into()))
}

fn find(
    store: &Arc<Store>,
    path: &Bytes,
    (recursive, value_max): (bool, usize),
    mut meanwhile: impl FnMut(),
) -> Result<Result<Found, Larger>, Error> {
    let mut pin = None;
    for _ in 0..ATTEMPTS_MAX {
        let (revision, place) = {
            let view = store.view();
            let revision = view.revision();
            let place = look_up(&view, path).map_err(|nothing| nothing.refuse(revision))?;
            (revision, place)
        };
        if matches!(place, Place::Dir(_)) && pin.is_none() {
            // The children are read later, and at the same revision: look again at one that stays.
            pin = Some(store.pin());
            continue;
        }
        meanwhile();
        let node = match place {
            Place::Dir(None) => Node::implied_dir(path.clone()),
            Place::File(head) | Place::Dir(Some(head)) => {
                match store.record_up_to(head, value_max)? {
                    Some(Ok(record)) => Node::of(&record),
                    Some(Err(larger)) => return Ok(Err(larger)),
                    None => continue,
                }
            }
        };
        let pin = pin.take().filter(|_| node.dir);
        let listing = pin.map(|pin| Listing::new(pin, store, path, revision, recursive));
        return Ok(Ok(Found { node, index: index(revision), listing }));
    }
    Err(ReadError::Compacted.into())
}
