//! A range in pieces: of any size, at one revision, in bounded memory.

use std::sync::Arc;

use base::{Refused, Revision};
use bytes::Bytes;
use mvcc::{Record, Store};
use prost::{
    Message as _,
    encoding::{encoded_len_varint, key_len},
};
use proto::{
    etcdserverpb::{
        RangeRequest,
        range_request::{SortOrder, SortTarget},
    },
    mvccpb::KeyValue,
};

use super::{
    Error,
    answer::pair,
    end,
    range::{Held, Most, Plan, Source as _, has_filters},
};

/// Keys that are looked up at once.
const KEYS_PER_LOOK: usize = 256;

/// A range in pieces, pinned at one revision. See [`Reader::scan`](crate::Reader::scan).
///
/// Removing what was compacted waits for it, for a bounded time: a scan that lasts longer can end
/// with [`Refused::Compacted`].
pub struct Scan {
    held: Held,
    walk: Walk,
    keys_only: bool,
    more: bool,
    total: u64,
    /// Pairs that are still to come.
    left: u64,
}

/// What is left.
#[derive(Clone, Debug)]
enum Walk {
    /// In order of keys: from this one on, so many.
    Keys { from: Vec<u8>, to: Option<Bytes>, left: usize },
    /// In some other order: all places, and how many are done.
    Places(Arc<Vec<Revision>>, usize),
}

impl Scan {
    pub(crate) fn new(store: &Arc<Store>, request: &RangeRequest) -> Result<Self, Error> {
        let held = Held::new(store, request.revision)?;
        let by_key =
            request.sort_target() == SortTarget::Key && request.sort_order() != SortOrder::Descend;
        let keys_only = request.keys_only;
        if request.count_only || request.range_end.is_empty() || !by_key || has_filters(request) {
            let Plan { places, more, total } = Plan::new(&held.source(), request, Most::WHOLE)?;
            let left = places.len() as u64;
            let walk = Walk::Places(Arc::new(places), 0);
            return Ok(Self { held, walk, keys_only, more, total, left });
        }
        let to = end(&request.range_end).map(Bytes::copy_from_slice);
        let total = held.store.count(&request.key, to.as_deref(), held.at)?;
        let limit = usize::try_from(request.limit).ok().filter(|limit| *limit > 0);
        let limit = limit.unwrap_or(usize::MAX);
        let left = total.min(limit as u64);
        let walk = Walk::Keys { from: request.key.to_vec(), to, left: limit };
        Ok(Self { held, walk, keys_only, more: total > left, total, left })
    }

    /// The current revision when it began, for the answer's header.
    pub fn revision(&self) -> i64 {
        self.held.current
    }

    /// Keys in the range, whatever the limit.
    pub fn count(&self) -> i64 {
        i64::try_from(self.total).unwrap_or(i64::MAX)
    }

    /// Whether the limit leaves some out.
    pub fn more(&self) -> bool {
        self.more
    }

    /// Whether all pairs were given out.
    pub fn is_done(&self) -> bool {
        self.left == 0
    }

    /// The next pairs: about so many bytes of them, or one. Empty at the end.
    pub fn next_pairs(&mut self, bytes: usize) -> Result<Vec<KeyValue>, Error> {
        let mut pairs = Vec::new();
        let mut size = 0;
        let keys_only = self.keys_only;
        let source = self.held.source();
        self.walk.each(&self.held, |place| {
            let pair =
                if keys_only { pair(&source.head(place)?) } else { pair(&*source.record(place)?) };
            size += pair.encoded_len();
            pairs.push(pair);
            Ok(size < bytes)
        })?;
        self.left = self.left.saturating_sub(pairs.len() as u64);
        Ok(pairs)
    }

    /// Bytes that it holds in memory for itself: the places of its keys, if it needs them all.
    pub fn bytes(&self) -> usize {
        match &self.walk {
            Walk::Keys { .. } => 0,
            Walk::Places(places, _) => size_of_val(places.as_slice()),
        }
    }

    /// A way to know how many bytes all pairs that are left take in an encoded [`RangeResponse`],
    /// before they are read.
    ///
    /// [`RangeResponse`]: proto::etcdserverpb::RangeResponse
    pub fn measure(&self) -> Measure<'_> {
        Measure { scan: self, walk: self.walk.clone(), sizes: Sizes::default() }
    }
}

/// See [`Scan::measure`].
pub struct Measure<'a> {
    scan: &'a Scan,
    walk: Walk,
    sizes: Sizes,
}

/// What [`Measure`] finds, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sizes {
    /// Of all pairs.
    pub all: u64,
    /// Of the largest one.
    pub largest: usize,
}

impl Measure<'_> {
    /// Looks at the next so many keys; the sizes once all are done.
    pub fn step(&mut self, keys: usize) -> Result<Option<Sizes>, Error> {
        let held = &self.scan.held;
        let (keys_only, sizes) = (self.scan.keys_only, &mut self.sizes);
        let mut left = keys;
        self.walk.each(held, |place| {
            let (head, value_len) = held.store.head(place)?.ok_or(Refused::Compacted)?;
            let value_len = if keys_only { 0 } else { value_len };
            let bytes = field_len(&head, value_len);
            sizes.all += bytes as u64;
            sizes.largest = sizes.largest.max(bytes);
            left = left.saturating_sub(1);
            Ok(left > 0)
        })?;
        Ok((left > 0).then_some(self.sizes))
    }
}

impl Walk {
    /// Calls `each` for one place after the other until it says false.
    fn each(
        &mut self,
        held: &Held,
        mut each: impl FnMut(Revision) -> Result<bool, Error>,
    ) -> Result<(), Error> {
        match self {
            Self::Places(places, done) => {
                while let Some(place) = places.get(*done) {
                    *done += 1;
                    if !each(*place)? {
                        break;
                    }
                }
            }
            Self::Keys { from, to, left } => loop {
                let limit = KEYS_PER_LOOK.min(*left);
                let found = held.store.range(from, to.as_deref(), held.at, limit)?;
                let is_last = found.len() < KEYS_PER_LOOK;
                for (name, place) in found {
                    // The next name after this one.
                    from.clear();
                    from.extend_from_slice(&name);
                    from.push(0);
                    *left -= 1;
                    if !each(place)? {
                        return Ok(());
                    }
                }
                if is_last {
                    *left = 0;
                    return Ok(());
                }
            },
        }
        Ok(())
    }
}

/// What a pair takes as an element of `kvs`.
fn field_len(head: &Record, value_len: usize) -> usize {
    let without_value = pair(head).encoded_len();
    let value = if value_len == 0 {
        0
    } else {
        key_len(5) + encoded_len_varint(value_len as u64) + value_len
    };
    let len = without_value + value;
    key_len(2) + encoded_len_varint(len as u64) + len
}
