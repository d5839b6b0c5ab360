//! Permissions put together: which keys may be read, and which written.

use std::cmp::Ordering;

use bytes::Bytes;

use super::Access;

/// A range of keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Keys<'a> {
    pub(super) from: &'a [u8],
    pub(super) to: To<'a>,
}

/// Where a range ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum To<'a> {
    /// Right behind its first key, which is the only one.
    Alone,
    /// Before this one.
    Before(&'a [u8]),
    Open,
}

impl<'a> Keys<'a> {
    /// As key and end stand in requests and permissions.
    pub(super) fn new(key: &'a [u8], range_end: &'a [u8]) -> Self {
        let to = match range_end {
            b"" => To::Alone,
            b"\0" => To::Open,
            end => To::Before(end),
        };
        Self { from: key, to }
    }

    pub(super) fn one(key: &'a [u8]) -> Self {
        Self { from: key, to: To::Alone }
    }
}

/// Ranges of keys that neither overlap nor touch, in order; `None` is an open end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Ranges(Vec<(Bytes, Option<Bytes>)>);

impl Ranges {
    fn of(mut ranges: Vec<(Bytes, Option<Bytes>)>) -> Self {
        ranges.sort_by(|(one, _), (other, _)| one.cmp(other));
        let mut merged: Vec<(Bytes, Option<Bytes>)> = Vec::new();
        for (from, to) in ranges {
            match merged.last_mut() {
                Some((_, end)) if end.as_ref().is_none_or(|end| from <= *end) => {
                    if is_behind(to.as_deref(), end.as_deref()) {
                        *end = to;
                    }
                }
                _ => merged.push((from, to)),
            }
        }
        Self(merged)
    }

    /// Whether all of these keys are among them. Of a range that ends before it begins, its key.
    pub(super) fn cover(&self, keys: Keys<'_>) -> bool {
        let at = self.0.partition_point(|(from, _)| **from <= *keys.from);
        let Some((_, end)) = at.checked_sub(1).and_then(|at| self.0.get(at)) else { return false };
        let Some(end) = end.as_deref() else { return true };
        match keys.to {
            To::Open => false,
            To::Before(to) if to > keys.from => to <= end,
            To::Before(_) | To::Alone => keys.from < end,
        }
    }
}

/// Whether one end lies behind another.
fn is_behind(one: Option<&[u8]>, other: Option<&[u8]>) -> bool {
    match (one, other) {
        (_, None) => false,
        (None, Some(_)) => true,
        (Some(one), Some(other)) => one.cmp(other) == Ordering::Greater,
    }
}

/// What the roles of a user permit together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Permits {
    pub(super) read: Ranges,
    pub(super) write: Ranges,
}

