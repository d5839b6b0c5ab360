//! A range in pieces: of any size, at one revision, in bounded memory.

use std::sync::Arc;

use base::{Refused, Revision};
use bytes::Bytes;
use mvcc::Store;
use prost::Message as _;
use proto::{
    etcdserverpb::{
        RangeRequest,
        range_request::{SortOrder, SortTarget},
    },
    mvccpb::KeyValue,
};

use super::{
    Error,
    answer::{field_len, pair, pair_len},
    end,
    range::{Filter, Held, Most, Plan, Source as _},
};

/// Keys that are looked up at once.
const KEYS_PER_LOOK: usize = 256;
/// Keys that are looked at for the next pairs: filters may leave most of them out.
const KEYS_PER_PIECE: usize = 1_000;

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
    /// In order of keys, which are looked up again as they are given out.
    Keys(Keys),
    /// All places, and how many are done.
    Places(Arc<Vec<Revision>>, usize),
}

/// A walk through the index.
#[derive(Clone, Debug)]
struct Keys {
    from: Vec<u8>,
    /// `None`: to the end.
    to: Option<Vec<u8>>,
    /// From the end on.
    descends: bool,
    only: Option<Filter>,
    /// So many are wanted still, of those that the filter takes.
    left: usize,
}

impl Scan {
    /// Of keys of some revisions it remembers so many places; if they are more, they are filtered again.
    pub(crate) fn new(
        store: &Arc<Store>,
        request: &RangeRequest,
        places_max: usize,
    ) -> Result<Self, Error> {
        let held = Held::new(store, request.revision)?;
        let keys_only = request.keys_only;
        let is_by_key = request.sort_target() == SortTarget::Key;
        if request.count_only || request.range_end.is_empty() || !is_by_key {
            let Plan { places, more, total } = Plan::new(&held.source(), request, Most::WHOLE)?;
            let left = places.len() as u64;
            let walk = Walk::Places(Arc::new(places), 0);
            return Ok(Self { held, walk, keys_only, more, total, left });
        }
        let limit = usize::try_from(request.limit).ok().filter(|limit| *limit > 0);
        let limit = limit.unwrap_or(usize::MAX);
        let keys = Keys {
            from: request.key.to_vec(),
            to: end(&request.range_end).map(<[u8]>::to_vec),
            descends: request.sort_order() == SortOrder::Descend,
            only: Filter::of(request),
            left: limit,
        };
        let total = held.store.count(&keys.from, keys.to.as_deref(), held.at)?;
        let (walk, found) = match keys.only {
            None => (Walk::Keys(keys), total),
            Some(_) => filtered(&held, keys, places_max)?,
        };
        let left = found.min(limit as u64);
        Ok(Self { held, walk, keys_only, more: found > left, total, left })
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
        self.left == 0 || self.walk.is_over()
    }

    /// The next pairs: about so many bytes of them, or one. None at the end; and none yet, where a
    /// filter leaves many keys out: ask again.
    pub fn next_pairs(&mut self, bytes: usize) -> Result<Vec<KeyValue>, Error> {
        let mut pairs = Vec::new();
        let mut size = 0;
        let keys_only = self.keys_only;
        let source = self.held.source();
        self.walk.each(&self.held, KEYS_PER_PIECE, |place| {
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
            Walk::Keys(_) => 0,
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
        self.walk.each(held, usize::MAX, |place| {
            let (head, value_len) = held.store.head(place)?.ok_or(Refused::Compacted)?;
            let value_len = if keys_only { 0 } else { value_len };
            // As an element of `kvs`.
            let bytes = field_len(2, pair_len(&head, value_len));
            sizes.all += bytes as u64;
            sizes.largest = sizes.largest.max(bytes);
            left = left.saturating_sub(1);
            Ok(left > 0)
        })?;
        Ok((left > 0).then_some(self.sizes))
    }
}

/// Keys of some revisions, and how many there are, but no more than one beyond the limit.
fn filtered(held: &Held, keys: Keys, places_max: usize) -> Result<(Walk, u64), Error> {
    let mut all = Keys { left: keys.left.saturating_add(1), ..keys.clone() };
    let (mut places, mut found) = (Vec::new(), 0);
    all.each(held, usize::MAX, |place| {
        found += 1;
        match places.len() {
            length if length < places_max => places.push(place),
            _ => places = Vec::new(),
        }
        Ok(true)
    })?;
    if places.len() as u64 != found {
        return Ok((Walk::Keys(keys), found));
    }
    places.truncate(keys.left);
    Ok((Walk::Places(Arc::new(places), 0), found))
}

impl Walk {
    fn is_over(&self) -> bool {
        match self {
            Self::Keys(keys) => keys.left == 0,
            Self::Places(places, done) => *done >= places.len(),
        }
    }

    /// Calls `each` for one place after the other until it says false, or so many keys were looked at.
    fn each(
        &mut self,
        held: &Held,
        looks_max: usize,
        mut each: impl FnMut(Revision) -> Result<bool, Error>,
    ) -> Result<(), Error> {
        match self {
            Self::Keys(keys) => keys.each(held, looks_max, each),
            Self::Places(places, done) => {
                let mut looks = looks_max;
                while let Some(place) = places.get(*done).filter(|_| looks > 0) {
                    *done += 1;
                    looks -= 1;
                    if !each(*place)? {
                        break;
                    }
                }
                Ok(())
            }
        }
    }
}

impl Keys {
    fn each(
        &mut self,
        held: &Held,
        looks_max: usize,
        mut each: impl FnMut(Revision) -> Result<bool, Error>,
    ) -> Result<(), Error> {
        let source = held.source();
        let mut looks = looks_max;
        while self.left > 0 && looks > 0 {
            let limit = KEYS_PER_LOOK.min(looks);
            let limit = if self.only.is_some() { limit } else { limit.min(self.left) };
            let found = self.look_up(held, limit)?;
            let is_last = found.len() < limit;
            for (name, place) in found {
                self.pass(&name);
                looks -= 1;
                let is_taken = self.only.map_or(Ok(true), |only| only.takes(&source, place))?;
                if is_taken {
                    self.left -= 1;
                    if !each(place)? || self.left == 0 {
                        return Ok(());
                    }
                }
            }
            if is_last {
                self.left = 0;
            }
        }
        Ok(())
    }

    fn look_up(&self, held: &Held, limit: usize) -> Result<Vec<(Bytes, Revision)>, Error> {
        let (from, to) = (&self.from, self.to.as_deref());
        let found = if self.descends {
            held.store.range_back(from, to, held.at, limit)
        } else {
            held.store.range(from, to, held.at, limit)
        };
        Ok(found?)
    }

    /// This name is done.
    fn pass(&mut self, name: &[u8]) {
        if self.descends {
            self.to = Some(name.to_vec());
        } else {
            // The next name after this one.
            self.from.clear();
            self.from.extend_from_slice(name);
            self.from.push(0);
        }
    }
}
