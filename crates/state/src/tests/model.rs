//! Against a model: a tree that is built anew for every look, and a list of all events.
//!
//! Both APIs write at random. After each step the answer, every path, the whole listing and the
//! keys as v3 sees them are compared; in the end every watch, live and from history.

use std::collections::BTreeMap;

use proptest::prelude::*;
use proto::command::{Compact, Expire};

use super::*;

#[derive(Clone, Debug, PartialEq, Eq)]
struct File {
    value: String,
    created: u64,
    modified: u64,
    expiry: Option<i64>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Dir {
    created: u64,
    expiry: Option<i64>,
}

/// What v2 sees.
#[derive(Clone, Debug)]
enum Tree {
    File(File),
    Dir(Option<Dir>, BTreeMap<String, Tree>),
}

/// Something that v2 tells.
#[derive(Clone, Debug)]
struct Told {
    event: Event,
    /// The end of a directory, of which all below hear.
    ends_dir: bool,
}

#[derive(Debug)]
struct Model {
    keys: BTreeMap<String, File>,
    dirs: BTreeMap<String, Dir>,
    index: u64,
    compacted: u64,
    told: Vec<Told>,
}

type Refused = (u16, String);

fn segments(path: &str) -> impl Iterator<Item = &str> {
    path.split('/').filter(|segment| !segment.is_empty())
}

/// Written without a look at `mvcc::path`.
fn v2_can_name(key: &str) -> bool {
    key.starts_with('/') && key.split('/').skip(1).all(|part| !matches!(part, "" | "." | ".."))
}

fn is_under(path: &str, dir: &str) -> bool {
    dir == "/" && path != "/" || path.starts_with(&format!("{dir}/"))
}

fn node_of(key: &str, tree: &Tree) -> Node {
    let (value, dir, expiry, modified_index, created_index) = match tree {
        Tree::File(file) => {
            (Some(file.value.clone()), false, file.expiry, file.modified, file.created)
        }
        Tree::Dir(Some(dir), _) => (None, true, dir.expiry, dir.created, dir.created),
        Tree::Dir(None, _) => (None, true, None, 0, 0),
    };
    let (key, value) = (key.to_owned().into(), value.map(Bytes::from));
    Node { key, value, dir, expiry: expiry.map(time), modified_index, created_index }
}

impl Model {
    fn new() -> Self {
        let (keys, dirs, told) = (BTreeMap::new(), BTreeMap::new(), Vec::new());
        Self { keys, dirs, index: 1, compacted: 0, told }
    }

    fn tree(&self) -> Tree {
        let mut root = Tree::Dir(None, BTreeMap::new());
        for (path, dir) in &self.dirs {
            put_in(&mut root, path, Tree::Dir(Some(dir.clone()), BTreeMap::new()));
        }
        // A key hides what lies below it; shorter keys come first.
        for (path, file) in self.keys.iter().filter(|(path, _)| v2_can_name(path)) {
            put_in(&mut root, path, Tree::File(file.clone()));
        }
        root
    }

    /// Down from the root, as `internalGet` of 2.3.8.
    fn find(&self, path: &str) -> Result<Tree, Refused> {
        let mut here = self.tree();
        let mut walked = String::new();
        for segment in segments(path) {
            let Tree::Dir(_, mut children) = here else { return Err((104, walked)) };
            walked = format!("{walked}/{segment}");
            here = children.remove(segment).ok_or((100, walked.clone()))?;
        }
        Ok(here)
    }

    fn tell(&mut self, action: Action, node: Node, prev: Option<Node>, ends_dir: bool) -> Event {
        let created = action == Action::Create || action == Action::Set && prev.is_none();
        let event = Event { action, node, prev_node: prev, index: self.index, created };
        self.told.push(Told { event: event.clone(), ends_dir });
        event
    }

