//! A file's bytes: sparse, together with what a loss of power would take back.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    ops::Range,
    sync::Arc,
};

/// What a disk writes whole or not at all.
const SECTOR: usize = 512;
/// Eight sectors, so that a byte says which of them are meant.
const CHUNK: usize = 8 * SECTOR;

type Chunk = [u8; CHUNK];

/// The bytes of one file.
///
/// Cloning is cheap: chunks are shared until one side writes.
#[derive(Clone, Debug, Default)]
pub(super) struct Content {
    /// Absent chunks are zeros. Invariant: bytes from `len` on are zeros.
    chunks: BTreeMap<u64, Arc<Chunk>>,
    len: u64,
    /// Chunks that were written since the last sync.
    unsynced: BTreeMap<u64, Unsynced>,
    synced_len: u64,
}

/// The sectors of one chunk that the disk may not have yet.
#[derive(Clone, Debug)]
struct Unsynced {
    /// What the disk has for certain; `None` is zeros.
    before: Option<Arc<Chunk>>,
    /// Sectors that the next sync writes.
    written: u8,
    /// Sectors that a failed sync has thrown away: no later sync writes them.
    lost: u8,
}

/// How much of what is unsynced a loss of power takes, so that "all but one sector" comes up as
/// well as "about half".
#[derive(Clone, Copy)]
enum Losses {
    None,
    Few,
    Half,
    Most,
    All,
}

impl Losses {
    fn pick(rng: &mut fastrand::Rng) -> Self {
        match rng.u8(..8) {
            0 => Self::None,
            1 | 2 => Self::Few,
            3 | 4 => Self::Half,
            5 | 6 => Self::Most,
            _ => Self::All,
        }
    }

    fn sectors(self, rng: &mut fastrand::Rng) -> u8 {
        match self {
            Self::None => 0,
            Self::Few => rng.u8(..) & rng.u8(..) & rng.u8(..),
            Self::Half => rng.u8(..),
            Self::Most => rng.u8(..) | rng.u8(..) | rng.u8(..),
            Self::All => u8::MAX,
        }
    }
}

impl Content {
    pub(super) fn len(&self) -> u64 {
        self.len
    }

    pub(super) fn read_at(&self, buffer: &mut [u8], at: u64) -> usize {
        let there = usize::try_from(self.len.saturating_sub(at)).unwrap_or(usize::MAX);
        let filled = buffer.len().min(there);
        let mut rest = buffer.get_mut(..filled).unwrap_or_default();
        for (number, range) in pieces(at, filled) {
            let (piece, more) = rest.split_at_mut(range.len());
            match self.chunks.get(&number).and_then(|chunk| chunk.get(range)) {
                Some(bytes) => piece.copy_from_slice(bytes),
                None => piece.fill(0),
            }
            rest = more;
        }
        filled
    }

    pub(super) fn write_at(&mut self, data: &[u8], at: u64, rng: &mut fastrand::Rng) {
        if data.is_empty() {
            return; // As with any file: writing nothing does not make it longer.
        }
        let mut rest = data;
        for (number, range) in pieces(at, data.len()) {
            let (piece, more) = rest.split_at(range.len());
            self.touch(number, sectors(&range), rng);
            if let Some(bytes) = writable(&mut self.chunks, number).get_mut(range) {
                bytes.copy_from_slice(piece);
            }
            rest = more;
        }
        self.len = self.len.max(at + data.len() as u64);
    }

    pub(super) fn set_len(&mut self, len: u64, rng: &mut fastrand::Rng) {
        if len < self.len {
            let first = len / CHUNK as u64;
            let cut: Vec<u64> = self.chunks.range(first..).map(|(number, _)| *number).collect();
            for number in cut {
                let from = if number == first { in_chunk(len) } else { 0 };
                self.touch(number, sectors(&(from..CHUNK)), rng);
            }
            self.forget_from(len);
        }
        self.len = len;
    }

    pub(super) fn allocate(&mut self, len: u64) {
        self.len = self.len.max(len);
    }

    pub(super) fn sync(&mut self) {
        self.unsynced.retain(|_, unsynced| {
            unsynced.written = 0;
            unsynced.lost != 0
        });
        self.synced_len = self.len;
    }

    /// A sync that reports an error: as in Linux, what it could not write counts as clean from
    /// now on, and a later sync that reports success has not written it either.
    pub(super) fn sync_failed(&mut self, rng: &mut fastrand::Rng) {
        self.unsynced.retain(|_, unsynced| {
            unsynced.lost |= unsynced.written & rng.u8(..);
            unsynced.written = 0;
            unsynced.lost != 0
        });
    }

