//! What a range asks for, and how it is answered as a whole.

use std::{cell::Cell, sync::Arc};

use base::{Refused, Revision, limits, limits::ANSWER_BYTES_MAX};
use bytes::Bytes;
use mvcc::{Pin, ReadError, Record, Store, Txn};
use proto::etcdserverpb::{
    RangeRequest, RangeResponse,
    range_request::{SortOrder, SortTarget},
};

use super::{
    Error,
    answer::{Budget, header, pair},
    chosen::{Chosen, Sorted, each_place},
    end,
};

/// How far a read goes. One that would go further is refused with [`Refused::AnswerTooLarge`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Most {
    /// Of its answer, or what it holds in memory to put that in order.
    pub bytes: usize,
    /// That it looks at in the index.
    pub names: usize,
    /// Of values that it reads to put them in order.
    pub sorted: usize,
}

impl Most {
    /// What can be read between two requests, without holding anybody up.
    pub const SMALL: Self = Self {
        bytes: limits::ANSWER_SMALL_BYTES_MAX,
        names: limits::ANSWER_SMALL_NAMES_MAX,
        sorted: limits::ANSWER_SMALL_BYTES_MAX,
    };
    /// What can be held in memory as a whole at all.
    pub const WHOLE: Self = Self::of(ANSWER_BYTES_MAX);

    /// Not for a thread of the network.
    pub const fn of(bytes: usize) -> Self {
        Self { bytes, names: usize::MAX, sorted: usize::MAX }
    }

    /// Places that it may hold.
    pub(crate) const fn places(self) -> usize {
        // A pair takes more than its place does.
        self.bytes / size_of::<Revision>()
    }
}

/// The keys that a request is about.
#[derive(Clone, Copy, Debug)]
pub(super) enum Keys<'a> {
    One(&'a [u8]),
    /// From one on, up to and without another, or to the end.
    Range(&'a [u8], Option<&'a [u8]>),
}

impl<'a> Keys<'a> {
    pub(super) fn new(key: &'a [u8], range_end: &'a [u8]) -> Self {
        if range_end.is_empty() { Self::One(key) } else { Self::Range(key, end(range_end)) }
    }
}

/// Where keys are read: the store at a revision, or a transaction.
///
/// Keys have places: the revision of the record that lives there.
pub(super) trait Source {
    /// The places of the keys that live, in order of their names, at most `limit`; and how many
    /// there are, or if that does not `count`, how many up to the limit.
    fn places(
        &self,
        keys: Keys<'_>,
        limit: usize,
        counts: bool,
    ) -> Result<(Vec<Revision>, u64), Error>;

    fn record(&self, place: Revision) -> Result<Arc<Record>, Error>;

    /// The record without its value.
    fn head(&self, place: Revision) -> Result<Record, Error>;
}

/// The store at a revision; nothing is removed that can be read there.
#[derive(Debug)]
#[allow(clippy::struct_field_names, reason = "there is no better word for either")]
pub(super) struct At<'a> {
    pub(super) store: &'a Store,
    pub(super) at: i64,
    /// Names that may still be looked at.
    names_left: Cell<usize>,
}

impl<'a> At<'a> {
    pub(super) fn new(store: &'a Store, at: i64, names_max: usize) -> Self {
        Self { store, at, names_left: Cell::new(names_max) }
    }

    /// So many names were looked at.
    pub(super) fn names_left(&self) -> usize {
        self.names_left.get()
    }
}

impl Source for At<'_> {
    fn places(
        &self,
        keys: Keys<'_>,
        limit: usize,
        counts: bool,
    ) -> Result<(Vec<Revision>, u64), Error> {
        Ok(match keys {
            Keys::One(key) => one_place(self.store.place(key, self.at)?),
            Keys::Range(from, to) => {
                let mut left = self.names_left.get();
                let found = self.store.places((from, to), self.at, (limit, counts), &mut left)?;
                self.names_left.set(left);
                found.ok_or(Refused::AnswerTooLarge)?
            }
        })
    }

    fn record(&self, place: Revision) -> Result<Arc<Record>, Error> {
        // It was pinned, but not for ever.
        Ok(self.store.record(place)?.ok_or(ReadError::Compacted)?)
    }

    fn head(&self, place: Revision) -> Result<Record, Error> {
        Ok(self.store.head(place)?.ok_or(ReadError::Compacted)?.0)
    }
}