impl Permits {
    pub(super) fn of<'a>(
        permissions: impl Iterator<Item = (&'a (Bytes, Bytes), &'a Access)>,
    ) -> Self {
        let (mut read, mut write) = (Vec::new(), Vec::new());
        for ((key, range_end), access) in permissions {
            let end = match Keys::new(key, range_end).to {
                To::Alone => Some([&key[..], b"\0"].concat().into()),
                To::Before(_) => Some(range_end.clone()),
                To::Open => None,
            };
            let range = (key.clone(), end);
            if access.read {
                read.push(range.clone());
            }
            if access.write {
                write.push(range);
            }
        }
        Self { read: Ranges::of(read), write: Ranges::of(write) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Ranges are written `from..to`, `from..` for an open end, and keys alone.
    fn keys(text: &str) -> Keys<'_> {
        match text.split_once("..") {
            None => Keys::one(text.as_bytes()),
            Some((from, "")) => Keys::new(from.as_bytes(), b"\0"),
            Some((from, to)) => Keys::new(from.as_bytes(), to.as_bytes()),
        }
    }

    fn readable(permissions: &[&str]) -> Ranges {
        let access = Access { read: true, write: false };
        let permissions: Vec<_> = permissions
            .iter()
            .map(|text| {
                let (from, to) = text.split_once("..").unwrap_or((text, "none"));
                let to = match to {
                    "none" => "",
                    "" => "\0",
                    to => to,
                };
                ((from.to_owned().into(), to.to_owned().into()), access)
            })
            .collect();
        let permits = Permits::of(permissions.iter().map(|(range, access)| (range, access)));
        assert_eq!(permits.write, Ranges::default());
        permits.read
    }

    #[test]
    fn ranges_cover_what_lies_in_them_together() {
        let check = |permissions: &[&str], asked: &str, expected| {
            assert_eq!(
                readable(permissions).cover(keys(asked)),
                expected,
                "{permissions:?} {asked}"
            );
        };
        check(&[], "a", false);
        check(&["a"], "a", true);
        // A permission on one key must not open the keys after it.
        for more in ["a\0", "aa", "b", "a..b", "a..aa", "a..a\0\0", "a.."] {
            check(&["a"], more, false);
        }
        check(&["a"], "a..a\0", true);
        check(&["b..d"], "b", true);
        check(&["b..d"], "c", true);
        check(&["b..d"], "d", false);
        check(&["b..d"], "a", false);
        check(&["b..d"], "b..d", true);
        check(&["b..d"], "b..e", false);
        check(&["b..d"], "a..c", false);
        check(&["b..d"], "b..", false);
        check(&["b.."], "b..", true);
        check(&["b.."], "c..", true);
        check(&["b.."], "a..", false);
        check(&["b.."], "z..zz", true);
        // Those of several roles, in whatever order.
        check(&["d..f", "b..d"], "b..f", true);
        check(&["d..f", "b..c"], "b..f", false);
        check(&["b..f", "c..d"], "b..f", true);
        check(&["a", "a\0..c"], "a..c", true);
        check(&["c..", "b..d"], "b..", true);
        check(&["b..", "c..d"], "b..", true);
    }

    #[test]
    fn a_range_that_ends_before_it_begins_needs_its_key() {
        let ranges = readable(&["b..d"]);
        assert!(ranges.cover(keys("c..a")));
        assert!(!ranges.cover(keys("d..a")));
    }

    proptest::proptest! {
        #[test]
        fn ranges_cover_what_each_key_alone_says(
            permissions in proptest::collection::vec((0_u8..16, 0_u8..18), 0..6),
            asked in (0_u8..16, 0_u8..18),
        ) {
            // An end of 16 is open, one of 17 none.
            let end = |to: u8| match to {
                16 => Bytes::from_static(b"\0"),
                17 => Bytes::new(),
                to => Bytes::from(vec![to + 1]),
            };
            let key = |from: u8| Bytes::from(vec![from + 1]);
            let access = Access { read: true, write: true };
            // etcd refuses such permissions.
            let permissions: Vec<_> = permissions.iter().filter(|(from, to)| *to > 15 || to > from).collect();
            let ranges: Vec<_> =
                permissions.iter().map(|(from, to)| ((key(*from), end(*to)), access)).collect();
            let permits = Permits::of(ranges.iter().map(|(range, access)| (range, access)));
            let permitted = |one: u8| permissions.iter().any(|(from, to)| match *to {
                16 => one >= *from,
                17 => one == *from,
                to => (*from..to).contains(&one),
            });
            let (from, to) = asked;
            // Between keys of one byte there are others.
            let whole = |one: u8| permissions.iter().any(|(from, to)| {
                *to != 17 && one >= *from && (*to == 16 || one < *to)
            });
            let (key, end) = (key(from), end(to));
            let expected = match to {
                16 => (from..16).all(whole) && permissions.iter().any(|(_, to)| *to == 16),
                17 => permitted(from),
                to if to > from => (from..to).all(whole),
                _ => permitted(from),
            };
            proptest::prop_assert_eq!(permits.read.cover(Keys::new(&key, &end)), expected);
            proptest::prop_assert_eq!(&permits.read, &permits.write);
        }
    }
}
