//! Which of very many keys a range is to tell, when it has to look at them all.

use base::{Refused, Revision};
use bytes::Bytes;

use super::{
    Error,
    range::{Keys, Most, Source},
};

/// Keys that are looked up at once.
const KEYS_PER_LOOK: usize = if cfg!(test) { 3 } else { 1_000 };

/// Calls `each` for the places of all keys that live, in order of their names, a few at a time; how many
/// there were.
pub(super) fn each_place(
    source: &impl Source,
    keys: Keys<'_>,
    mut each: impl FnMut(Revision) -> Result<(), Error>,
) -> Result<u64, Error> {
    let Keys::Range(from, to) = keys else {
        let (places, count) = source.places(keys, usize::MAX, true)?;
        places.into_iter().try_for_each(each)?;
        return Ok(count);
    };
    let (mut total, mut from) = (0, from.to_vec());
    loop {
        let (places, count) = source.places(Keys::Range(&from, to), KEYS_PER_LOOK, false)?;
        let last = places.last().copied();
        places.into_iter().try_for_each(&mut each)?;
        total += count;
        let Some(last) = last.filter(|_| count >= KEYS_PER_LOOK as u64) else { return Ok(total) };
        // The next name after this one.
        from = source.head(last)?.name.to_vec();
        from.push(0);
    }
}

/// What places are ordered by.
pub(super) trait Sorted: Ord {
    /// Bytes that it holds beyond itself.
    fn bytes(&self) -> usize {
        0
    }
}

impl Sorted for u64 {}
impl Sorted for i64 {}

impl Sorted for Bytes {
    fn bytes(&self) -> usize {
        size_of::<Self>() + self.len()
    }
}

/// The first places in an order, at most as many as are wanted. What is alike stays as it comes.
///
/// It holds half as many again before it lets go of the others: each is looked at a few times, and no more
/// than that is in memory however many come. If those that are wanted are more than can be held, the range
/// is refused.
#[derive(Debug)]
pub(super) struct Chosen<K> {
    descends: bool,
    wanted: usize,
    most: Most,
    kept: Vec<(K, Revision)>,
    /// Of what they are ordered by.
    bytes: usize,
}

impl<K: Sorted> Chosen<K> {
    pub(super) fn new(descends: bool, wanted: usize, most: Most) -> Self {
        Self { descends, wanted, most, kept: Vec::new(), bytes: 0 }
    }

    pub(super) fn add(&mut self, by: K, place: Revision) -> Result<(), Error> {
        self.bytes += by.bytes();
        self.kept.push((by, place));
        let places_max = self.wanted.min(self.most.places());
        let and_half = |most: usize| most.saturating_add(most / 2);
        let is_much = self.kept.len() > and_half(places_max).saturating_add(KEYS_PER_LOOK)
            || self.bytes > and_half(self.most.bytes);
        if is_much { self.choose() } else { Ok(()) }
    }

    /// The places, in order.
    pub(super) fn places(mut self) -> Result<Vec<Revision>, Error> {
        self.choose()?;
        Ok(self.kept.into_iter().map(|(_, place)| place).collect())
    }

    /// Lets go of what is not wanted.
    fn choose(&mut self) -> Result<(), Error> {
        let descends = self.descends;
        self.kept.sort_by(
            |(one, _), (other, _)| {
                if descends { other.cmp(one) } else { one.cmp(other) }
            },
        );
        self.kept.truncate(self.wanted);
        self.bytes = self.kept.iter().map(|(by, _)| by.bytes()).sum();
        if self.kept.len() > self.most.places() || self.bytes > self.most.bytes {
            return Err(Refused::AnswerTooLarge.into());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(main: i64) -> Revision {
        Revision::new(main, 0)
    }

    /// The mains of the places that are chosen of so many, ordered by what `by` makes of each; and the most
    /// that were in memory at once.
    fn chosen<K: Sorted>(
        descends: bool,
        wanted: usize,
        bytes_max: usize,
        by: impl Fn(i64) -> K,
    ) -> (Result<Vec<i64>, Error>, usize) {
        let mut chosen = Chosen::new(descends, wanted, Most::of(bytes_max));
        let mut most = 0;
        for main in 1..=1_000 {
            if let Err(error) = chosen.add(by(main), place(main)) {
                return (Err(error), most);
            }
            most = most.max(chosen.kept.len());
        }
        (chosen.places().map(|places| places.iter().map(|place| place.main).collect()), most)
    }

    fn is_too_large((chosen, _): &(Result<Vec<i64>, Error>, usize)) -> bool {
        matches!(chosen, Err(Error::Refused(Refused::AnswerTooLarge)))
    }

    #[test]
    fn the_first_of_many_are_chosen_in_little_more_memory_than_they_take() {
        let room = 100 * size_of::<Revision>();
        for descends in [false, true] {
            let (first, most) = chosen(descends, 10, room, |main| main % 100);
            let expected: Vec<i64> = if descends {
                (0..10).map(|nth| 99 + nth * 100).collect()
            } else {
                (1..=10).map(|nth| nth * 100).collect()
            };
            assert_eq!(first.unwrap(), expected, "what is alike stays as it comes");
            assert!(most <= 10 + 5 + KEYS_PER_LOOK, "{most}");
        }
        let (all, most) = chosen(false, usize::MAX, 1_000 * size_of::<Revision>(), |main| main);
        assert_eq!((all.unwrap().len(), most), (1_000, 1_000));
        let too_many = chosen(false, usize::MAX, room, |main| main);
        assert!(is_too_large(&too_many) && too_many.1 <= 150 + KEYS_PER_LOOK, "{}", too_many.1);
        assert!(is_too_large(&chosen(false, 101, room, |main| main)));
        assert!(chosen(false, 100, room, |main| main).0.is_ok());
    }

    #[test]
    fn what_they_are_ordered_by_takes_room_as_well() {
        let value = |main: i64| Bytes::from(format!("{main:0100}"));
        let of = |count: usize| count * value(1).bytes();
        let (last, most) = chosen(true, 5, of(6), value);
        assert_eq!(last.unwrap(), [1_000, 999, 998, 997, 996]);
        assert!(most <= 10, "{most}");
        assert!(is_too_large(&chosen(true, 7, of(6), value)));
    }
}
