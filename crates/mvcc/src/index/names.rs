//! The names of one kind, in order of their bytes.

use std::{
    collections::{BTreeMap, btree_map},
    ops::Bound,
};

use base::Revision;

use super::{Point, Points};
use crate::path;

/// From name to points.
#[derive(Debug, Default)]
pub(crate) struct Names(BTreeMap<Box<[u8]>, Points>);

impl Names {
    pub(crate) fn get(&self, name: &[u8]) -> Option<&Points> {
        self.0.get(name)
    }

    pub(super) fn push(&mut self, name: &[u8], point: Point) {
        // Not `entry`: most writes find the name, and need no copy of it.
        if let Some(points) = self.0.get_mut(name) {
            points.push(point);
        } else {
            self.0.insert(Box::from(name), Points::One(point));
        }
    }

    pub(super) fn remove(&mut self, name: &[u8], revision: Revision) {
        if self.0.get_mut(name).is_some_and(|points| points.remove(revision)) {
            self.0.remove(name);
        }
    }

    /// The names with `from <= name < to` (no `to`: to the end).
    pub(crate) fn range<'a>(&'a self, from: &[u8], to: Option<&[u8]>) -> Range<'a> {
        if to.is_some_and(|to| to <= from) {
            return Range(btree_map::Range::default());
        }
        let to = to.map_or(Bound::Unbounded, Bound::Excluded);
        Range(self.0.range::<[u8], _>((Bound::Included(from), to)))
    }

    /// The names strictly below the directory `dir`.
    pub(crate) fn below<'a>(&'a self, dir: &[u8]) -> Range<'a> {
        self.range(&path::prefix(dir), Some(&path::prefix_end(dir)))
    }
}

/// See [`Names::range`].
#[derive(Debug)]
pub(crate) struct Range<'a>(btree_map::Range<'a, Box<[u8]>, Points>);

impl<'a> Iterator for Range<'a> {
    type Item = (&'a [u8], &'a Points);

    fn next(&mut self) -> Option<Self::Item> {
        self.0.next().map(|(name, points)| (name.as_ref(), points))
    }
}

impl DoubleEndedIterator for Range<'_> {
    fn next_back(&mut self) -> Option<Self::Item> {
        self.0.next_back().map(|(name, points)| (name.as_ref(), points))
    }
}
