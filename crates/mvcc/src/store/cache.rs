//! A bounded cache of records by revision.
//!
//! Small sets of slots, found by a hash, so that a hit costs one uncontended lock and a clone of an
//! `Arc`. A set is full after four records, a shard after its bytes.

use std::sync::Arc;

use base::Revision;
use parking_lot::Mutex;

use crate::record::Record;

const SHARDS: usize = 16;
const SETS: usize = 256;
const WAYS: usize = 4;
/// All shards together: 2 MB.
const SHARD_BYTES_MAX: usize = 128 << 10;
/// A larger record would push out too many others.
const RECORD_BYTES_MAX: usize = SHARD_BYTES_MAX / 8;
/// What a record costs beside its name and value: `Arc`, `Record`, and two allocations.
const RECORD_BYTES: usize = 256;

/// See the module.
#[derive(Debug)]
pub(crate) struct Cache {
    shards: Box<[Mutex<Shard>]>,
}

impl Cache {
    pub(crate) fn new() -> Self {
        Self { shards: (0..SHARDS).map(|_| Mutex::default()).collect() }
    }

    pub(crate) fn get(&self, revision: Revision) -> Option<Arc<Record>> {
        self.shard(revision)?.lock().get(revision)
    }

    pub(crate) fn insert(&self, record: &Arc<Record>) {
        if let Some(shard) = self.shard(record.revision)
            && record_bytes(record) <= RECORD_BYTES_MAX
        {
            shard.lock().insert(Arc::clone(record));
        }
    }

    /// Lets a record go first when room is needed: it has been superseded, and soon only those
    /// will ask for it who want to know what was there before.
    pub(crate) fn demote(&self, revision: Revision) {
        if let Some(shard) = self.shard(revision) {
            shard.lock().demote(revision);
        }
    }

    pub(crate) fn remove(&self, revision: Revision) {
        if let Some(shard) = self.shard(revision) {
            shard.lock().remove(revision);
        }
    }

    fn shard(&self, revision: Revision) -> Option<&Mutex<Shard>> {
        self.shards.get(hash(revision) % SHARDS)
    }
}

/// Spreads revisions, which come in sequence.
fn hash(revision: Revision) -> usize {
    let mixed = revision.main.cast_unsigned().wrapping_mul(0x9e37_79b9_7f4a_7c15)
        ^ u64::from(revision.sub).wrapping_mul(0xc2b2_ae3d_27d4_eb4f);
    usize::try_from(mixed >> 40).unwrap_or(0)
}

fn record_bytes(record: &Record) -> usize {
    RECORD_BYTES + record.name.len() + record.value.len()
}

#[derive(Debug)]
struct Slot {
    record: Arc<Record>,
    /// Asked for since the hand passed.
    used: bool,
}

#[derive(Debug, Default)]
struct Shard {
    /// Allocated with the first record.
    slots: Vec<Option<Slot>>,
    bytes: usize,
    /// Where the search for room goes on.
    hand: usize,
}

impl Shard {
    fn set(&self, revision: Revision) -> std::ops::Range<usize> {
        let from = hash(revision) / SHARDS % SETS * WAYS;
        if self.slots.is_empty() { 0..0 } else { from..from + WAYS }
    }

    fn find(&self, revision: Revision) -> Option<usize> {
        self.set(revision).find(|at| {
            let slot = self.slots.get(*at).and_then(Option::as_ref);
            slot.is_some_and(|slot| slot.record.revision == revision)
        })
    }

    fn slot(&mut self, at: usize) -> Option<&mut Slot> {
        self.slots.get_mut(at).and_then(Option::as_mut)
    }

    fn get(&mut self, revision: Revision) -> Option<Arc<Record>> {
        let at = self.find(revision)?;
        let slot = self.slot(at)?;
        slot.used = true;
        Some(Arc::clone(&slot.record))
    }

    fn demote(&mut self, revision: Revision) {
        if let Some(at) = self.find(revision)
            && let Some(slot) = self.slot(at)
        {
            slot.used = false;
        }
    }

