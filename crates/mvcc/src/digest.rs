//! What all changes come to, in one number: members that have applied the same entries have the same.
//!
//! Every row that an entry writes goes into a chain, so that two members which ever wrote something
//! different have different numbers from then on, and comparing them costs nothing. Beside it stands the
//! sum over the rows of `Records` that are there, which opening compares with what it reads.

use std::collections::VecDeque;

use backend::{Change, Table};
use base::chance::mix;
use bytes::{BufMut as _, Bytes, BytesMut};

/// What goes into the chain, and how. A build that writes other rows for the same entries has another
/// number: what it has cannot be compared with what this one has.
const SCHEME: u8 = 1;
/// Entries whose digests are kept, so that members that are not equally far can be compared.
const KEPT: usize = 16_384;

/// A digest of all that entries have written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Digest {
    /// The first entry that is in it. Only digests with the same can be compared.
    pub since: u64,
    pub value: u64,
}

/// What is known of the digest at an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DigestAt {
    Known(Digest),
    /// That entry is not applied yet.
    Ahead,
    /// It is too long ago, or from before digests were kept.
    Forgotten,
}

/// The chain as far as entries are finished.
#[derive(Debug, Default)]
pub(crate) struct Digests {
    now: Option<Digest>,
    /// The last finished entry.
    applied: u64,
    /// After which entries it had which value, oldest first; the first is good from its index on.
    recent: VecDeque<(u64, u64)>,
}

impl Digests {
    /// As a row says that the chain stood after this entry.
    pub(crate) fn at(row: Option<&Bytes>, applied: u64) -> Self {
        let now = row.and_then(|row| decode(row));
        let recent = now.iter().map(|digest| (applied, digest.value)).collect();
        Self { now, applied, recent }
    }

    /// An entry is finished that has written these rows; the chain's own row, if it has moved.
    pub(crate) fn finish(&mut self, index: u64, rows: impl Iterator<Item = u64>) -> Option<Bytes> {
        self.applied = index;
        let mut rows = rows.peekable();
        rows.peek()?;
        // One begins with the first that writes anything.
        let before = self.now.unwrap_or(Digest { since: index, value: 0 });
        let value = rows.fold(before.value, |chain, row| mix(chain) ^ row);
        let now = Digest { value, ..before };
        self.now = Some(now);
        self.recent.push_back((index, value));
        if self.recent.len() > KEPT {
            self.recent.pop_front();
        }
        Some(encode(now))
    }

    /// The next entry begins a chain.
    pub(crate) fn restart(&mut self) {
        self.now = None;
        self.recent.clear();
    }

    pub(crate) fn look(&self, index: u64) -> DigestAt {
        if index > self.applied {
            return DigestAt::Ahead;
        }
        let Some(now) = self.now else { return DigestAt::Forgotten };
        let known = self.recent.partition_point(|(at, _)| *at <= index).checked_sub(1);
        match known.and_then(|at| self.recent.get(at)) {
            Some((_, value)) => DigestAt::Known(Digest { value: *value, ..now }),
            None => DigestAt::Forgotten,
        }
    }
}

/// What a row that is written, or removed, adds to the chain; `None` if it is the member's own affair.
pub(crate) fn of_change(change: &Change, is_local: impl Fn(&[u8]) -> bool) -> Option<u64> {
    let Change { table, key, value } = change;
    if *table == Table::Meta && is_local(key) {
        return None;
    }
    let kind = match table {
        Table::Records => 1,
        Table::Values => 2,
        Table::Meta => 3,
    };
    let kind = kind << 40 | u64::from(value.is_some()) << 39;
    Some(mix(kind | of_bytes(key, value.as_deref().unwrap_or_default())))
}

/// What a row of `Records` adds to the sum over all that are there.
pub(crate) fn of_record(key: &[u8], row: &[u8]) -> u64 {
    mix(of_bytes(key, row))
}

fn of_bytes(key: &[u8], row: &[u8]) -> u64 {
    crc32c::crc32c_append(crc32c::crc32c(key), row).into()
}

fn encode(digest: Digest) -> Bytes {
    let mut row = BytesMut::with_capacity(17);
    row.put_u8(SCHEME);
    row.put_u64(digest.since);
    row.put_u64(digest.value);
    row.freeze()
}

/// `None` for one of another scheme, too: a new chain begins.
fn decode(row: &[u8]) -> Option<Digest> {
    let (&scheme, numbers) = row.split_first()?;
    let (&[since, value], []) = numbers.as_chunks::<8>() else { return None };
    let [since, value] = [since, value].map(u64::from_be_bytes);
    (scheme == SCHEME).then_some(Digest { since, value })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chain_knows_the_order_and_where_it_began() {
        let mut ours = Digests::at(None, 3);
        assert_eq!(ours.finish(4, std::iter::empty()), None);
        let row = ours.finish(5, [1, 2].into_iter()).unwrap();
        assert_eq!(ours.finish(6, std::iter::empty()), None, "nothing was written");
        let known = |digests: &Digests, at| match digests.look(at) {
            DigestAt::Known(digest) => digest,
            other @ (DigestAt::Ahead | DigestAt::Forgotten) => panic!("{other:?} at {at}"),
        };
        let now = known(&ours, 6);
        assert_eq!(now.since, 5);
        assert_eq!((ours.look(7), ours.look(4)), (DigestAt::Ahead, DigestAt::Forgotten));
        let mut theirs = Digests::at(None, 4);
        theirs.finish(5, [2, 1].into_iter());
        assert_ne!(known(&theirs, 5), now, "in another order");
        // From a snapshot, or a restart.
        let again = Digests::at(Some(&row), 6);
        assert_eq!((known(&again, 6), again.look(5)), (now, DigestAt::Forgotten));
        ours.restart();
        assert_eq!(ours.look(6), DigestAt::Forgotten);
        ours.finish(7, [1].into_iter());
        assert_eq!(known(&ours, 7).since, 7);
    }

    #[test]
    fn only_so_many_entries_are_remembered() {
        let mut digests = Digests::default();
        for index in 1..=KEPT as u64 + 10 {
            digests.finish(index, [index].into_iter());
        }
        assert_eq!(digests.look(10), DigestAt::Forgotten);
        assert!(matches!(digests.look(11), DigestAt::Known(_)));
        assert_eq!(digests.recent.len(), KEPT);
    }

    #[test]
    fn a_row_of_another_scheme_is_none() {
        let row = encode(Digest { since: 3, value: 9 });
        assert_eq!(decode(&row), Some(Digest { since: 3, value: 9 }));
        let mut other = row.to_vec();
        other[0] += 1;
        assert_eq!((decode(&other), decode(&row[..16])), (None, None));
    }
}
