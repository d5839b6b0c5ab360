//! What a range asks for, and how it is answered as a whole.

use std::sync::Arc;

use base::{Refused, Revision, limits::ANSWER_BYTES_MAX};
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

/// Places that are in memory at once, 16 bytes each.
pub(super) const PLACES_MAX: usize = ANSWER_BYTES_MAX / 16;

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
pub(super) struct At<'a> {
    pub(super) store: &'a Store,
    pub(super) at: i64,
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
            Keys::Range(from, to) => self.store.places((from, to), self.at, limit, counts)?,
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
        At { store: &self.store, at: self.at }
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
    /// Holds no more than so many places.
    pub(super) fn new(
        source: &impl Source,
        request: &RangeRequest,
        places_max: usize,
    ) -> Result<Self, Error> {
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
        filter(source, request, &mut places)?;
        let mut places = sort(source, request, places)?;
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

pub(super) fn has_filters(request: &RangeRequest) -> bool {
    has_mod_filters(request) || has_create_filters(request)
}

fn has_mod_filters(request: &RangeRequest) -> bool {
    request.min_mod_revision != 0 || request.max_mod_revision != 0
}

fn has_create_filters(request: &RangeRequest) -> bool {
    request.min_create_revision != 0 || request.max_create_revision != 0
}

/// Keeps what lies between the revisions that are asked for; 0: no bound.
fn filter(
    source: &impl Source,
    request: &RangeRequest,
    places: &mut Vec<Revision>,
) -> Result<(), Error> {
    let within = |revision: i64, min: i64, max: i64| {
        (max == 0 || revision <= max) && (min == 0 || revision >= min)
    };
    if has_mod_filters(request) {
        let (min, max) = (request.min_mod_revision, request.max_mod_revision);
        places.retain(|place| within(place.main, min, max));
    }
    if has_create_filters(request) {
        let (min, max) = (request.min_create_revision, request.max_create_revision);
        let mut kept = Vec::new();
        for place in places.drain(..) {
            if within(source.head(place)?.create_revision, min, max) {
                kept.push(place);
            }
        }
        *places = kept;
    }
    Ok(())
}

/// Brings places, which are in order of keys, into the order that is asked for. What is alike stays
/// in order of keys.
fn sort(
    source: &impl Source,
    request: &RangeRequest,
    places: Vec<Revision>,
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
            let mut budget = Budget::new();
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

/// A range as a whole, from the store, if it takes no more than so many bytes.
pub(crate) fn range(
    store: &Arc<Store>,
    request: &RangeRequest,
    bytes_max: usize,
) -> Result<RangeResponse, Error> {
    if let Some(answer) = one(store, request)? {
        return Ok(answer);
    }
    let held = Held::new(store, request.revision)?;
    // A pair takes more than its place does.
    let plan = Plan::new(&held.source(), request, bytes_max / size_of::<Revision>())?;
    plan.answer(&held.source(), request, held.current, &mut Budget::of(bytes_max))
}

/// One key, the most frequent question: needs no pin.
fn one(store: &Store, request: &RangeRequest) -> Result<Option<RangeResponse>, Error> {
    let RangeRequest { key, range_end, revision, keys_only, count_only, .. } = request;
    if !range_end.is_empty() || has_filters(request) || *count_only {
        return Ok(None);
    }
    let (current, record) = store.get_with_revision(mvcc::Kind::Key, key, *revision)?;
    let mut kvs: Vec<_> = record.iter().map(|record| pair(record)).collect();
    if let Some(pair) = kvs.first_mut().filter(|_| *keys_only) {
        pair.value = Bytes::new();
    }
    let count = i64::from(record.is_some());
    Ok(Some(RangeResponse { header: Some(header(current)), kvs, more: false, count }))
}
