//! The revisions of one name, 16 bytes each.

use std::collections::VecDeque;

use base::Revision;

use crate::record::Record;

/// What the index knows of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Point {
    main: i64,
    sub: u32,
    pub(crate) deleted: bool,
    /// Whether v2 tells of it.
    pub(crate) told: bool,
}

impl Point {
    pub(crate) fn of(record: &Record) -> Self {
        let Revision { main, sub } = record.revision;
        Self { main, sub, deleted: record.deleted, told: record.told }
    }

    pub(crate) fn revision(self) -> Revision {
        Revision { main: self.main, sub: self.sub }
    }

    /// Its revision, unless it is a deletion.
    pub(crate) fn live(self) -> Option<Revision> {
        (!self.deleted).then_some(self.revision())
    }
}

/// All points of one name, oldest first; never empty.
///
/// Most names have one, which lies in the map itself: the tag hides in a `bool` of the point.
#[derive(Debug)]
pub(crate) enum Points {
    One(Point),
    #[allow(clippy::box_collection, reason = "16 bytes in the map's nodes instead of 32")]
    Many(Box<VecDeque<Point>>),
}

impl Points {
    pub(crate) fn newest(&self) -> Point {
        match self {
            Self::One(point) => *point,
            // Never empty: see the type.
            Self::Many(points) => points.back().copied().unwrap_or(Point {
                main: 0,
                sub: 0,
                deleted: true,
                told: false,
            }),
        }
    }

    fn newest_at(&self, at: i64) -> Option<Point> {
        let newest = self.newest();
        if newest.main <= at {
            return Some(newest);
        }
        match self {
            Self::One(_) => None,
            Self::Many(points) => {
                let after = points.partition_point(|point| point.main <= at);
                points.get(after.checked_sub(1)?).copied()
            }
        }
    }

    /// The live record at `at`.
    pub(crate) fn live_at(&self, at: i64) -> Option<Revision> {
        self.newest_at(at)?.live()
    }

    /// The points with `from <= main <= to`, oldest first.
    pub(crate) fn between(&self, from: i64, to: i64) -> impl Iterator<Item = Point> {
        let (one, many) = match self {
            Self::One(point) => ((from..=to).contains(&point.main).then_some(*point), None),
            Self::Many(points) => {
                let start = points.partition_point(|point| point.main < from);
                let end = points.partition_point(|point| point.main <= to);
                (None, Some(points.range(start..end.max(start)).copied()))
            }
        };
        one.into_iter().chain(many.into_iter().flatten())
    }

    pub(crate) fn push(&mut self, point: Point) {
        match self {
            Self::One(first) => {
                *self = Self::Many(Box::new(VecDeque::from([*first, point])));
            }
            Self::Many(points) => {
                if points.len() == points.capacity() {
                    // Doubling would waste up to half of a long history.
                    points.reserve_exact(points.len() / 4 + 2);
                }
                points.push_back(point);
            }
        }
    }

    /// Removes a point; true if it was the last one, and the name must go.
    pub(crate) fn remove(&mut self, revision: Revision) -> bool {
        match self {
            Self::One(point) => point.revision() == revision,
            Self::Many(points) => {
                // Sweeping goes in order of revision: it is mostly the first.
                let found = points.binary_search_by_key(&revision, |point| point.revision());
                if let Ok(at) = found {
                    points.remove(at);
                }
                match points.len() {
                    0 => return true,
                    1 => *self = Self::One(self.newest()),
                    len if len < points.capacity() / 4 => points.shrink_to(len + len / 4),
                    _ => {}
                }
                false
            }
        }
    }

    #[cfg(test)]
    pub(crate) fn all(&self) -> impl Iterator<Item = Point> {
        self.between(i64::MIN, i64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(main: i64, deleted: bool) -> Point {
        Point { main, sub: 0, deleted, told: true }
    }

    #[test]
    fn one_point_takes_sixteen_bytes() {
        assert_eq!(size_of::<Point>(), 16);
        assert_eq!(size_of::<Points>(), 16);
    }

    #[test]
    fn points_are_found_by_revision() {
        let mut points = Points::One(point(3, false));
        points.push(point(5, true));
        points.push(point(8, false));
        let live: Vec<_> =
            (2..10).map(|at| points.live_at(at).map(|revision| revision.main)).collect();
        let expected = [None, Some(3), Some(3), None, None, None, Some(8), Some(8)];
        assert_eq!(live, expected);
        let between = |from, to| points.between(from, to).map(|p| p.main).collect::<Vec<_>>();
        assert_eq!(between(4, 8), [5, 8]);
        assert_eq!(between(9, 20), []);
        assert_eq!(between(8, 3), []);
    }

    #[test]
    fn removing_all_points_ends_the_name() {
        let mut points = Points::One(point(0, false));
        for main in 1..100 {
            points.push(point(main, false));
        }
        for main in 0..99 {
            assert!(!points.remove(Revision::new(main, 0)), "{main}");
            assert_eq!(points.all().count(), 99 - usize::try_from(main).unwrap());
        }
        assert!(matches!(points, Points::One(_)));
        assert!(!points.remove(Revision::new(5, 0)), "not there any more");
        assert!(points.remove(Revision::new(99, 0)));
    }
}
