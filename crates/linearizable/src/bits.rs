//! A set of small numbers.

/// A set of small numbers below a bound that is given once.
#[derive(Clone, Debug)]
pub(crate) struct Bits {
    words: Vec<u64>,
}

const WORD: usize = 64;

impl Bits {
    pub(crate) fn below(bound: usize) -> Self {
        Self { words: vec![0; bound.div_ceil(WORD)] }
    }

    pub(crate) fn contains(&self, number: usize) -> bool {
        self.words.get(number / WORD).is_some_and(|word| word >> (number % WORD) & 1 == 1)
    }

    pub(crate) fn insert(&mut self, number: usize) {
        if let Some(word) = self.words.get_mut(number / WORD) {
            *word |= 1 << (number % WORD);
        }
    }

    pub(crate) fn remove(&mut self, number: usize) {
        if let Some(word) = self.words.get_mut(number / WORD) {
            *word &= !(1 << (number % WORD));
        }
    }

    /// Whether `other`, of the same bound, holds all of it.
    pub(crate) fn is_within(&self, other: &Self) -> bool {
        self.words.iter().zip(&other.words).all(|(mine, theirs)| mine & !theirs == 0)
    }

    /// The first number from `from` on that is not in the set; it may lie beyond the bound.
    pub(crate) fn first_missing(&self, from: usize) -> usize {
        let mut at = from;
        while let Some(word) = self.words.get(at / WORD) {
            // What lies below `at` in its word counts as present.
            let below = (1_u64 << (at % WORD)) - 1;
            let present = (word | below).trailing_ones() as usize;
            if present < WORD {
                return at / WORD * WORD + present;
            }
            at = (at / WORD + 1) * WORD;
        }
        at
    }

    /// The words that hold the numbers of `from..until`, and some around them.
    pub(crate) fn words(&self, from: usize, until: usize) -> &[u64] {
        let last = until.div_ceil(WORD).min(self.words.len());
        self.words.get(from / WORD..last).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_missing_number_is_found_across_words() {
        let mut bits = Bits::below(200);
        (0..130).for_each(|number| bits.insert(number));
        assert_eq!(bits.first_missing(0), 130);
        bits.remove(70);
        let check = |from, missing| assert_eq!(bits.first_missing(from), missing, "from {from}");
        check(0, 70);
        check(70, 70);
        check(71, 130);
        check(150, 150);
        assert!(bits.contains(129) && !bits.contains(70) && !bits.contains(1_000));
        let mut more = bits.clone();
        more.insert(199);
        assert!(bits.is_within(&more) && !more.is_within(&bits));
        assert_eq!(bits.words(64, 130).len(), 2);
    }
}
