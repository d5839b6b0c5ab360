//! Against a model: a tree that is built anew for every look, and a list of all events.
//!
//! Both APIs write at random. After each step the answer, every path, the whole listing and the
//! keys as v3 sees them are compared; in the end every watch, live and from history.

pub(super) mod requests;
mod tree;
mod v3;

use base::Refused;
use proptest::prelude::*;
use proto::{
    command::{Compact, Expire, LeaseCheckpoint, LeaseNote, LeaseRevoke},
    etcdserverpb::{
        AlarmRequest, AlarmType, LeaseGrantRequest, RangeRequest, RangeResponse,
        alarm_request::AlarmAction,
    },
};

use self::tree::{Model, Watch, node_of, steps};
use super::*;
use crate::{
    Reply,
    kv::{self, Sizes},
};

#[derive(Clone, Debug)]
enum Move {
    V2(KeysMethod, KeysWrite),
    V3(Op),
    Range(RangeRequest),
    Expire { up_to: i64, max: u32 },
    Compact { keep: u64, sweep: bool },
    Watch(Watch),
    Reopen,
}

const PATHS: [&str; 16] = [
    "/", "/a", "/a/b", "/a/b/c", "/a/b/_h", "/a/b-x", "/a-x", "/a/_h", "/a/_h/c", "/_h", "/_h/b",
    "/b", "/b/a", "/b/a/c", "/ab", "/c",
];
/// What v3 alone can write.
const NAMES: [&str; 6] = ["plain", "/a/", "/a//b", "/b/../c", "/b/.", "a/b"];
const VALUES: [&str; 3] = ["", "v", "w"];

fn write_strategy() -> impl Strategy<Value = Move> {
    const METHODS: [KeysMethod; 8] = [
        KeysMethod::Set,
        KeysMethod::Set,
        KeysMethod::Create,
        KeysMethod::CreateInOrder,
        KeysMethod::Update,
        KeysMethod::CompareAndSwap,
        KeysMethod::Delete,
        KeysMethod::CompareAndDelete,
    ];
    let names = (proptest::sample::select(&METHODS), proptest::sample::select(&PATHS));
    let expiry =
        prop_oneof![3 => Just(None), 2 => (1..9_i64).prop_map(Some), 1 => Just(Some(-T0 / 2))];
    let compared = (proptest::option::of(proptest::sample::select(&["v", "w"])), 0..4_u64);
    let flags = (any::<bool>(), any::<bool>(), proptest::bool::weighted(0.2));
    (names, proptest::sample::select(&VALUES), expiry, compared, flags).prop_map(
        |((method, path), value, expiry, (prev_value, prev_index), flags)| {
            let (dir, recursive, refresh) = flags;
            let write = KeysWrite {
                value: value.into(),
                dir,
                recursive,
                refresh,
                prev_value: prev_value.map(Bytes::from),
                // Sometimes the right one: filled in when it is run.
                prev_index,
                expiry: expiry.map(|at| time(at).0),
                ..request(method, path)
            };
            Move::V2(method, write)
        },
    )
}

fn any_strategy() -> impl Strategy<Value = Move> {
    let watch = (proptest::sample::select(&PATHS), any::<bool>());
    prop_oneof![
        24 => write_strategy(),
        16 => requests::op().prop_map(Move::V3),
        2 => requests::range().prop_map(Move::Range),
        3 => (0..10_i64, 1..4_u32).prop_map(|(up_to, max)| Move::Expire { up_to, max }),
        1 => (0..6_u64, any::<bool>()).prop_map(|(keep, sweep)| Move::Compact { keep, sweep }),
        4 => watch.prop_map(|(path, recursive)| Move::Watch(Watch { path, recursive })),
        1 => Just(Move::Reopen),
    ]
}

/// A watch that goes on, with what it has heard.
struct Live {
    watch: Watch,
    begin: u64,
    watcher: Watcher,
    heard: Vec<Event>,
}

/// The real one and the model, side by side.
struct Pair {
    real: Option<Fixture>,
    model: Model,
    live: Vec<Live>,
}

impl Pair {
    fn real(&mut self) -> &mut Fixture {
        self.real.as_mut().unwrap()
    }

    fn run(&mut self, action: &Move) {
        match action {
            Move::V2(method, write) => self.write(*method, write),
            Move::V3(op) => self.v3(op),
            Move::Range(request) => self.range(request),
            Move::Expire { up_to, max } => {
                let command = Expire { up_to: time(*up_to).0, nodes_max: *max };
                let Response::Expired(real) = self.real().apply(Op::Expire(command)).response
                else {
                    panic!("not an answer to an expiry");
                };
                assert_eq!(real, self.model.expire(*up_to, *max as usize));
            }
            Move::Compact { keep, sweep } => self.compact(*keep, *sweep),
            Move::Watch(watch) => {
                let watcher = self.real().watch(watch.path, watch.recursive, 0).unwrap();
                let (watch, begin) = (watch.clone(), self.model.index);
                self.live.push(Live { watch, begin, watcher, heard: Vec::new() });
            }
            Move::Reopen => {
                self.check_live();
                self.live.clear();
                self.real = self.real.take().map(Fixture::reopen);
            }
        }
        for live in &mut self.live {
            live.heard.extend(drain(&mut live.watcher));
        }
        self.model.note();
    }

