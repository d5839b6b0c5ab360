//! The nine properties, each as a look at what one watch was told, held against all that happened.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use proto::etcdserverpb::watch_create_request::FilterType;

/// A change of one key.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Event {
    pub(crate) revision: i64,
    pub(crate) key: Bytes,
    /// `None`: it was deleted.
    pub(crate) value: Option<Bytes>,
    pub(crate) create: i64,
    pub(crate) version: i64,
    /// What was there before: its revision and value.
    pub(crate) before: Option<(i64, Bytes)>,
}

/// What a client sees of a watch.
#[derive(Clone, Debug)]
pub(crate) enum Seen {
    /// It has asked for all from a revision on.
    Opened(i64),
    Events(Vec<Event>),
    Bookmark(i64),
    /// What it has asked for is gone, up to there.
    Compacted(i64),
}

/// What is watched.
#[derive(Clone, Debug)]
pub(crate) struct Interest {
    pub(crate) key: &'static str,
    pub(crate) range_end: &'static str,
    /// What is left out.
    pub(crate) filter: Option<FilterType>,
}

impl Interest {
    fn concerns(&self, event: &Event) -> bool {
        let (key, from, to) = (event.key.as_ref(), self.key.as_bytes(), self.range_end.as_bytes());
        let is_within = if to.is_empty() { key == from } else { from <= key && key < to };
        let kind = if event.value.is_some() { FilterType::Noput } else { FilterType::Nodelete };
        is_within && self.filter != Some(kind)
    }
}

/// All that happened, from the beginning.
pub(crate) struct Story {
    events: BTreeMap<i64, Vec<Event>>,
    /// What there was before each event.
    before: BTreeMap<(i64, Bytes), Option<(i64, Bytes)>>,
    /// What there is in the end: revision and value.
    pub(crate) end: BTreeMap<Bytes, (i64, Bytes)>,
    /// The last revision up to which somebody compacted.
    compacted: i64,
}

impl Story {
    pub(crate) fn new(all: impl IntoIterator<Item = Event>, compacted: i64) -> Self {
        let (mut events, mut before) = (BTreeMap::<_, Vec<_>>::new(), BTreeMap::new());
        let mut end = BTreeMap::new();
        for event in all {
            let old = match &event.value {
                Some(value) => end.insert(event.key.clone(), (event.revision, value.clone())),
                None => end.remove(&event.key),
            };
            before.insert((event.revision, event.key.clone()), old);
            events.entry(event.revision).or_default().push(event);
        }
        Self { events, before, end, compacted }
    }

    pub(crate) fn at(&self, revision: i64) -> &[Event] {
        self.events.get(&revision).map_or(&[], Vec::as_slice)
    }

    /// The first revision from one on of which a watch is to be told.
    fn next(&self, interest: &Interest, from: i64) -> Option<i64> {
        let mut events = self.events.range(from..);
        let concerns = |events: &[Event]| events.iter().any(|event| interest.concerns(event));
        events.find(|(_, events)| concerns(events)).map(|(revision, _)| *revision)
    }

    fn before(&self, event: &Event) -> Option<&(i64, Bytes)> {
        self.before.get(&(event.revision, event.key.clone())).and_then(Option::as_ref)
    }
}

/// A property, by its name.
type Property = (&'static str, fn(&Story, &Interest, &[Seen]) -> Result<(), String>);

pub(crate) const ALL: [Property; 9] = [
    ("ordered", ordered),
    ("unique", unique),
    ("atomic", atomic),
    ("reliable", reliable),
    ("resumable", resumable),
    ("bookmarkable", bookmarkable),
    ("prev_kv", prev_kv),
    ("is-create", is_create),
    ("filter", filter),
];

fn events(seen: &[Seen]) -> impl Iterator<Item = &Event> {
    seen.iter().flat_map(|one| match one {
        Seen::Events(events) => events.as_slice(),
        Seen::Opened(_) | Seen::Bookmark(_) | Seen::Compacted(_) => &[],
    })
}

fn check(holds: bool, why: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(why()) }
}

/// Events come in order of revision.
fn ordered(_: &Story, _: &Interest, seen: &[Seen]) -> Result<(), String> {
    let mut last = 0;
    for event in events(seen) {
        check(last <= event.revision, || format!("{} behind {last}", event.revision))?;
        last = event.revision;
    }
    Ok(())
}

/// Nothing is told twice.
fn unique(_: &Story, _: &Interest, seen: &[Seen]) -> Result<(), String> {
    let mut told = BTreeSet::new();
    for event in events(seen) {
        let is_new = told.insert((event.revision, &event.key));
        check(is_new, || format!("{:?} at {} twice", event.key, event.revision))?;
    }
    Ok(())
}

