//! Random commands against the simplest keyspace there is: a list of all that ever happened.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    task::{Context, Poll, Waker},
};

use base::{Revision, UnixNanos, disk::MemDisk};
use bytes::Bytes;
use proptest::prelude::*;

use super::{Fixture, searching::found};
use crate::{
    Action, Child, Commit, Interest, Kind, ReadError, Record, Search, Watcher, path,
    store::{Pin, Put},
};

/// Chosen for their order: what follows `/a/b` in it is below `/`.
const NAMES: [&[u8]; 24] = [
    b"/a",
    b"/a/b",
    b"/a/b!",
    b"/a/b-x",
    b"/a/b-x/c",
    b"/a/b-x/c-/d",
    b"/a/b-",
    b"/a/b-/e",
    b"/a/b.y",
    b"/a/b.y/c",
    b"/a/b/c",
    b"/a/b/c/d",
    b"/a/b/_h",
    b"/a/_h",
    b"/a/_h/x",
    b"/a/b0",
    b"/_h/x",
    b"/b",
    b"/b/c",
    b"/a//b",
    b"/a/",
    b"x",
    b"/a/\xff",
    b"/",
];
const DIRS: [&[u8]; 8] = [b"/", b"/a", b"/a/b", b"/a/b-x", b"/_h", b"/a/_h", b"/b", b"/none"];

#[derive(Clone, Debug)]
enum Write {
    Put { kind: Kind, name: usize, value: usize, expiry: Option<i64>, new: bool, told: bool },
    Delete { kind: Kind, name: usize, told: bool },
}

#[derive(Clone, Debug)]
enum Op {
    /// The transactions of one entry; published at once or later.
    Entry {
        txns: Vec<Vec<Write>>,
        publish: bool,
    },
    Dropped(Vec<Write>),
    Flush,
    Compact {
        back: i64,
    },
    Step {
        rows: usize,
    },
    Watch {
        interest: usize,
        back: i64,
    },
    Poll,
    Pin,
    Unpin,
    Reopen,
    Crash,
}

fn writes() -> impl Strategy<Value = Vec<Write>> {
    let kind = prop_oneof![3 => Just(Kind::Key), 1 => Just(Kind::Dir)];
    let value = prop_oneof![8 => 0..80_usize, 1 => 1_300..1_500_usize, 1 => 1_900..5_000_usize];
    let told = prop::bool::weighted(0.8);
    let put = (kind.clone(), 0..NAMES.len(), value, prop::option::of(0..9_i64), any::<bool>());
    let put = (put, told).prop_map(|((kind, name, value, expiry, new), told)| Write::Put {
        kind,
        name,
        value,
        expiry,
        new,
        told,
    });
    let delete = (kind, 0..NAMES.len(), told);
    let delete = delete.prop_map(|(kind, name, told)| Write::Delete { kind, name, told });
    prop::collection::vec(prop_oneof![2 => put, 1 => delete], 1..4)
}

fn op() -> impl Strategy<Value = Op> {
    let entry = (prop::collection::vec(writes(), 0..3), prop::bool::weighted(0.7));
    prop_oneof![
        30 => entry.prop_map(|(txns, publish)| Op::Entry { txns, publish }),
        1 => writes().prop_map(Op::Dropped),
        5 => Just(Op::Flush),
        3 => (0..30_i64).prop_map(|back| Op::Compact { back }),
        8 => (1..20_usize).prop_map(|rows| Op::Step { rows }),
        6 => (0..20_usize, -3..40_i64).prop_map(|(interest, back)| Op::Watch { interest, back }),
        8 => Just(Op::Poll),
        1 => Just(Op::Pin),
        2 => Just(Op::Unpin),
        1 => Just(Op::Reopen),
        1 => Just(Op::Crash),
    ]
}