    fn remove(&mut self, revision: Revision) {
        if let Some(at) = self.find(revision) {
            self.clear(at);
        }
    }

    fn clear(&mut self, at: usize) {
        if let Some(slot) = self.slots.get_mut(at).and_then(Option::take) {
            self.bytes -= record_bytes(&slot.record);
        }
    }

    fn insert(&mut self, record: Arc<Record>) {
        if self.slots.is_empty() {
            self.slots.resize_with(SETS * WAYS, || None);
        }
        let at = self.find(record.revision).unwrap_or_else(|| self.room(record.revision));
        self.clear(at);
        self.bytes += record_bytes(&record);
        while self.bytes > SHARD_BYTES_MAX {
            self.hand = (self.hand + 1) % self.slots.len();
            self.pass(self.hand);
        }
        if let Some(slot) = self.slots.get_mut(at) {
            *slot = Some(Slot { record, used: true });
        }
    }

    /// A free slot of the set, or one not used lately, or the first.
    fn room(&mut self, revision: Revision) -> usize {
        let set = self.set(revision);
        let idle =
            |at: &usize| self.slots.get(*at).and_then(Option::as_ref).is_none_or(|slot| !slot.used);
        if let Some(at) = set.clone().find(idle) {
            return at;
        }
        for at in set.clone() {
            if let Some(slot) = self.slot(at) {
                slot.used = false;
            }
        }
        set.start
    }

    /// The hand passes a slot: the second time in a row without use, it is cleared.
    fn pass(&mut self, at: usize) {
        match self.slot(at) {
            Some(slot) if slot.used => slot.used = false,
            Some(_) => self.clear(at),
            None => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::record::{Action, Kind};

    fn record(main: i64, value_bytes: usize) -> Arc<Record> {
        Arc::new(Record {
            kind: Kind::Key,
            name: Bytes::from_static(b"/a"),
            revision: Revision::new(main, 0),
            deleted: false,
            value: Bytes::from(vec![b'v'; value_bytes]),
            create_revision: main,
            version: 1,
            lease: 0,
            created_index: main,
            expiry: None,
            action: Action::None,
            told: true,
        })
    }

    fn used(cache: &Cache) -> usize {
        cache.shards.iter().map(|shard| shard.lock().bytes).sum()
    }

    #[test]
    fn what_was_put_last_is_found() {
        let cache = Cache::new();
        for main in 0..100_000 {
            cache.insert(&record(main, 64));
            assert_eq!(cache.get(Revision::new(main, 0)), Some(record(main, 64)));
        }
        let kept = (0..100_000).filter(|main| cache.get(Revision::new(*main, 0)).is_some());
        let kept = kept.count();
        assert!((5_000..20_000).contains(&kept), "{kept}");
    }

    #[test]
    fn bytes_are_bounded_whatever_the_values() {
        let cache = Cache::new();
        for main in 0..5_000 {
            let size = usize::try_from(main).unwrap() * 7_919 % 70_000;
            cache.insert(&record(main, size));
            assert!(used(&cache) <= SHARDS * SHARD_BYTES_MAX);
        }
        for main in 0..5_000 {
            cache.remove(Revision::new(main, 0));
        }
        assert_eq!(used(&cache), 0);
    }

    #[test]
    fn a_demoted_record_goes_first() {
        let mut shard = Shard::default();
        // All in one set.
        let set = |main: &i64| hash(Revision::new(*main, 0)) / SHARDS % SETS == 3;
        let same: Vec<i64> = (0..).filter(set).take(WAYS + 1).collect();
        for main in &same[..WAYS] {
            shard.insert(record(*main, 1));
        }
        shard.demote(Revision::new(same[2], 0));
        shard.insert(record(same[WAYS], 1));
        let kept = same.iter().filter(|main| shard.get(Revision::new(**main, 0)).is_some());
        let expected = [same[0], same[1], same[3], same[4]];
        assert_eq!(kept.copied().collect::<Vec<_>>(), expected);
    }
}