/// All of a revision comes in one answer.
fn atomic(story: &Story, interest: &Interest, seen: &[Seen]) -> Result<(), String> {
    for one in seen {
        let mut told = BTreeMap::<i64, usize>::new();
        events(std::slice::from_ref(one))
            .for_each(|event| *told.entry(event.revision).or_default() += 1);
        for (revision, count) in told {
            let all = story.at(revision).iter().filter(|event| interest.concerns(event)).count();
            check(count == all, || format!("{count} of {all} of revision {revision} at once"))?;
        }
    }
    Ok(())
}

/// Nothing is left out, unless the client was told that it is gone.
fn reliable(story: &Story, interest: &Interest, seen: &[Seen]) -> Result<(), String> {
    let mut position = 0;
    for one in seen {
        match one {
            // Where a client begins is its own affair only once.
            Seen::Opened(from) if position == 0 => position = *from,
            Seen::Opened(_) | Seen::Bookmark(_) => {}
            Seen::Compacted(to) => {
                check(position < *to && *to <= story.compacted, || {
                    format!("from {position} on, told that {to} is compacted")
                })?;
                position = *to;
            }
            Seen::Events(events) => {
                for event in events {
                    if event.revision < position {
                        // Of the same revision as the last, or `ordered`'s affair.
                        continue;
                    }
                    let next = story.next(interest, position);
                    check(next == Some(event.revision), || {
                        format!("{} instead of {next:?}", event.revision)
                    })?;
                    position = event.revision + 1;
                }
            }
        }
    }
    let next = story.next(interest, position);
    check(next.is_none(), || format!("{next:?} was never told"))
}

/// Whoever comes back to where he was is told what follows.
fn resumable(story: &Story, interest: &Interest, seen: &[Seen]) -> Result<(), String> {
    let mut resumed = None;
    for one in seen {
        match one {
            Seen::Opened(from) => resumed = Some(*from),
            Seen::Compacted(_) => resumed = None,
            Seen::Bookmark(_) => {}
            Seen::Events(events) => {
                let Some((from, first)) = resumed.take().zip(events.first()) else { continue };
                let next = story.next(interest, from);
                check(next == Some(first.revision), || {
                    format!("back at {from}: {}, should be {next:?}", first.revision)
                })?;
            }
        }
    }
    Ok(())
}

/// When progress is told, all up to there was told, and nothing of it comes later.
fn bookmarkable(story: &Story, interest: &Interest, seen: &[Seen]) -> Result<(), String> {
    let (mut position, mut bookmark) = (0, 0);
    for one in seen {
        match one {
            Seen::Opened(from) => position = position.max(*from),
            Seen::Compacted(to) => position = position.max(*to),
            Seen::Bookmark(at) => {
                check(bookmark <= *at, || format!("bookmark {at} behind {bookmark}"))?;
                bookmark = *at;
                let next = story.next(interest, position);
                check(next.is_none_or(|next| *at < next), || {
                    format!("bookmark {at}, and {next:?} is to come")
                })?;
            }
            Seen::Events(events) => {
                for event in events {
                    let at = event.revision;
                    check(bookmark < at, || format!("{at} comes after bookmark {bookmark}"))?;
                    position = position.max(at + 1);
                }
            }
        }
    }
    Ok(())
}

/// An event says what was there before it, unless that is compacted.
fn prev_kv(story: &Story, _: &Interest, seen: &[Seen]) -> Result<(), String> {
    for event in events(seen) {
        let may_be_gone = event.before.is_none() && event.revision <= story.compacted;
        let expected = story.before(event);
        check(may_be_gone || event.before.as_ref() == expected, || {
            format!("{event:?}, before it was {expected:?}")
        })?;
    }
    Ok(())
}

/// What is put where nothing was is created then, in its first version; and what was there is not.
fn is_create(story: &Story, _: &Interest, seen: &[Seen]) -> Result<(), String> {
    for event in events(seen).filter(|event| event.value.is_some()) {
        let is_new = story.before(event).is_none();
        let says_new = event.create == event.revision;
        check(is_new == says_new && is_new == (event.version == 1), || {
            format!("{event:?} is new: {is_new}")
        })?;
    }
    Ok(())
}

/// A watch is told of its own keys, and of no kind of change that it does not want.
fn filter(_: &Story, interest: &Interest, seen: &[Seen]) -> Result<(), String> {
    match events(seen).find(|event| !interest.concerns(event)) {
        None => Ok(()),
        Some(event) => Err(format!("{event:?} was not asked for")),
    }
}