fn interest(number: usize) -> Interest {
    let dir = |at: usize| Bytes::from_static(DIRS[at % DIRS.len()]);
    match number {
        0..8 => Interest::Path { path: dir(number), recursive: true },
        8..16 => Interest::Path { path: dir(number), recursive: false },
        16 => Interest::Keys { from: "/a".into(), to: Some("/a\0".into()) },
        17 => Interest::Keys { from: "/a/".into(), to: Some("/a0".into()) },
        18 => Interest::Keys { from: "".into(), to: None },
        _ => Interest::Path { path: "/a/b/c".into(), recursive: false },
    }
}

/// What the keyspace should be: everything that ever happened, and what may be forgotten.
#[derive(Clone, Debug)]
struct Model {
    log: Vec<Record>,
    revision: i64,
    compacted: i64,
}

type Live<'a> = BTreeMap<(Kind, &'a [u8]), &'a Record>;

impl Model {
    fn live(&self, at: i64) -> Live<'_> {
        let mut live = Live::new();
        for record in self.log.iter().filter(|record| record.revision.main <= at) {
            let name = (record.kind, record.name.as_ref());
            if record.deleted {
                live.remove(&name);
            } else {
                live.insert(name, record);
            }
        }
        live
    }

    fn apply(&mut self, writes: &[Write], main: i64) {
        for (sub, write) in writes.iter().enumerate() {
            let revision = Revision::new(main, u32::try_from(sub).unwrap());
            let live = self.live(main);
            let (Write::Put { kind, name, .. } | Write::Delete { kind, name, .. }) = write;
            let record = written(write, revision, live.get(&(*kind, NAMES[*name])).copied());
            self.log.push(record);
        }
        self.revision = main;
    }

    fn children(&self, dir: &[u8], at: i64) -> Vec<Child> {
        let live = self.live(at);
        let prefix = if dir == b"/" { b"/".to_vec() } else { [dir, b"/"].concat() };
        let mut names = BTreeSet::new();
        for (_, name) in live.keys().filter(|(_, name)| path::is_path(name)) {
            if let Some(rest) = name.strip_prefix(prefix.as_slice())
                && let Some(first) = rest.split(|byte| *byte == b'/').next()
                && !first.is_empty()
                && !first.starts_with(b"_")
            {
                names.insert([prefix.as_slice(), first].concat());
            }
        }
        let child = |name: Vec<u8>| {
            let key = live.get(&(Kind::Key, name.as_slice()));
            let dir = live.get(&(Kind::Dir, name.as_slice()));
            Child {
                kind: if key.is_some() { Kind::Key } else { Kind::Dir },
                revision: key.or(dir).map(|record| record.revision),
                name: name.into(),
            }
        };
        names.into_iter().map(child).collect()
    }

    fn concerning(&self, interest: &Interest, from: i64, to: i64) -> Vec<i64> {
        let concerning = self.log.iter().filter(|record| {
            (from..=to).contains(&record.revision.main) && interest.concerns(record)
        });
        let mains: BTreeSet<i64> = concerning.map(|record| record.revision.main).collect();
        mains.into_iter().collect()
    }

    fn commit(&self, main: i64) -> Commit {
        let records = self.log.iter().filter(|record| record.revision.main == main);
        Commit { main, advance: 1, records: records.cloned().collect() }
    }
}

fn written(write: &Write, revision: Revision, old: Option<&Record>) -> Record {
    let main = revision.main;
    match write {
        Write::Put { kind, name, value, expiry, new, told } => Record {
            kind: *kind,
            name: Bytes::from_static(NAMES[*name]),
            revision,
            deleted: false,
            value: Bytes::from(vec![b'v'; *value]),
            create_revision: old.map_or(main, |old| old.create_revision),
            version: old.map_or(1, |old| old.version + 1),
            lease: i64::try_from(*value).unwrap() - 40,
            created_index: old.filter(|_| !new).map_or(main, |old| old.created_index),
            expiry: expiry.map(UnixNanos),
            action: Action::Update,
            told: *told,
        },
        Write::Delete { kind, name, told } => Record {
            kind: *kind,
            name: Bytes::from_static(NAMES[*name]),
            revision,
            deleted: true,
            value: Bytes::new(),
            create_revision: 0,
            version: 0,
            lease: 0,
            created_index: old.map_or(0, |old| old.created_index),
            expiry: None,
            action: Action::Expire,
            told: *told,
        },
    }
}

