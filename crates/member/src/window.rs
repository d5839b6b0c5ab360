//! The newest part of the raft log in memory: where raft reads entries.
//!
//! Holds every entry that is not applied yet, and some that are, for followers that lag a little.
//! What followers need beyond that goes on into files. Whoever needs older ones needs a snapshot.

use std::{
    collections::{BTreeSet, VecDeque},
    sync::Arc,
};

use raft::{
    Error, GetEntriesContext, RaftState, Result, Storage, StorageError,
    eraftpb::{ConfState, Entry, EntryType, HardState, Snapshot, SnapshotMetadata},
};

use crate::spool::{Files, Spool};

/// Applied entries that stay for slow followers, at most.
pub(crate) const APPLIED_ENTRIES_KEPT: u64 = 5_000;
/// Their bytes, at most.
pub(crate) const APPLIED_BYTES_KEPT: usize = 4 << 20;

/// The newest part of the raft log.
///
/// Invariant: `entries` are contiguous and begin at `before.0 + 1`.
#[derive(Debug, Default)]
pub(crate) struct Window {
    /// What raft starts from; not kept up to date.
    initial: RaftState,
    /// Index and term before the first of `entries`.
    before: (u64, u64),
    entries: VecDeque<Entry>,
    applied: u64,
    /// Bytes of the entries up to `applied`.
    applied_bytes: usize,
    /// Applied entries that stay.
    kept: u64,
    /// Behind this entry stands what followers need.
    held: Option<u64>,
    /// What of that is not in memory any more: it ends with `before`, unless it is empty.
    spool: Option<Spool>,
    /// Entries before this one are not for everybody: they go as soon as they are applied.
    floor: u64,
    /// Who votes, as applied.
    conf_state: ConfState,
}

impl Window {
    pub(crate) fn new(
        hard_state: HardState,
        conf_state: ConfState,
        before: (u64, u64),
        entries: Vec<Entry>,
        applied: u64,
    ) -> Self {
        let mut window = Self {
            kept: APPLIED_ENTRIES_KEPT,
            held: None,
            spool: None,
            floor: 0,
            conf_state: conf_state.clone(),
            initial: RaftState::new(hard_state, conf_state),
            before,
            entries: entries.into(),
            applied: before.0,
            applied_bytes: 0,
        };
        window.applied(applied);
        window
    }

    /// Changes of the members that are not known to be committed, at the start.
    pub(crate) fn uncommitted_changes(&self) -> BTreeSet<u64> {
        let commit = self.initial.hard_state.commit;
        let is_change =
            |entry: &&Entry| entry.index > commit && entry.entry_type() != EntryType::EntryNormal;
        self.entries.iter().filter(is_change).map(|entry| entry.index).collect()
    }

    /// Adds entries; one at an index that is there already replaces it and all after it.
    pub(crate) fn append(&mut self, entries: &[Entry]) {
        let Some(first) = entries.first() else { return };
        debug_assert!(first.index > self.applied && first.index <= self.last() + 1);
        let kept = first.index.saturating_sub(self.before.0 + 1);
        self.entries.truncate(usize::try_from(kept).unwrap_or(usize::MAX));
        self.entries.extend(entries.iter().cloned());
    }

    /// Entries up to `index` are applied: the oldest of them may go.
    pub(crate) fn applied(&mut self, index: u64) {
        for at in self.applied + 1..=index {
            self.applied_bytes += self.get(at).map_or(0, size);
        }
        self.applied = self.applied.max(index);
        while self.is_full() {
            // The newest applied entry stays: its term is asked for all the time.
            if self.before.0 + 1 >= self.applied {
                break;
            }
            let Some(gone) = self.entries.pop_front() else { break };
            self.applied_bytes -= size(&gone);
            let (_, term_before) = self.before;
            self.before = (gone.index, gone.term);
            self.spool(term_before, &gone);
        }
    }

    /// Puts an entry into the files that leaves memory, if followers need it.
    fn spool(&mut self, term_before: u64, gone: &Entry) {
        let (Some(spool), Some(held)) = (&mut self.spool, self.held) else { return };
        let follows = spool.first().is_some() || gone.index == held.max(self.floor.max(1) - 1) + 1;
        if follows {
            spool.push(term_before, gone);
        }
    }

    fn is_full(&self) -> bool {
        if self.before.0 + 1 < self.floor {
            return true;
        }
        self.applied - self.before.0 > self.kept || self.applied_bytes > APPLIED_BYTES_KEPT
    }

    /// How many applied entries stay.
    pub(crate) fn keep(&mut self, entries: u64) {
        self.kept = entries;
    }

    /// Keeps what follows this entry, for followers that need it: in memory as long as it would stay
    /// there anyway, then in files. To be told before entries are applied.
    pub(crate) fn hold(&mut self, index: Option<u64>) {
        self.held = index;
        match (&mut self.spool, index) {
            (Some(spool), Some(held)) => spool.forget_before(held + 1),
            (Some(spool), None) => spool.clear(),
            (None, _) => (),
        }
    }