    fn write(&mut self, method: KeysMethod, request: &KeysWrite) -> Result<Event, Refused> {
        use KeysMethod::{CompareAndDelete, CompareAndSwap, Create, CreateInOrder, Delete};
        let mut path = String::from_utf8(request.path.to_vec()).unwrap();
        let next = self.index + 1;
        if method == CreateInOrder {
            path = format!("{}/{next:020}", path.trim_end_matches('/'));
        }
        if path == "/" {
            let compares = method == CompareAndDelete;
            return Err(if compares { (102, String::new()) } else { (107, path) });
        }
        let found = self.find(&path);
        let is_missing = matches!(&found, Err((100, _)));
        let prev = match (method, found) {
            (Create | CreateInOrder, Ok(_)) => return Err((105, path)),
            (Create | CreateInOrder, Err(_)) if is_missing => None,
            (KeysMethod::Set, Err(_)) if is_missing && !request.refresh => None,
            (_, Err(refused)) => return Err(refused),
            (_, Ok(tree)) => Some(tree),
        };
        let is_dir = matches!(prev, Some(Tree::Dir(..)));
        let has_value = method == KeysMethod::Update && !request.value.is_empty();
        if is_dir && (method == KeysMethod::Set || has_value) {
            return Err((102, path));
        }
        if matches!(method, CompareAndSwap | CompareAndDelete) {
            compare(&path, prev.as_ref(), request)?;
        }
        if method == Delete {
            check_removal(&path, prev.as_ref(), request)?;
        }
        self.index = next;
        if matches!(method, Delete | CompareAndDelete) {
            let action = if method == Delete { Action::Delete } else { Action::CompareAndDelete };
            let prev = prev.as_ref().map(|tree| node_of(&path, tree));
            return Ok(self.remove(&path, action, prev));
        }
        Ok(self.store(method, &path, prev.as_ref(), request))
    }

    fn store(
        &mut self,
        method: KeysMethod,
        path: &str,
        prev: Option<&Tree>,
        request: &KeysWrite,
    ) -> Event {
        let (action, makes) = match method {
            KeysMethod::Set => (Action::Set, true),
            KeysMethod::Create | KeysMethod::CreateInOrder => (Action::Create, true),
            KeysMethod::Update => (Action::Update, false),
            KeysMethod::CompareAndSwap => (Action::CompareAndSwap, false),
            KeysMethod::Delete | KeysMethod::CompareAndDelete => panic!("stores nothing"),
        };
        let refresh = request.refresh && action != Action::Create;
        let (modified, mut expiry) = (self.index, request.expiry.map(|at| at / 1_000_000_000 - T0));
        if makes {
            for dir in parents(path) {
                let new = Dir { created: modified, expiry: None };
                self.dirs.entry(dir).or_insert(new);
            }
            expiry = expiry.filter(|at| *at >= 946_684_800 - T0);
        }
        let (old_value, old_created) = match prev {
            Some(Tree::File(file)) => (file.value.clone(), Some(file.created)),
            Some(Tree::Dir(dir, _)) => (String::new(), dir.as_ref().map(|dir| dir.created)),
            None => (String::new(), None),
        };
        let created = old_created.filter(|_| !makes).unwrap_or(modified);
        let makes_dir = makes && request.dir || matches!(prev, Some(Tree::Dir(..)));
        let tree = if makes_dir {
            self.keys.remove(path);
            let dir = Dir { created, expiry };
            self.dirs.insert(path.to_owned(), dir.clone());
            Tree::Dir(Some(dir), BTreeMap::new())
        } else {
            let given = String::from_utf8(request.value.to_vec()).unwrap();
            let value = if refresh { old_value } else { given };
            let file = File { value, created, modified, expiry };
            self.keys.insert(path.to_owned(), file.clone());
            Tree::File(file)
        };
        let node = Node { modified_index: modified, ..node_of(path, &tree) };
        let prev_node = prev.map(|tree| node_of(path, tree));
        let event = self.tell(action, node, prev_node, false);
        if refresh {
            self.told.pop();
        }
        event
    }

    /// Ends what `prev` is, a file or a directory with all below; the index has moved already.
    fn remove(&mut self, path: &str, action: Action, prev: Option<Node>) -> Event {
        let prev = prev.unwrap();
        if prev.dir {
            self.dirs.retain(|name, _| name != path && !is_under(name, path));
            self.keys.retain(|name, _| !(v2_can_name(name) && is_under(name, path)));
        } else {
            self.keys.remove(path);
        }
        let node = Node { value: None, expiry: None, modified_index: self.index, ..prev.clone() };
        let ends_dir = prev.dir;
        self.tell(action, node, Some(prev), ends_dir)
    }