    fn write(&mut self, method: KeysMethod, write: &KeysWrite) {
        let mut write = write.clone();
        if write.prev_index == 3 {
            let path = std::str::from_utf8(&write.path).unwrap();
            write.prev_index = self.model.keys.get(path).map_or(0, |file| file.modified);
        }
        if self.model.no_space
            && !matches!(method, KeysMethod::Delete | KeysMethod::CompareAndDelete)
        {
            let real = self.real().apply(Op::Keys(write)).response;
            return assert!(matches!(real, Response::V3(Err(Refused::NoSpace))), "{real:?}");
        }
        let real = self.real().write(write.clone());
        let model = self.model.write(method, &write);
        let index = self.model.index;
        let real = real.map_err(|failure| {
            assert_eq!(failure.index, index);
            (failure.code.number(), failure.cause)
        });
        assert_eq!(real, model, "{method:?} {write:?}");
    }

    fn v3(&mut self, op: &Op) {
        let is_read = matches!(op, Op::Txn(txn) if kv::is_read_only(txn));
        let before = self.model.index;
        let mut op = op.clone();
        // Of the lease that there is now, or of another.
        if let Op::LeaseCheckpoint(LeaseCheckpoint { notes }) = &mut op {
            for note in notes {
                let lease = self.model.leases.get(&note.id);
                note.granted += lease.map_or(0, |lease| lease.granted);
            }
        }
        let op = &op;
        let Response::V3(real) = self.real().apply(op.clone()).response else {
            panic!("not an answer to v3");
        };
        match op {
            Op::Put(request) => assert_eq!(real, self.model.put(request), "{op:?}"),
            Op::DeleteRange(request) => {
                assert_eq!(real, self.model.delete_range(request), "{op:?}");
            }
            Op::Txn(request) => {
                let model = self.model.txn(request);
                assert_eq!(real, model, "{op:?}");
                if is_read {
                    let read = self.real().state.reader().txn(request).map_err(refused_read);
                    assert_eq!(read.map(Reply::Txn), model, "{op:?}");
                }
            }
            Op::LeaseGrant(LeaseGrantRequest { id, ttl }) => {
                let entry = self.real().entry;
                let granted = self.model.grant(*id, *ttl, entry);
                assert_eq!(real.map(drop), granted, "{op:?}");
            }
            Op::LeaseRevoke(LeaseRevoke { id, expired, .. }) => {
                assert_eq!(real.map(drop), self.model.revoke(*id, *expired), "{op:?}");
            }
            Op::LeaseCheckpoint(LeaseCheckpoint { notes }) => {
                for LeaseNote { id, remaining, granted } in notes {
                    let lease = self.model.leases.get_mut(id);
                    if let Some(lease) = lease.filter(|lease| lease.granted == *granted) {
                        lease.remaining = *remaining;
                    }
                }
                assert!(real.is_ok());
            }
            Op::Alarm(request) => {
                self.model.no_space = request.action == AlarmAction::Activate as i32;
                assert!(real.is_ok());
            }
            Op::Keys(_)
            | Op::Expire(_)
            | Op::Publish(_)
            | Op::ClusterVersion(_)
            | Op::Downgrade(_)
            | Op::Compact(_)
            | Op::Auth(_) => panic!("{op:?} is none of these"),
        }
        assert!(before <= self.model.index);
    }

    /// A range as a whole, and in pieces.
    fn range(&mut self, request: &RangeRequest) {
        let reader = self.real().state.reader();
        let real = reader.range(request).map_err(refused_read);
        let (now, compacted) = (self.model.index, self.model.oldest());
        let asked = u64::try_from(request.revision).unwrap_or(0);
        let model = match asked {
            0 => Ok(v3::range(&self.model.keys, request, now)),
            _ if asked > now => Err(Refused::FutureRevision),
            _ if asked < compacted => Err(Refused::Compacted),
            _ => {
                let (_, keys) = self.model.past.range(..=asked).next_back().unwrap();
                Ok(v3::range(keys, request, now))
            }
        };
        assert_eq!(real, model, "{request:?}");
        let pieces = |scan: Result<kv::Scan, kv::Error>| {
            scan.map_err(refused_read).map(|scan| Self::pieces(scan, request))
        };
        assert_eq!(pieces(reader.scan(request)), model, "{request:?}");
        // The same without a memory of its own.
        let scan = kv::Scan::new(&self.real().store(), request, 1);
        assert_eq!(pieces(scan), model, "{request:?}");
    }