    /// Who may read on of what is not in memory.
    pub(crate) fn tick(&mut self) -> Vec<GetEntriesContext> {
        self.spool.as_mut().map(Spool::tick).unwrap_or_default()
    }

    /// Where entries go that must be kept, and need not be in memory.
    pub(crate) fn spool_to(&mut self, spool: Spool) {
        self.spool = Some(spool);
    }

    /// Lets somebody else carry out what is done with their files.
    pub(crate) fn pass_files_on(&mut self, to: impl FnOnce(Arc<dyn Files>) -> Arc<dyn Files>) {
        if let Some(spool) = &mut self.spool {
            spool.pass_on(to);
        }
    }

    /// Keeps no applied entry before this one: whoever needs one needs a snapshot.
    pub(crate) fn forget_before(&mut self, index: u64) {
        if self.floor < index {
            self.floor = index;
            self.applied(self.applied);
            if let Some(spool) = &mut self.spool {
                spool.forget_before(index);
            }
        }
    }

    pub(crate) fn set_conf_state(&mut self, conf_state: ConfState) {
        self.conf_state = conf_state;
    }

    /// The log starts anew behind a snapshot.
    pub(crate) fn restart(&mut self, metadata: &SnapshotMetadata) {
        self.before = (metadata.index, metadata.term);
        self.entries.clear();
        (self.applied, self.applied_bytes) = (metadata.index, 0);
        self.hold(None);
        self.conf_state = metadata.conf_state.clone().unwrap_or_default();
    }

    fn spooled(&self) -> Option<&Spool> {
        self.spool.as_ref().filter(|spool| spool.first().is_some())
    }

    fn last(&self) -> u64 {
        self.before.0 + self.entries.len() as u64
    }

    fn get(&self, index: u64) -> Option<&Entry> {
        let at = index.checked_sub(self.before.0 + 1)?;
        self.entries.get(usize::try_from(at).ok()?)
    }
}

/// About what an entry takes in memory.
fn size(entry: &Entry) -> usize {
    entry.data.len() + entry.context.len() + size_of::<Entry>()
}

impl Storage for Window {
    fn initial_state(&self) -> Result<RaftState> {
        Ok(self.initial.clone())
    }

    fn entries(
        &self,
        low: u64,
        high: u64,
        max_size: impl Into<Option<u64>>,
        context: GetEntriesContext,
    ) -> Result<Vec<Entry>> {
        let max_size = max_size.into().unwrap_or(u64::MAX);
        if low <= self.before.0 {
            let spooled = self.spooled().filter(|_| low >= self.floor);
            if spooled.is_some_and(|spool| !spool.is_open(context)) {
                return Err(Error::Store(StorageError::LogTemporarilyUnavailable));
            }
            let found = spooled.and_then(|spool| spool.read(low, high, max_size));
            return found.ok_or(Error::Store(StorageError::Compacted));
        }
        if high > self.last() + 1 {
            return Err(Error::Store(StorageError::Unavailable));
        }
        let mut found = Vec::new();
        let mut bytes = 0;
        for entry in (low..high).filter_map(|index| self.get(index)) {
            bytes += raft::util::entry_approximate_size(entry) as u64;
            // Always one, or a large entry would never get anywhere.
            if bytes > max_size && !found.is_empty() {
                break;
            }
            found.push(entry.clone());
        }
        Ok(found)
    }

    fn term(&self, index: u64) -> Result<u64> {
        if index == self.before.0 {
            return Ok(self.before.1);
        }
        if index < self.before.0 {
            let spooled = self.spooled().and_then(|spool| spool.term(index));
            return spooled.ok_or(Error::Store(StorageError::Compacted));
        }
        self.get(index).map(|entry| entry.term).ok_or(Error::Store(StorageError::Unavailable))
    }

    fn first_index(&self) -> Result<u64> {
        Ok(self.spooled().and_then(Spool::first).unwrap_or(self.before.0 + 1))
    }

    fn last_index(&self) -> Result<u64> {
        Ok(self.last())
    }

