//! Which term each entry of the log has, in a few bytes.

use base::{Index, Term};

/// The terms of the entries that the log holds.
#[derive(Debug)]
pub(crate) struct Terms {
    /// The first index of each run of entries of one term. Never empty: the first is what stands
    /// before the first entry. Invariant: both parts go up.
    runs: Vec<(Index, Term)>,
    last: Index,
}

impl Terms {
    pub(crate) fn new(before: (Index, Term)) -> Self {
        Self { runs: vec![before], last: before.0 }
    }

    /// The index before the first entry.
    pub(crate) fn first(&self) -> Index {
        self.runs.first().map_or(Index(0), |(before, _)| *before)
    }

    /// The index of the last entry.
    pub(crate) fn last(&self) -> Index {
        self.last
    }

    /// The term of an entry, or of what stands before the first.
    pub(crate) fn term(&self, index: Index) -> Option<Term> {
        if index > self.last {
            return None;
        }
        let run = self.runs.partition_point(|(first, _)| *first <= index).checked_sub(1)?;
        self.runs.get(run).map(|(_, term)| *term)
    }

    /// Adds an entry, in place of all that had its index or a higher one. False, and nothing is
    /// done, if it would leave a gap, lies below the log's beginning, or its term is lower than
    /// that of the entry before.
    #[must_use]
    pub(crate) fn put(&mut self, index: Index, term: Term) -> bool {
        let Some(previous) = index.0.checked_sub(1).map(Index) else { return false };
        let Some(previous_term) = self.term(previous) else { return false };
        if term < previous_term {
            return false;
        }
        self.truncate(previous);
        if term > previous_term {
            self.runs.push((index, term));
        }
        self.last = index;
        true
    }

    /// Drops all entries above `last`.
    pub(crate) fn truncate(&mut self, last: Index) {
        if last < self.last {
            let kept = self.runs.partition_point(|(first, _)| *first <= last);
            self.runs.truncate(kept.max(1));
            self.last = last;
        }
    }

    /// Lets the log begin after `before`, which it holds.
    pub(crate) fn cut(&mut self, before: Index) {
        if let Some(term) = self.term(before) {
            let gone = self.runs.partition_point(|(first, _)| *first <= before);
            self.runs.splice(..gone, [(before, term)]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(terms: &Terms) -> Vec<(u64, u64)> {
        (0..=terms.last().0 + 1)
            .filter_map(|index| Some((index, terms.term(Index(index))?.0)))
            .collect()
    }

    #[test]
    fn a_term_is_found_after_appends_conflicts_and_cuts() {
        let mut terms = Terms::new((Index(2), Term(1)));
        for (index, term) in [(3, 1), (4, 2), (5, 2), (6, 5)] {
            assert!(terms.put(Index(index), Term(term)));
        }
        assert_eq!(all(&terms), [(2, 1), (3, 1), (4, 2), (5, 2), (6, 5)]);
        assert!(terms.put(Index(5), Term(6)));
        assert_eq!(all(&terms), [(2, 1), (3, 1), (4, 2), (5, 6)]);
        terms.cut(Index(3));
        assert_eq!(all(&terms), [(3, 1), (4, 2), (5, 6)]);
        terms.cut(Index(5));
        assert_eq!(all(&terms), [(5, 6)]);
        assert!(terms.put(Index(6), Term(6)));
        terms.truncate(Index(5));
        assert_eq!(all(&terms), [(5, 6)]);
    }

    #[test]
    fn what_no_log_can_hold_is_refused() {
        let mut terms = Terms::new((Index(2), Term(3)));
        assert!(terms.put(Index(3), Term(4)));
        for (index, term) in [(0, 4), (1, 4), (2, 4), (5, 4), (4, 3), (3, 2)] {
            assert!(!terms.put(Index(index), Term(term)), "{index} {term}");
        }
        assert_eq!(all(&terms), [(2, 3), (3, 4)]);
    }
}
