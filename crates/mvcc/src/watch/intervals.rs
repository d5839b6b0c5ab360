//! The ranges that are watched: those that a key lies in are found without a look at the others.
//!
//! A treap in order of where ranges begin, in which each node knows how far the ranges below it
//! reach. A key that `k` of `n` ranges contain is looked for in `O(log n + k log n)` steps at most.

use base::mix;
use bytes::Bytes;

/// Ranges of keys, each with something that belongs to it.
#[derive(Debug)]
pub(super) struct Intervals<T>(Tree<T>);

type Tree<T> = Option<Box<Node<T>>>;

/// Invariants: what lies left comes before, what lies right after, by (`from`, `id`); no priority
/// below is higher; no range below reaches further than `reach`.
#[derive(Debug)]
struct Node<T> {
    from: Bytes,
    to: End,
    id: u64,
    value: T,
    priority: u64,
    reach: End,
    left: Tree<T>,
    right: Tree<T>,
}

/// Where a range ends; all that follow are in it if it does not.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum End {
    Before(Bytes),
    Never,
}

impl End {
    fn of(to: Option<&Bytes>) -> Self {
        to.map_or(Self::Never, |to| Self::Before(to.clone()))
    }

    fn is_behind(&self, key: &[u8]) -> bool {
        match self {
            Self::Before(end) => key < end.as_ref(),
            Self::Never => true,
        }
    }
}

impl<T> Default for Intervals<T> {
    fn default() -> Self {
        Self(None)
    }
}

impl<T> Intervals<T> {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// Adds the range `from <= key < to`; `id` is that of no other.
    pub(super) fn insert(&mut self, id: u64, (from, to): (Bytes, Option<&Bytes>), value: T) {
        let (to, priority) = (End::of(to), mix(id));
        let (left, right) = split(self.0.take(), (&from, id));
        let reach = to.clone();
        let node = Box::new(Node { from, to, id, value, priority, reach, left: None, right: None });
        self.0 = join(join(left, Some(node)), right);
    }

    /// Removes the range that begins there and has this id.
    pub(super) fn remove(&mut self, id: u64, from: &Bytes) {
        let (left, rest) = split(self.0.take(), (from, id));
        // Ids are not the last: there is no range between this one and the next id.
        let (_, right) = split(rest, (from, id + 1));
        self.0 = join(left, right);
    }

    /// Tells of all ranges that the key lies in.
    pub(super) fn containing(&self, key: &[u8], tell: &mut impl FnMut(&T)) {
        containing(self.0.as_deref(), key, tell);
    }

    /// Tells of all ranges.
    pub(super) fn each(&self, tell: &mut impl FnMut(&T)) {
        each(self.0.as_deref(), tell);
    }
}

impl<T> Node<T> {
    /// To be called when something below has changed.
    fn look_below(&mut self) {
        let reaches = [&self.left, &self.right].into_iter().flatten().map(|below| &below.reach);
        let furthest = reaches.fold(&self.to, |most, reach| most.max(reach));
        self.reach = furthest.clone();
    }
}

/// What comes before a place, and what is there or after it.
fn split<T>(tree: Tree<T>, at: (&Bytes, u64)) -> (Tree<T>, Tree<T>) {
    let Some(mut node) = tree else { return (None, None) };
    if (&node.from, node.id) < at {
        let (before, after) = split(node.right.take(), at);
        node.right = before;
        node.look_below();
        (Some(node), after)
    } else {
        let (before, after) = split(node.left.take(), at);
        node.left = after;
        node.look_below();
        (before, Some(node))
    }
}

/// Two trees of which one lies wholly before the other.
fn join<T>(before: Tree<T>, after: Tree<T>) -> Tree<T> {
    match (before, after) {
        (None, one) | (one, None) => one,
        (Some(mut before), Some(mut after)) => {
            if before.priority > after.priority {
                before.right = join(before.right.take(), Some(after));
                before.look_below();
                Some(before)
            } else {
                after.left = join(Some(before), after.left.take());
                after.look_below();
                Some(after)
            }
        }
    }
}

fn containing<T>(tree: Option<&Node<T>>, key: &[u8], tell: &mut impl FnMut(&T)) {
    let Some(node) = tree.filter(|node| node.reach.is_behind(key)) else { return };
    containing(node.left.as_deref(), key, tell);
    if *node.from <= *key {
        if node.to.is_behind(key) {
            tell(&node.value);
        }
        containing(node.right.as_deref(), key, tell);
    }
}

fn each<T>(tree: Option<&Node<T>>, tell: &mut impl FnMut(&T)) {
    let Some(node) = tree else { return };
    each(node.left.as_deref(), tell);
    tell(&node.value);
    each(node.right.as_deref(), tell);
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    /// How deep a tree is, if its invariants hold.
    fn depth<T>(tree: Option<&Node<T>>) -> usize {
        let Some(node) = tree else { return 0 };
        let place = |node: &Node<T>| (node.from.clone(), node.id);
        for below in [&node.left, &node.right].into_iter().flatten() {
            assert!(below.priority <= node.priority && below.reach <= node.reach);
        }
        assert!(node.left.as_ref().is_none_or(|left| place(left) < place(node)));
        assert!(node.right.as_ref().is_none_or(|right| place(right) > place(node)));
        1 + depth(node.left.as_deref()).max(depth(node.right.as_deref()))
    }

    fn name() -> impl Strategy<Value = Bytes> {
        proptest::collection::vec(0_u8..4, 0..3).prop_map(Bytes::from)
    }

    proptest! {
        #[test]
        fn a_key_is_found_in_the_ranges_that_contain_it_and_in_no_other(
            steps in proptest::collection::vec((name(), proptest::option::of(name()), 0_u8..3), 1..60),
            keys in proptest::collection::vec(name(), 8),
        ) {
            let mut tree = Intervals::default();
            let mut list = BTreeMap::new();
            for (id, (from, to, what)) in (1_u64..).zip(steps) {
                if what == 0 && let Some((gone, (from, _))) = list.pop_first() {
                    tree.remove(gone, &from);
                } else {
                    tree.insert(id, (from.clone(), to.as_ref()), id);
                    list.insert(id, (from, to));
                }
                depth(tree.0.as_deref());
                for key in &keys {
                    let mut found = Vec::new();
                    tree.containing(key, &mut |id| found.push(*id));
                    found.sort_unstable();
                    let contains = |(from, to): &(Bytes, Option<Bytes>)| {
                        from <= key && to.as_ref().is_none_or(|to| key < to)
                    };
                    let all = list.iter().filter(|(_, range)| contains(range));
                    prop_assert_eq!(found, all.map(|(id, _)| *id).collect::<Vec<_>>());
                }
                let mut count = 0;
                tree.each(&mut |_| count += 1);
                prop_assert_eq!(count, list.len());
            }
        }
    }

    #[test]
    fn ten_thousand_ranges_in_order_make_no_deep_tree() {
        let mut tree = Intervals::default();
        for id in 0..10_000_u64 {
            let from = Bytes::from(format!("{id:05}"));
            let to = Bytes::from(format!("{:05}", id + 1));
            tree.insert(id, (from, Some(&to)), ());
        }
        let depth = depth(tree.0.as_deref());
        assert!(depth < 60, "{depth}");
    }
}