    fn expire(&mut self, up_to: i64, max: usize) -> u32 {
        for count in 0..max {
            let keys = self.keys.iter().filter_map(|(name, file)| {
                Some((file.expiry.filter(|at| *at <= up_to)?, name.clone(), false))
            });
            let dirs = self.dirs.iter().filter_map(|(name, dir)| {
                Some((dir.expiry.filter(|at| *at <= up_to)?, name.clone(), true))
            });
            let Some((_, name, is_dir)) = keys.chain(dirs).min() else {
                return u32::try_from(count).unwrap();
            };
            self.index += 1;
            let tree = if is_dir {
                Tree::Dir(self.dirs.get(&name).cloned(), BTreeMap::new())
            } else {
                Tree::File(self.keys[&name].clone())
            };
            let prev = node_of(&name, &tree);
            self.remove(&name, Action::Expire, Some(prev));
        }
        u32::try_from(max).unwrap()
    }

    fn v3(&mut self, changes: &[(String, Option<String>)], lapse: bool) {
        self.index += 1;
        for (key, value) in changes {
            let prev = self.keys.get(key).cloned();
            let prev_node = prev.as_ref().map(|file| node_of(key, &Tree::File(file.clone())));
            let (action, node) = if let Some(value) = value {
                let created = prev.as_ref().map_or(self.index, |prev| prev.created);
                let (value, modified) = (value.clone(), self.index);
                let file = File { value, created, modified, expiry: None };
                self.keys.insert(key.clone(), file.clone());
                (Action::Set, node_of(key, &Tree::File(file)))
            } else {
                self.keys.remove(key);
                let gone = prev_node.clone().unwrap();
                let modified_index = self.index;
                let action = if lapse { Action::Expire } else { Action::Delete };
                (action, Node { value: None, expiry: None, modified_index, ..gone })
            };
            if v2_can_name(key) {
                self.tell(action, node, prev_node, false);
            }
        }
    }