    /// What a scan gives out.
    fn pieces(mut scan: kv::Scan, request: &RangeRequest) -> RangeResponse {
        let mut measure = scan.measure();
        let sizes = loop {
            if let Some(sizes) = measure.step(2).unwrap() {
                break sizes;
            }
        };
        let header = Some(v3::header(u64::try_from(scan.revision()).unwrap()));
        let (more, count) = (scan.more(), scan.count());
        let mut kvs = Vec::new();
        while !scan.is_done() {
            let pairs = scan.next_pairs(20).unwrap();
            assert!(!pairs.is_empty(), "{request:?}");
            kvs.extend(pairs);
        }
        assert_eq!(scan.next_pairs(20).unwrap(), []);
        let answer = RangeResponse { header, kvs, more, count };
        let pairs_alone = RangeResponse { kvs: answer.kvs.clone(), ..RangeResponse::default() };
        let largest = answer.kvs.iter().map(|pair| {
            RangeResponse { kvs: vec![pair.clone()], ..RangeResponse::default() }.encoded_len()
        });
        let largest = largest.max().unwrap_or(0);
        assert_eq!(sizes, Sizes { all: pairs_alone.encoded_len() as u64, largest });
        answer
    }

    fn compact(&mut self, keep: u64, sweep: bool) {
        let revision = i64::try_from(self.model.index.saturating_sub(keep)).unwrap();
        let command = Compact { revision };
        let response = self.real().apply(Op::Compact(command)).response;
        if revision > self.model.compacted {
            assert!(matches!(response, Response::V3(Ok(_))), "{response:?}");
            self.model.compacted = revision;
        } else {
            assert!(matches!(response, Response::V3(Err(_))), "{response:?}");
        }
        while sweep && self.real().state.compact_step(3).unwrap() {}
    }

    fn check(&mut self) {
        let real = self.real.as_ref().unwrap();
        let tree = self.model.tree();
        for path in PATHS {
            let expected = self.model.find(path).map(|tree| node_of(path, &tree));
            let got = real.get(path).map_err(|failure| (failure.code.number(), failure.cause));
            assert_eq!(got, expected, "get {path}");
        }
        for recursive in [false, true] {
            let mut expected = Vec::new();
            steps("/", &tree, recursive, &mut expected);
            assert_eq!(real.list("/", recursive), expected, "recursive: {recursive}");
        }
        let (store, reader) = (real.store(), real.state.reader());
        let all =
            RangeRequest { key: "\0".into(), range_end: "\0".into(), ..RangeRequest::default() };
        let expected = v3::range(&self.model.keys, &all, self.model.index);
        assert_eq!(reader.range(&all).unwrap(), expected, "as v3 sees them");
        assert_eq!(reader.leases().ids(), self.model.leases.keys().copied().collect::<Vec<_>>());
        for (id, lease) in &self.model.leases {
            assert_eq!(reader.leases().get(*id), Some(*lease));
        }
        // Also those that are not there any more.
        for id in 0..4 {
            let expected = if id == 0 { Vec::new() } else { self.model.on_lease(id) };
            assert_eq!(reader.lease_keys(id), expected, "on lease {id}");
        }
        assert_eq!(store.revision(), i64::try_from(self.model.index).unwrap());
        let keys = self.model.keys.values().filter_map(|file| file.expiry);
        let dirs = self.model.dirs.values().filter_map(|dir| dir.expiry);
        assert_eq!(store.next_expiry(), keys.chain(dirs).min().map(time));
    }

    fn check_live(&self) {
        for Live { watch, begin, heard, .. } in &self.live {
            let expected = self.model.heard(watch, begin + 1, *begin, 0);
            assert_eq!(*heard, expected, "{watch:?} from [{begin}], live");
        }
    }

    /// From history everybody hears what is left of it.
    fn check_history(&self) {
        let real = self.real.as_ref().unwrap();
        let (compacted, index) = (self.model.oldest(), self.model.index);
        for path in PATHS.into_iter().chain(["/a/b/none", "/none"]) {
            for recursive in [false, true] {
                let watch = Watch { path, recursive };
                for since in [compacted, compacted + 1, u64::midpoint(compacted, index)] {
                    let mut watcher = real.watch(path, recursive, since.max(1)).unwrap();
                    assert_eq!(watcher.index(), index);
                    let expected = self.model.heard(&watch, since, index, compacted);
                    assert_eq!(drain(&mut watcher), expected, "{watch:?} since {since}");
                }
                if compacted > 1 {
                    let failure = real.watch(path, recursive, compacted - 1).unwrap_err();
                    assert_eq!((failure.code.number(), failure.index), (401, index));
                }
            }
        }
    }
}

fn refused_read(error: kv::Error) -> Refused {
    match error {
        kv::Error::Refused(refused) => refused,
        kv::Error::Failed(error) => panic!("{error}"),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 192, ..ProptestConfig::default() })]

    #[test]
    fn both_views_agree_with_a_model_and_with_each_other(
        actions in proptest::collection::vec(any_strategy(), 1..80),
    ) {
        let model = Model::new();
        let mut pair = Pair { real: Some(Fixture::new()), model, live: Vec::new() };
        for action in &actions {
            pair.run(action);
            pair.check();
        }
        pair.check_live();
        pair.check_history();
    }
}