/// A watcher, and the first revision that it was not told of.
struct Watching {
    watcher: Watcher,
    interest: Interest,
    next: i64,
}

struct Run {
    fixture: Fixture,
    model: Model,
    /// The model as each entry left it.
    after_entry: Vec<Model>,
    unpublished: Vec<Arc<Commit>>,
    published_to: i64,
    watching: Vec<Watching>,
    pin: Option<(Pin, i64)>,
}

impl Run {
    fn new(seed: u64) -> Self {
        let model = Model { log: Vec::new(), revision: 1, compacted: -1 };
        Self {
            fixture: Fixture::open(MemDisk::new(seed)),
            after_entry: vec![model.clone()],
            model,
            unpublished: Vec::new(),
            published_to: 1,
            watching: Vec::new(),
            pin: None,
        }
    }

    fn write(&mut self, writes: &[Write], commit: bool) {
        let mut txn = self.fixture.writer.begin();
        for write in writes {
            match write {
                Write::Put { kind, name, value, expiry, new, told } => txn.put(Put {
                    kind: *kind,
                    name: Bytes::from_static(NAMES[*name]),
                    value: Bytes::from(vec![b'v'; *value]),
                    lease: i64::try_from(*value).unwrap() - 40,
                    expiry: expiry.map(UnixNanos),
                    new_node: *new,
                    action: Action::Update,
                    told: *told,
                }),
                Write::Delete { kind, name, told } => {
                    txn.delete(*kind, NAMES[*name], Action::Expire, *told);
                }
            }
        }
        // The model commits first, so that a dropped transaction can be compared with it too.
        let mut after = self.model.clone();
        after.apply(writes, self.model.revision + 1);
        for ((kind, name), record) in after.live(i64::MAX) {
            assert_eq!(txn.get(kind, name).unwrap().as_deref(), Some(record));
            assert!(txn.exists(kind, name));
        }
        for dir in DIRS {
            let below: BTreeSet<_> = after
                .live(i64::MAX)
                .into_keys()
                .filter(|(_, name)| path::is_path(name) && path::is_below(dir, name))
                .map(|(kind, name)| (kind, Bytes::copy_from_slice(name)))
                .collect();
            assert_eq!(txn.has_children(dir), !below.is_empty());
            assert_eq!(txn.descendants(dir), below.into_iter().collect::<Vec<_>>());
        }
        let mut due: Vec<_> = after
            .live(i64::MAX)
            .into_iter()
            .filter_map(|((kind, name), record)| Some((record.expiry?, name, kind)))
            .filter(|(expiry, ..)| expiry.0 <= 5)
            .collect();
        due.sort_unstable();
        let due: Vec<_> =
            due.into_iter().take(3).map(|(_, name, kind)| (kind, name.to_vec())).collect();
        let found = txn.due(UnixNanos(5), 3);
        let found: Vec<_> = found.into_iter().map(|(kind, name)| (kind, name.to_vec())).collect();
        assert_eq!(found, due);
        if commit {
            let commit = txn.commit().unwrap().unwrap();
            self.model = after;
            assert_eq!(*commit, self.model.commit(commit.main));
            self.unpublished.push(commit);
        }
    }

    fn finish(&mut self) {
        self.fixture.finish();
        self.after_entry.push(self.model.clone());
    }

    fn publish(&mut self) {
        self.fixture.store().publish(&self.unpublished);
        self.unpublished.clear();
        self.published_to = self.model.revision;
    }