impl Source for Txn<'_> {
    fn places(
        &self,
        keys: Keys<'_>,
        limit: usize,
        counts: bool,
    ) -> Result<(Vec<Revision>, u64), Error> {
        Ok(match keys {
            Keys::One(key) => one_place(self.place(key)),
            Keys::Range(from, to) => self.places((from, to), (limit, counts)),
        })
    }

    fn record(&self, place: Revision) -> Result<Arc<Record>, Error> {
        Ok(self.record(place)?.ok_or(ReadError::Compacted)?)
    }

    fn head(&self, place: Revision) -> Result<Record, Error> {
        Ok(self.head(place)?.ok_or(ReadError::Compacted)?)
    }
}

fn one_place(place: Option<Revision>) -> (Vec<Revision>, u64) {
    (place.into_iter().collect(), u64::from(place.is_some()))
}

/// Holds the store for a read, at the revision that is asked for.
pub(super) struct Held {
    pub(super) store: Arc<Store>,
    pub(super) at: i64,
    /// The current revision when it began.
    pub(super) current: i64,
    _pin: Pin,
}

impl Held {
    pub(super) fn new(store: &Arc<Store>, revision: i64) -> Result<Self, Error> {
        let pin = store.pin();
        let (current, at) = store.resolved(revision)?;
        Ok(Self { store: Arc::clone(store), at, current, _pin: pin })
    }

    pub(super) fn source(&self) -> At<'_> {
        self.source_up_to(usize::MAX)
    }

    /// With a bound on the names that are looked at.
    pub(super) fn source_up_to(&self, names_max: usize) -> At<'_> {
        At::new(&self.store, self.at, names_max)
    }
}

/// Which keys, in which order.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) places: Vec<Revision>,
    /// A limit left some out.
    pub(super) more: bool,
    /// Keys in the range, whatever the limit and the filters.
    pub(super) total: u64,
}

impl Plan {
    /// Holds no more in memory than that; names are bounded by the source.
    pub(super) fn new(
        source: &impl Source,
        request: &RangeRequest,
        most: Most,
    ) -> Result<Self, Error> {
        let keys = Keys::new(&request.key, &request.range_end);
        if request.count_only {
            let (_, total) = source.places(keys, 0, true)?;
            return Ok(Self { places: Vec::new(), more: false, total });
        }
        let limit = usize::try_from(request.limit).ok().filter(|limit| *limit > 0);
        // One more, to know whether there are more.
        let wanted = limit.map_or(usize::MAX, |limit| limit.saturating_add(1));
        let mut sorted_left = most.sorted;
        let asked = Asked { source, request, wanted, most };
        let (mut places, total) = match request.sort_target() {
            SortTarget::Key if !asked.takes_all() => asked.first(),
            // They come in order of keys.
            SortTarget::Key => asked.chosen(|nth, _| Ok(nth)),
            SortTarget::Version => asked.chosen(|_, place| Ok(source.head(place)?.version)),
            SortTarget::Create => asked.chosen(|_, place| Ok(source.head(place)?.create_revision)),
            SortTarget::Mod => asked.chosen(|_, place| Ok(place.main)),
            SortTarget::Value => asked.chosen(|_, place| {
                let value = source.record(place)?.value.clone();
                let left = sorted_left.checked_sub(value.len());
                sorted_left = left.ok_or(Refused::AnswerTooLarge)?;
                Ok(value)
            }),
        }?;
        let more = limit.is_some_and(|limit| places.len() > limit);
        places.truncate(limit.unwrap_or(usize::MAX));
        Ok(Self { places, more, total })
    }

    /// The whole answer. `revision`: of its header.
    pub(super) fn answer(
        &self,
        source: &impl Source,
        request: &RangeRequest,
        revision: i64,
        budget: &mut Budget,
    ) -> Result<RangeResponse, Error> {
        let mut kvs = Vec::with_capacity(self.places.len().min(1_000));
        for place in &self.places {
            kvs.push(if request.keys_only {
                budget.pair(&source.head(*place)?)?
            } else {
                budget.pair(&*source.record(*place)?)?
            });
        }
        let count = i64::try_from(self.total).unwrap_or(i64::MAX);
        Ok(RangeResponse { header: Some(header(revision)), kvs, more: self.more, count })
    }
}

/// Places that are asked for, and how many keys there are in the range.
struct Asked<'a, S> {
    source: &'a S,
    request: &'a RangeRequest,
    /// So many of them.
    wanted: usize,
    most: Most,
}