    /// A loss of power: every unsynced sector is, on its own, what it was or what it was to be;
    /// and the length is the old, the new, or (of a file that grew) one in between. Returns whether
    /// sectors were kept, and whether some were lost.
    pub(super) fn crash(&mut self, rng: &mut fastrand::Rng) -> (bool, bool) {
        let len = match rng.u8(..3) {
            0 => self.synced_len,
            1 if self.synced_len < self.len => rng.u64(self.synced_len..=self.len),
            _ => self.len,
        };
        let losses = Losses::pick(rng);
        let (mut kept, mut lost) = (false, false);
        for (number, unsynced) in std::mem::take(&mut self.unsynced) {
            let mut back = unsynced.lost | (unsynced.written & losses.sectors(rng));
            kept |= unsynced.written & !back != 0;
            lost |= back != 0;
            if len > self.len {
                // The cut never happened, so what it cut off is still there.
                back |= sectors_from(number, self.len);
            }
            self.restore(number, back, unsynced.before.as_deref());
        }
        self.forget_from(len);
        self.len = len;
        self.synced_len = len;
        (kept, lost)
    }

    /// Changes the byte at `at` by `xor`, as rot does: behind everybody's back. False if the file
    /// ends before.
    pub(super) fn rot(&mut self, at: u64, xor: u8) -> bool {
        if at >= self.len {
            return false;
        }
        let number = at / CHUNK as u64;
        if let Some(unsynced) = self.unsynced.get_mut(&number) {
            let before = unsynced.before.get_or_insert_with(|| Arc::new([0; CHUNK]));
            flip(Arc::make_mut(before), in_chunk(at), xor);
        }
        flip(writable(&mut self.chunks, number), in_chunk(at), xor);
        true
    }

    /// Remembers what the disk has, before these sectors of a chunk change.
    fn touch(&mut self, number: u64, sectors: u8, rng: &mut fastrand::Rng) {
        let now = self.chunks.get(&number);
        match self.unsynced.entry(number) {
            Entry::Vacant(entry) => {
                entry.insert(Unsynced { before: now.cloned(), written: sectors, lost: 0 });
            }
            Entry::Occupied(mut entry) => {
                let unsynced = entry.get_mut();
                // The kernel writes when it likes: what is overwritten here may have reached the
                // disk already.
                let early = unsynced.written & sectors & rng.u8(..) & rng.u8(..);
                if early != 0 {
                    let before = unsynced.before.get_or_insert_with(|| Arc::new([0; CHUNK]));
                    copy(Arc::make_mut(before), now.map(|chunk| &**chunk), early);
                }
                unsynced.written |= sectors;
                unsynced.lost &= !sectors;
            }
        }
    }

    fn restore(&mut self, number: u64, sectors: u8, before: Option<&Chunk>) {
        if sectors == 0 || (before.is_none() && !self.chunks.contains_key(&number)) {
            return;
        }
        copy(writable(&mut self.chunks, number), before, sectors);
    }

    /// Zeros everything from `len` on, leaving no trace.
    fn forget_from(&mut self, len: u64) {
        let first = len / CHUNK as u64;
        self.chunks.split_off(&(first + u64::from(in_chunk(len) != 0)));
        if let Some(chunk) = self.chunks.get_mut(&first) {
            Arc::make_mut(chunk).get_mut(in_chunk(len)..).unwrap_or_default().fill(0);
        }
    }
}

fn in_chunk(at: u64) -> usize {
    usize::try_from(at % CHUNK as u64).unwrap_or(0)
}

/// The chunks that `len` bytes from `at` lie in, with the range in each.
fn pieces(at: u64, len: usize) -> impl Iterator<Item = (u64, Range<usize>)> {
    let end = at + len as u64;
    let mut next = at;
    std::iter::from_fn(move || {
        if next >= end {
            return None;
        }
        let number = next / CHUNK as u64;
        let from = in_chunk(next);
        next = end.min((number + 1) * CHUNK as u64);
        Some((number, from..if next.is_multiple_of(CHUNK as u64) { CHUNK } else { in_chunk(next) }))
    })
}

/// The sectors that a range of bytes of a chunk touches.
fn sectors(range: &Range<usize>) -> u8 {
    (range.start / SECTOR..range.end.div_ceil(SECTOR)).fold(0, |mask, sector| mask | 1 << sector)
}

/// The sectors of a chunk that lie wholly at or above `len`.
fn sectors_from(number: u64, len: u64) -> u8 {
    let start = number * CHUNK as u64;
    (0..8).filter(|sector| start + sector * SECTOR as u64 >= len).fold(0, |mask, s| mask | 1 << s)
}

fn writable(chunks: &mut BTreeMap<u64, Arc<Chunk>>, number: u64) -> &mut Chunk {
    Arc::make_mut(chunks.entry(number).or_insert_with(|| Arc::new([0; CHUNK])))
}

fn copy(to: &mut Chunk, from: Option<&Chunk>, sectors: u8) {
    for sector in (0..8).filter(|sector| sectors & 1 << sector != 0) {
        let range = sector * SECTOR..(sector + 1) * SECTOR;
        let Some(to) = to.get_mut(range.clone()) else { continue };
        match from.and_then(|from| from.get(range)) {
            Some(from) => to.copy_from_slice(from),
            None => to.fill(0),
        }
    }
}

fn flip(chunk: &mut Chunk, at: usize, xor: u8) {
    if let Some(byte) = chunk.get_mut(at) {
        *byte ^= xor;
    }
}