    fn run(mut self, op: &Op) -> Self {
        match op {
            Op::Entry { txns, publish } => {
                for writes in txns {
                    self.write(writes, true);
                    self.check_now();
                }
                self.finish();
                if *publish {
                    self.publish();
                }
            }
            Op::Dropped(writes) => self.write(writes, false),
            Op::Flush => {
                self.fixture.backend.flush().unwrap();
            }
            Op::Compact { back } => self.compact(self.model.revision - back),
            Op::Step { rows } => {
                self.fixture.writer.compact_step(*rows).unwrap();
            }
            Op::Watch { interest: number, back } => {
                self.watch(interest(*number), self.model.revision - back);
            }
            Op::Poll => self.poll(),
            Op::Pin => self.pin = Some((self.fixture.store().pin(), self.model.compacted)),
            Op::Unpin => self.pin = None,
            Op::Reopen => return self.restart(Fixture::reopen),
            Op::Crash => return self.restart(Fixture::crash),
        }
        self
    }

    fn restart(mut self, how: impl FnOnce(Fixture) -> Fixture) -> Self {
        let durable = self.fixture.backend.durable().index.0;
        self.watching.clear();
        self.unpublished.clear();
        self.pin = None;
        self.fixture = how(self.fixture);
        let entry = self.fixture.entry;
        assert!(entry >= durable, "{entry} of {durable}");
        self.after_entry.truncate(usize::try_from(entry).unwrap() + 1);
        self.model = self.after_entry.last().unwrap().clone();
        self.published_to = self.model.revision;
        self
    }

    fn compact(&mut self, revision: i64) {
        let done = self.fixture.writer.compact(revision);
        match done {
            Ok(()) => {
                assert!(revision > self.model.compacted && revision <= self.model.revision);
                self.model.compacted = revision;
            }
            Err(ReadError::Compacted) => assert!(revision <= self.model.compacted),
            Err(error) => panic!("{error}"),
        }
        self.finish();
    }

    fn watch(&mut self, interest: Interest, since: i64) {
        match self.fixture.store().watch(interest.clone(), since) {
            Ok(watcher) => {
                assert!(since >= self.model.compacted);
                self.watching.push(Watching { watcher, interest, next: since });
            }
            Err(ReadError::Compacted) => assert!(since < self.model.compacted),
            Err(error) => panic!("{error}"),
        }
        assert_eq!(self.fixture.store().watchers(), self.watching.len());
    }

    /// Every watcher hears what it should, up to what was published at least.
    fn poll(&mut self) {
        let (model, published_to) = (&self.model, self.published_to);
        self.watching.retain_mut(|watching| {
            let mut cx = Context::from_waker(Waker::noop());
            loop {
                let due = model.concerning(&watching.interest, watching.next, i64::MAX);
                match watching.watcher.poll_next(&mut cx) {
                    Poll::Ready(Ok(commit)) => {
                        assert_eq!(Some(&commit.main), due.first(), "{:?}", watching.interest);
                        let expected = model.commit(commit.main);
                        if let Interest::Keys { .. } = &watching.interest {
                            let of = |commit: &Commit| {
                                let records = commit.records.iter();
                                let concerned = |one: &&Record| watching.interest.concerns(one);
                                records.filter(concerned).cloned().collect::<Vec<_>>()
                            };
                            assert_eq!(of(&commit), of(&expected));
                        } else {
                            assert_eq!(*commit, expected);
                        }
                        watching.next = commit.main + 1;
                        assert_eq!(watching.watcher.position(), watching.next);
                    }
                    Poll::Ready(Err(ReadError::Compacted)) => {
                        assert!(watching.next < model.compacted);
                        return false;
                    }
                    Poll::Ready(Err(error)) => panic!("{error}"),
                    Poll::Pending => {
                        assert!(due.first().is_none_or(|main| *main > published_to), "{due:?}");
                        return true;
                    }
                }
            }
        });
    }

    /// What changes with every transaction.
    fn check_now(&self) {
        let store = self.fixture.store();
        assert_eq!(store.revision(), self.model.revision);
        let at = self.model.revision;
        assert_eq!(*store.commit_at(at).unwrap(), self.model.commit(at));
    }