impl<S: Source> Asked<'_, S> {
    fn keys(&self) -> Keys<'_> {
        Keys::new(&self.request.key, &self.request.range_end)
    }

    /// As in etcd: with an order, or filters, the limit counts what comes out of them. (With a target
    /// alone it counts what goes in.)
    fn takes_all(&self) -> bool {
        self.request.sort_order() != SortOrder::None || has_filters(self.request)
    }

    /// The first in order of keys.
    fn first(&self) -> Result<(Vec<Revision>, u64), Error> {
        let places_max = self.most.places();
        // One more, and they are too many, however many there are.
        let counts = self.wanted <= places_max;
        let wanted = self.wanted.min(places_max.saturating_add(1));
        let (places, total) = self.source.places(self.keys(), wanted, counts)?;
        if places.len() > places_max {
            return Err(Refused::AnswerTooLarge.into());
        }
        Ok((places, total))
    }

    /// The first of those that the filter takes, in the order that is asked for: of the how manieth key
    /// it is, or of something at its place.
    fn chosen<K: Sorted>(
        &self,
        mut by: impl FnMut(u64, Revision) -> Result<K, Error>,
    ) -> Result<(Vec<Revision>, u64), Error> {
        let filter = Filter::of(self.request);
        let descends = self.request.sort_order() == SortOrder::Descend;
        let mut chosen = Chosen::new(descends, self.wanted, self.most);
        let mut nth = 0;
        let mut look = |place| {
            nth += 1;
            if filter.map_or(Ok(true), |filter| filter.takes(self.source, place))? {
                chosen.add(by(nth, place)?, place)?;
            }
            Ok(())
        };
        let total = if self.takes_all() {
            each_place(self.source, self.keys(), &mut look)?
        } else {
            let (places, total) = self.first()?;
            places.into_iter().try_for_each(&mut look)?;
            total
        };
        Ok((chosen.places()?, total))
    }
}

/// Whether only keys of some revisions are asked for.
pub fn has_filters(request: &RangeRequest) -> bool {
    Filter::of(request).is_some()
}

/// The revisions that are asked for: the smallest and the largest one; 0: no bound.
#[derive(Clone, Copy, Debug)]
pub(super) struct Filter {
    modified: (i64, i64),
    created: (i64, i64),
}

impl Filter {
    /// `None`: any revision will do.
    pub(super) fn of(request: &RangeRequest) -> Option<Self> {
        let modified = (request.min_mod_revision, request.max_mod_revision);
        let created = (request.min_create_revision, request.max_create_revision);
        let is_one = modified != (0, 0) || created != (0, 0);
        is_one.then_some(Self { modified, created })
    }

    /// Whether what lives at a place is one of them.
    pub(super) fn takes(&self, source: &impl Source, place: Revision) -> Result<bool, Error> {
        let is_within = |revision: i64, (min, max): (i64, i64)| {
            (max == 0 || revision <= max) && (min == 0 || revision >= min)
        };
        if !is_within(place.main, self.modified) {
            return Ok(false);
        }
        // The index does not know it.
        Ok(self.created == (0, 0) || is_within(source.head(place)?.create_revision, self.created))
    }
}

/// A range as a whole, from the store, if it takes no more than that.
pub(crate) fn range(
    store: &Arc<Store>,
    request: &RangeRequest,
    most: Most,
) -> Result<RangeResponse, Error> {
    if let Some(answer) = one(store, request, most.bytes)? {
        return Ok(answer);
    }
    let held = Held::new(store, request.revision)?;
    let source = held.source_up_to(most.names);
    let plan = Plan::new(&source, request, most)?;
    plan.answer(&source, request, held.current, &mut Budget::of(most.bytes))
}

/// One key, the most frequent question: needs no pin.
fn one(
    store: &Store,
    request: &RangeRequest,
    bytes_max: usize,
) -> Result<Option<RangeResponse>, Error> {
    let RangeRequest { key, range_end, revision, keys_only, count_only, .. } = request;
    if !range_end.is_empty() || has_filters(request) || *count_only {
        return Ok(None);
    }
    let (current, record) = store.get_up_to(mvcc::Kind::Key, key, *revision, bytes_max)?;
    let record = record.transpose().map_err(|_| Refused::AnswerTooLarge)?;
    let mut kvs: Vec<_> = record.iter().map(|record| pair(record)).collect();
    if let Some(pair) = kvs.first_mut().filter(|_| *keys_only) {
        pair.value = Bytes::new();
    }
    let count = i64::from(record.is_some());
    Ok(Some(RangeResponse { header: Some(header(current)), kvs, more: false, count }))
}