    /// Only what it is of: the shell sends the keyspace itself, of this entry or a later one.
    /// Behind what the follower asks for, if it asks: it would give up entries that it has said are on
    /// its disk.
    fn snapshot(&self, request_index: u64, _to: u64) -> Result<Snapshot> {
        let unavailable = Error::Store(StorageError::SnapshotTemporarilyUnavailable);
        let Ok(term) = self.term(self.applied) else { return Err(unavailable) };
        if self.applied == 0 || self.applied < request_index {
            return Err(unavailable);
        }
        let conf_state = Some(self.conf_state.clone());
        let metadata = Some(SnapshotMetadata { conf_state, index: self.applied, term });
        Ok(Snapshot { metadata, ..Snapshot::default() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(index: u64, term: u64, bytes: usize) -> Entry {
        Entry { index, term, data: vec![0; bytes].into(), ..Entry::default() }
    }

    fn window(last: u64, bytes: usize) -> Window {
        let entries = (1..=last).map(|index| entry(index, 1, bytes)).collect();
        Window::new(HardState::default(), ConfState::default(), (0, 0), entries, 0)
    }

    fn indexes(window: &Window, low: u64, high: u64, max: Option<u64>) -> Result<Vec<u64>> {
        let found = window.entries(low, high, max, GetEntriesContext::empty(false))?;
        Ok(found.iter().map(|entry| entry.index).collect())
    }

    #[test]
    fn the_oldest_applied_entries_go_by_count_and_by_bytes() {
        let mut by_count = window(APPLIED_ENTRIES_KEPT + 100, 1);
        by_count.applied(10);
        assert_eq!(by_count.first_index(), Ok(1));
        by_count.applied(APPLIED_ENTRIES_KEPT + 10);
        assert_eq!(by_count.first_index(), Ok(11));
        assert_eq!(by_count.term(10), Ok(1), "the term before the first entry is known");
        assert_eq!(by_count.term(9), Err(Error::Store(StorageError::Compacted)));
        assert_eq!(indexes(&by_count, 10, 12, None), Err(Error::Store(StorageError::Compacted)));

        let mut by_bytes = window(10, APPLIED_BYTES_KEPT);
        by_bytes.applied(8);
        assert_eq!(by_bytes.first_index(), Ok(8), "the newest applied entry stays");
        assert_eq!(by_bytes.last_index(), Ok(10), "what is not applied stays");
    }

    #[test]
    fn what_is_not_for_everybody_goes_as_soon_as_it_is_applied() {
        let mut window = window(10, 1);
        window.applied(4);
        window.hold(Some(2));
        window.forget_before(7);
        assert_eq!(window.first_index(), Ok(4), "the newest applied entry stays");
        window.applied(9);
        assert_eq!(window.first_index(), Ok(7));
        window.forget_before(5);
        window.applied(10);
        assert_eq!(indexes(&window, 7, 11, None), Ok(vec![7, 8, 9, 10]));
    }

    #[test]
    fn what_followers_need_stays_in_files() {
        let disk = base::disk::MemDisk::new(1);
        let path = std::path::Path::new("/catch-up");
        let files = || base::Disk::list(&disk, path.parent().unwrap()).unwrap();
        let mut window = window(40_000, 100);
        window.spool_to(Spool::new(Arc::new(disk.clone()), path, 1 << 30).unwrap());
        window.applied(10_000);
        window.hold(Some(9_000));
        window.applied(40_000);
        assert!(window.entries.len() <= 5_001, "{}", window.entries.len());
        assert!(!files().is_empty());
        assert_eq!(window.first_index(), Ok(9_001));
        assert_eq!((window.term(9_000), window.term(20_000)), (Ok(1), Ok(1)));
        assert_eq!(window.term(8_999), Err(Error::Store(StorageError::Compacted)));
        let mut next = 9_001;
        while next <= 40_000 {
            let found = indexes(&window, next, 40_001, Some(50_000)).unwrap();
            let expected: Vec<_> = (next..next + found.len() as u64).collect();
            assert_eq!(found, expected);
            next += found.len() as u64;
        }
        window.hold(Some(30_000));
        assert!((20_000..=30_001).contains(&window.first_index().unwrap()));
        window.forget_before(39_000);
        assert_eq!(
            indexes(&window, 38_000, 38_002, None),
            Err(Error::Store(StorageError::Compacted))
        );
        window.hold(None);
        assert_eq!(window.first_index(), Ok(39_000));
        assert!(files().is_empty(), "nothing is left");
    }

    #[test]
    fn opening_drops_what_a_running_member_would_have_dropped() {
        let entries = (1..=APPLIED_ENTRIES_KEPT + 100).map(|index| entry(index, 1, 1)).collect();
        let window = Window::new(
            HardState::default(),
            ConfState::default(),
            (0, 0),
            entries,
            APPLIED_ENTRIES_KEPT + 50,
        );
        assert_eq!(window.first_index(), Ok(51));
    }

    #[test]
    fn an_entry_replaces_its_index_and_all_after_it() {
        let mut window = window(5, 1);
        window.append(&[entry(3, 2, 1)]);
        assert_eq!(window.last_index(), Ok(3));
        assert_eq!(window.term(3), Ok(2));
        assert_eq!(window.term(4), Err(Error::Store(StorageError::Unavailable)));
    }

    #[test]
    fn a_read_is_bounded_but_never_empty() {
        let window = window(5, 100);
        assert_eq!(indexes(&window, 2, 6, Some(230)), Ok(vec![2, 3]));
        assert_eq!(indexes(&window, 2, 6, Some(0)), Ok(vec![2]));
        assert_eq!(indexes(&window, 2, 7, None), Err(Error::Store(StorageError::Unavailable)));
    }
}