    fn readable(&self, at: i64) -> bool {
        let pinned = self.pin.as_ref().is_some_and(|(_, floor)| at >= *floor);
        at >= self.model.compacted || (pinned && at > 0)
    }

    fn check(&self) {
        let store = self.fixture.store();
        self.check_now();
        assert_eq!(store.compacted(), self.model.compacted);
        assert_eq!(store.usage(), self.fixture.recount());
        let revision = self.model.revision;
        let expiries = self.model.live(revision).into_values().filter_map(|record| record.expiry);
        assert_eq!(store.next_expiry(), expiries.min());
        for at in [revision, revision - 3, self.model.compacted, self.model.compacted - 1, 2] {
            if at > revision || at < 1 {
                continue;
            }
            if self.readable(at) {
                self.check_at(at);
            } else {
                assert!(matches!(store.count(b"", None, at), Err(ReadError::Compacted)));
                assert!(matches!(store.commit_at(at), Err(ReadError::Compacted)));
            }
        }
    }

    fn check_at(&self, at: i64) {
        let store = self.fixture.store();
        let live = self.model.live(at);
        for kind in [Kind::Key, Kind::Dir] {
            for name in NAMES {
                let found = store.get(kind, name, at);
                if at < self.model.compacted {
                    // What a reader has pinned it alone reads on.
                    assert!(matches!(found, Err(ReadError::Compacted)));
                    continue;
                }
                let found = found.unwrap();
                assert_eq!(found.as_deref(), live.get(&(kind, name)).copied(), "{kind:?} {name:?}");
            }
        }
        let keys = live
            .iter()
            .filter(|((kind, name), _)| *kind == Kind::Key && *name >= b"/a/b".as_slice());
        let keys = keys.filter(|((_, name), _)| *name < b"/b".as_slice());
        let keys: Vec<_> = keys
            .map(|((_, name), record)| (Bytes::copy_from_slice(name), record.revision))
            .collect();
        assert_eq!(store.range(b"/a/b", Some(b"/b"), at, usize::MAX).unwrap(), keys);
        assert_eq!(store.count(b"/a/b", Some(b"/b"), at).unwrap(), keys.len() as u64);
        for limit in [0, 1, 2, usize::MAX] {
            let back: Vec<_> = keys.iter().rev().take(limit).cloned().collect();
            assert_eq!(store.range_back(b"/a/b", Some(b"/b"), at, limit).unwrap(), back);
        }
        for dir in DIRS {
            let expected = self.model.children(dir, at);
            assert_eq!(store.children(dir, at, None, usize::MAX).unwrap(), expected, "{dir:?}");
            let mut paged: Vec<Child> = Vec::new();
            loop {
                let after = paged.last().map(|child| child.name.clone());
                let page = store.children(dir, at, after.as_deref(), 2).unwrap();
                paged.extend(page.iter().cloned());
                if page.len() < 2 {
                    break;
                }
            }
            assert_eq!(paged, expected, "{dir:?} by pages");
        }
        if at >= self.model.compacted {
            for number in 0..20 {
                let interest = interest(number);
                let to = self.model.revision - 1;
                let expected = self.model.concerning(&interest, at, to);
                let found = |limit| {
                    let search = || Search::revisions(interest.clone(), at, to, limit);
                    found(&store, search).unwrap()
                };
                assert_eq!(found(usize::MAX), expected);
                let first = &expected[..expected.len().min(3)];
                assert_eq!(found(3), first, "{interest:?}");
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    #[test]
    fn behaves_like_a_list_of_all_that_happened(
        ops in prop::collection::vec(op(), 1..120),
        seed in any::<u64>(),
    ) {
        let mut run = Run::new(seed);
        for op in &ops {
            run = run.run(op);
            if !matches!(op, Op::Entry { .. }) {
                run.check();
            }
        }
        run.publish();
        run.poll();
        while run.fixture.writer.compact_step(5).unwrap() {}
        run.check();
    }
}
