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
    end,
};

/// How far a read goes. One that would go further is refused with [`Refused::AnswerTooLarge`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Most {
    /// Of its answer, or what it holds in memory to put that in order.
    pub bytes: usize,
    /// That it looks at in the index.
    pub names: usize,
}

impl Most {
    /// What can be read between two requests, without holding anybody up.
    pub const SMALL: Self =
        Self { bytes: limits::ANSWER_SMALL_BYTES_MAX, names: limits::ANSWER_SMALL_NAMES_MAX };
    /// What can be held in memory as a whole at all.
    pub const WHOLE: Self = Self::of(ANSWER_BYTES_MAX);

    /// Not for a thread of the network.
    pub const fn of(bytes: usize) -> Self {
        Self { bytes, names: usize::MAX }
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
    /// there are, if that `counts`.
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
    fn places(&self, keys: Keys<'_>, limit: usize, _: bool) -> Result<(Vec<Revision>, u64), Error> {
        Ok(match keys {
            Keys::One(key) => one_place(self.place(key)),
            Keys::Range(from, to) => self.places(from, to, limit),
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
        let places_max = most.places();
        let keys = Keys::new(&request.key, &request.range_end);
        if request.count_only {
            let (_, total) = source.places(keys, 0, true)?;
            return Ok(Self { places: Vec::new(), more: false, total });
        }
        let limit = usize::try_from(request.limit).ok().filter(|limit| *limit > 0);
        // As in etcd: with an order, or filters, the limit counts what comes out of them. (With a
        // target alone it counts what goes in.)
        let takes_all = request.sort_order() != SortOrder::None || has_filters(request);
        let wanted =
            limit.filter(|_| !takes_all).map_or(usize::MAX, |limit| limit.saturating_add(1));
        // One more, and they are too many, however many there are.
        let counts = wanted <= places_max;
        let wanted = wanted.min(places_max.saturating_add(1));
        let (mut places, total) = source.places(keys, wanted, counts)?;
        if places.len() > places_max {
            return Err(Refused::AnswerTooLarge.into());
        }
        if let Some(filter) = Filter::of(request) {
            places = filtered(source, filter, places)?;
        }
        let mut places = sort(source, request, places, most.bytes)?;
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

fn filtered(
    source: &impl Source,
    filter: Filter,
    places: Vec<Revision>,
) -> Result<Vec<Revision>, Error> {
    let mut kept = Vec::new();
    for place in places {
        if filter.takes(source, place)? {
            kept.push(place);
        }
    }
    Ok(kept)
}

/// Brings places, which are in order of keys, into the order that is asked for. What is alike stays
/// in order of keys.
fn sort(
    source: &impl Source,
    request: &RangeRequest,
    places: Vec<Revision>,
    values_max: usize,
) -> Result<Vec<Revision>, Error> {
    let descend = request.sort_order() == SortOrder::Descend;
    let number = |number: fn(&Record) -> i64| {
        let by = |place: &Revision| Ok(number(&source.head(*place)?));
        sorted(&places, descend, by)
    };
    match request.sort_target() {
        SortTarget::Key if descend => Ok(places.into_iter().rev().collect()),
        SortTarget::Key => Ok(places),
        SortTarget::Version => number(|head| head.version),
        SortTarget::Create => number(|head| head.create_revision),
        SortTarget::Mod => sorted(&places, descend, |place| Ok(place.main)),
        SortTarget::Value => {
            let mut budget = Budget::of(values_max);
            sorted(&places, descend, |place| {
                let value = source.record(*place)?.value.clone();
                budget.take(size_of::<Bytes>() + value.len())?;
                Ok(value)
            })
        }
    }
}

fn sorted<K: Ord>(
    places: &[Revision],
    descend: bool,
    mut by: impl FnMut(&Revision) -> Result<K, Error>,
) -> Result<Vec<Revision>, Error> {
    let mut all =
        places.iter().map(|place| Ok((by(place)?, *place))).collect::<Result<Vec<_>, Error>>()?;
    all.sort_by(|(one, _), (other, _)| if descend { other.cmp(one) } else { one.cmp(other) });
    Ok(all.into_iter().map(|(_, place)| place).collect())
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
