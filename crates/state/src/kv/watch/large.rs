//! What a revision has to tell, if it is too much to be held in memory: measured first, then read again
//! while it is sent.

use std::sync::Arc;

use base::Revision;
use mvcc::{ReadError, Record, Store, store::Pin};
use prost::Message;
use proto::mvccpb::Event;

use super::{EVENT_BYTES, event, is_new, pair};
use crate::kv::answer::{field_len, pair_len};

/// The events of a revision that is as large as all its keys, and perhaps of some before it.
///
/// Of each it keeps four bytes. What was there before stays readable meanwhile, for a bounded time: who
/// takes longer hears that it is [compacted](ReadError::Compacted).
#[derive(Debug)]
pub struct Large {
    store: Arc<Store>,
    main: i64,
    /// What was gathered before it turned out to be so much.
    first: Vec<Event>,
    /// What follows: the places of its records in the revision.
    subs: Vec<u32>,
    /// Those that are told.
    done: usize,
    /// It tells what was before, and that can still be read.
    has_before: bool,
    bytes: u64,
    _pin: Pin,
}

impl Large {
    pub(super) fn new(store: &Arc<Store>, main: i64, prev_kv: bool, first: Vec<Event>) -> Self {
        let pin = store.pin();
        let has_before = prev_kv && store.resolved(main - 1).is_ok();
        let bytes = first.iter().map(|event| element_len(event.encoded_len())).sum();
        let store = Arc::clone(store);
        Self { store, main, first, subs: Vec::new(), done: 0, has_before, bytes, _pin: pin }
    }

    /// Adds a record of the revision; how many bytes were looked at.
    pub(super) fn add(&mut self, record: &Record) -> Result<usize, ReadError> {
        let kv_len = pair_len(record, record.value.len());
        let mut len = field_len(2, kv_len) + usize::from(record.deleted) * 2;
        if let Some(place) = self.place_before(record)? {
            let (head, value_len) = self.store.head(place)?.ok_or(ReadError::Compacted)?;
            len += field_len(3, pair_len(&head, value_len));
        }
        self.bytes += element_len(len);
        self.subs.push(record.revision.sub);
        Ok(EVENT_BYTES + record.name.len() + record.value.len())
    }

    fn place_before(&self, record: &Record) -> Result<Option<Revision>, ReadError> {
        if !self.has_before || is_new(record) {
            return Ok(None);
        }
        self.store.place(&record.name, self.main - 1)
    }

    /// What was gathered before.
    pub(super) fn into_first(self) -> Vec<Event> {
        self.first
    }

    /// Bytes that all its events take in an encoded [`WatchResponse`].
    ///
    /// [`WatchResponse`]: proto::etcdserverpb::WatchResponse
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Its events.
    pub fn events(&self) -> usize {
        self.first.len() + self.subs.len()
    }

    /// Bytes that it holds in memory for itself.
    pub fn bytes_held(&self) -> usize {
        let first: usize = self.first.iter().map(Message::encoded_len).sum();
        first + self.subs.capacity() * size_of::<u32>()
    }

    /// The next events: about so many bytes of them, or one. Empty at the end.
    pub fn next_events(&mut self, bytes: usize) -> Result<Vec<Event>, ReadError> {
        if !self.first.is_empty() {
            return Ok(std::mem::take(&mut self.first));
        }
        let (mut events, mut size) = (Vec::new(), 0);
        while let Some(sub) = self.subs.get(self.done).filter(|_| size < bytes) {
            let record = self.read(Revision::new(self.main, *sub))?;
            let before = match self.place_before(&record)? {
                Some(place) => Some(pair(&*self.read(place)?)),
                None => None,
            };
            let event = event(&record, before);
            size += event.encoded_len();
            events.push(event);
            self.done += 1;
        }
        Ok(events)
    }

    fn read(&self, place: Revision) -> Result<Arc<Record>, ReadError> {
        self.store.record(place)?.ok_or(ReadError::Compacted)
    }
}

/// As an element of `events`.
fn element_len(event_len: usize) -> u64 {
    field_len(11, event_len) as u64
}