    /// What a watch hears that began when the store stood at `begin`. What lies below
    /// `prev_from` has lost what was there before.
    fn heard(&self, watch: &Watch, since: u64, begin: u64, prev_from: u64) -> Vec<Event> {
        let heard = self.told.iter().filter(|told| {
            let key = std::str::from_utf8(&told.event.node.key).unwrap();
            let below = watch.recursive && is_under(key, watch.path);
            let rest = key.strip_prefix(watch.path).unwrap_or("");
            let hidden = segments(rest).any(|segment| segment.starts_with('_'));
            let is_past = told.event.index <= begin;
            told.event.index >= since
                && (key == watch.path
                    || below && (!hidden || is_past)
                    || told.ends_dir && is_under(watch.path, key))
        });
        let cut = |told: &Told| {
            let mut event = told.event.clone();
            if event.index <= prev_from {
                event.prev_node = None;
                event.created = matches!(event.action, Action::Create | Action::Set);
            }
            event
        };
        heard.map(cut).collect()
    }
}

fn compare(path: &str, prev: Option<&Tree>, request: &KeysWrite) -> Result<(), Refused> {
    let Some(Tree::File(file)) = prev else { return Err((102, path.to_owned())) };
    let mut wrong = Vec::new();
    if let Some(value) = &request.prev_value
        && value != file.value.as_bytes()
    {
        wrong.push(format!("[{} != {}]", String::from_utf8_lossy(value), file.value));
    }
    if request.prev_index != 0 && request.prev_index != file.modified {
        wrong.push(format!("[{} != {}]", request.prev_index, file.modified));
    }
    if wrong.is_empty() { Ok(()) } else { Err((101, wrong.join(" "))) }
}

fn check_removal(path: &str, prev: Option<&Tree>, request: &KeysWrite) -> Result<(), Refused> {
    let Some(Tree::Dir(_, children)) = prev else { return Ok(()) };
    match (request.recursive, request.dir) {
        (true, _) => Ok(()),
        (false, false) => Err((102, path.to_owned())),
        (false, true) if children.is_empty() => Ok(()),
        (false, true) => Err((108, path.to_owned())),
    }
}

fn parents(path: &str) -> Vec<String> {
    let mut parents = Vec::new();
    let mut walked = String::new();
    for segment in segments(path) {
        walked = format!("{walked}/{segment}");
        parents.push(walked.clone());
    }
    parents.pop();
    parents
}

/// Makes the directories on the way; whatever would come below a file is out of reach.
fn put_in(root: &mut Tree, path: &str, what: Tree) {
    let mut here = root;
    let mut segments = segments(path).peekable();
    while let Some(segment) = segments.next() {
        let Tree::Dir(_, children) = here else { return };
        if segments.peek().is_none() {
            children.insert(segment.to_owned(), what);
            return;
        }
        here =
            children.entry(segment.to_owned()).or_insert_with(|| Tree::Dir(None, BTreeMap::new()));
    }
}

/// The visible part, as a listing tells it.
fn steps(path: &str, tree: &Tree, recursive: bool, into: &mut Vec<Step>) {
    let Tree::Dir(_, children) = tree else { return };
    // By full path, which is the order of names as long as the directory is one.
    for (name, child) in children.iter().filter(|(name, _)| !name.starts_with('_')) {
        let path = format!("{}/{name}", path.trim_end_matches('/'));
        let node = node_of(&path, child);
        if recursive && node.dir {
            into.push(Step::Enter(node));
            steps(&path, child, recursive, into);
            into.push(Step::Leave);
        } else {
            into.push(Step::Leaf(node));
        }
    }
}

#[derive(Clone, Debug)]
struct Watch {
    path: &'static str,
    recursive: bool,
}

#[derive(Clone, Debug)]
enum Move {
    V2(KeysMethod, KeysWrite),
    V3 { changes: Vec<(&'static str, Option<&'static str>)>, lapse: bool },
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

fn v3_strategy() -> impl Strategy<Value = Move> {
    let keys: Vec<&'static str> = PATHS.iter().chain(&NAMES).copied().skip(1).collect();
    let value = proptest::option::weighted(0.6, proptest::sample::select(&VALUES));
    let change = (proptest::sample::select(keys), value);
    (proptest::collection::vec(change, 1..4), any::<bool>())
        .prop_map(|(changes, lapse)| Move::V3 { changes, lapse })
}

fn any_strategy() -> impl Strategy<Value = Move> {
    let watch = (proptest::sample::select(&PATHS), any::<bool>());
    prop_oneof![
        24 => write_strategy(),
        8 => v3_strategy(),
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
            Move::V3 { changes, lapse } => self.v3(changes, *lapse),
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
    }

    fn write(&mut self, method: KeysMethod, write: &KeysWrite) {
        let mut write = write.clone();
        if write.prev_index == 3 {
            let path = std::str::from_utf8(&write.path).unwrap();
            write.prev_index = self.model.keys.get(path).map_or(0, |file| file.modified);
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

    fn v3(&mut self, changes: &[(&'static str, Option<&'static str>)], lapse: bool) {
        // Each key once, and only what is there can be deleted: v3 sees to that.
        let mut once = BTreeMap::new();
        for (key, value) in changes {
            if value.is_some() || self.model.keys.contains_key(*key) {
                once.entry((*key).to_owned()).or_insert(value.map(str::to_owned));
            }
        }
        let changes: Vec<_> = once.into_iter().collect();
        if changes.is_empty() {
            return;
        }
        self.real().v3(|txn| {
            for (key, value) in &changes {
                let action = if lapse { Action::Expire } else { Action::None };
                match value {
                    Some(value) => put(txn, key.as_bytes(), value, 1),
                    None => txn.delete(Kind::Key, key.as_bytes(), action, true),
                }
            }
        });
        self.model.v3(&changes, lapse);
    }

    fn compact(&mut self, keep: u64, sweep: bool) {
        let revision = self.model.index.saturating_sub(keep).max(1);
        let command = Compact { revision: i64::try_from(revision).unwrap() };
        let response = self.real().apply(Op::Compact(command)).response;
        if revision > self.model.compacted {
            assert!(matches!(response, Response::Done), "{response:?}");
            self.model.compacted = revision;
        } else {
            assert!(matches!(response, Response::Refused(_)), "{response:?}");
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
        let store = real.store();
        let all = store.range(b"", None, 0, usize::MAX).unwrap();
        let keys: Vec<_> = all.iter().map(|(key, _)| key.as_ref()).collect();
        let expected: Vec<_> = self.model.keys.keys().map(String::as_bytes).collect();
        assert_eq!(keys, expected, "as v3 sees them");
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
        let (compacted, index) = (self.model.compacted, self.model.index);
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
