//! The model: what v2 sees as a tree, what v3 sees as a map, and all that v2 tells as a list.

use std::collections::BTreeMap;

use super::super::*;
use crate::lease::Lease;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct File {
    pub(super) value: String,
    pub(super) created: u64,
    pub(super) modified: u64,
    pub(super) expiry: Option<i64>,
    /// What v3 counts: when it came into being, how often it was written, its lease.
    pub(super) create: u64,
    pub(super) version: i64,
    pub(super) lease: i64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Dir {
    pub(super) created: u64,
    pub(super) expiry: Option<i64>,
}

/// What v2 sees.
#[derive(Clone, Debug)]
pub(super) enum Tree {
    File(File),
    Dir(Option<Dir>, BTreeMap<String, Tree>),
}

/// Something that v2 tells.
#[derive(Clone, Debug)]
pub(super) struct Told {
    pub(super) event: Event,
    /// The revision that it is part of.
    main: u64,
    /// The end of a directory, of which all below hear.
    pub(super) ends_dir: bool,
}

/// What v3 does to a key: it gets a value, or goes.
#[derive(Clone, Debug)]
pub(super) struct Change {
    pub(super) key: String,
    pub(super) now: Option<File>,
    /// The created index of what goes.
    pub(super) created: u64,
    /// It goes because its lease ended.
    pub(super) lapse: bool,
}

#[derive(Debug)]
pub(super) struct Model {
    pub(super) keys: BTreeMap<String, File>,
    pub(super) dirs: BTreeMap<String, Dir>,
    pub(super) index: u64,
    /// -1: never.
    pub(super) compacted: i64,
    pub(super) told: Vec<Told>,
    /// From then on each change that v2 is told has an index.
    v2_written: bool,
    /// The keys as each revision left them.
    pub(super) past: BTreeMap<u64, BTreeMap<String, File>>,
    pub(super) leases: BTreeMap<i64, Lease>,
    pub(super) no_space: bool,
}

pub(super) type Refused = (u16, String);

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

pub(super) fn node_of(key: &str, tree: &Tree) -> Node {
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
    pub(super) fn new() -> Self {
        let (keys, dirs, told) = (BTreeMap::new(), BTreeMap::new(), Vec::new());
        let (past, leases) = (BTreeMap::from([(1, BTreeMap::new())]), BTreeMap::new());
        let (index, compacted) = (1, -1);
        let (v2_written, no_space) = (false, false);
        Self { keys, dirs, index, compacted, told, v2_written, past, leases, no_space }
    }

    pub(super) fn tree(&self) -> Tree {
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
    pub(super) fn find(&self, path: &str) -> Result<Tree, Refused> {
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
        let index = node.modified_index;
        let event = Event { action, node, prev_node: prev, index, created };
        self.told.push(Told { event: event.clone(), main: self.index, ends_dir });
        event
    }

    pub(super) fn write(
        &mut self,
        method: KeysMethod,
        request: &KeysWrite,
    ) -> Result<Event, Refused> {
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
        self.v2_written = true;
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
            let old = self.keys.get(path);
            let create = old.map_or(modified, |old| old.create);
            let version = old.map_or(1, |old| old.version + 1);
            let file = File { value, created, modified, expiry, create, version, lease: 0 };
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

    pub(super) fn expire(&mut self, up_to: i64, max: usize) -> u32 {
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
            // Each is a revision of its own.
            self.note();
        }
        u32::try_from(max).unwrap()
    }

    /// What v3 has made of the keys, one change after the other: what v2 is told of each takes a
    /// number once v2 has written.
    pub(super) fn commit(&mut self, keys: BTreeMap<String, File>, changes: &[Change]) {
        if changes.is_empty() {
            return;
        }
        let numbers = self.numbers(changes);
        let mut at = self.index;
        self.index += numbers;
        for change in changes {
            let Change { key, now, created, lapse } = change;
            if !v2_can_name(key) {
                continue;
            }
            at = (at + 1).min(self.index);
            let before = self.keys.get(key).cloned().map(Tree::File);
            let prev_node = before.as_ref().map(|tree| node_of(key, tree));
            let (action, mut node) = if let Some(file) = now {
                (Action::Set, node_of(key, &Tree::File(file.clone())))
            } else {
                let action = if *lapse { Action::Expire } else { Action::Delete };
                (action, gone(key, *created))
            };
            node.modified_index = at;
            // What came into being at a number between did so at that number.
            if node.created_index == self.index {
                node.created_index = at;
            }
            self.tell(action, node, prev_node, false);
        }
        self.keys = keys;
    }

    /// The oldest revision that can be read.
    pub(super) fn oldest(&self) -> u64 {
        u64::try_from(self.compacted).unwrap_or(0)
    }

    /// The numbers that these changes take.
    pub(super) fn numbers(&self, changes: &[Change]) -> u64 {
        let told = changes.iter().filter(|change| v2_can_name(&change.key)).count();
        if self.v2_written { told.max(1) as u64 } else { 1 }
    }

    /// Notes down what there is at the current revision.
    pub(super) fn note(&mut self) {
        self.past.insert(self.index, self.keys.clone());
    }

    /// What a watch hears that began when the store stood at `begin`. What lies below
    /// `prev_from` has lost what was there before.
    pub(super) fn heard(
        &self,
        watch: &Watch,
        since: u64,
        begin: u64,
        prev_from: u64,
    ) -> Vec<Event> {
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
            if told.main <= prev_from {
                event.prev_node = None;
                event.created = matches!(event.action, Action::Create | Action::Set);
            }
            event
        };
        heard.map(cut).collect()
    }
}

/// The node of a file that is not there any more.
fn gone(key: &str, created_index: u64) -> Node {
    let node = node_of(key, &Tree::Dir(None, BTreeMap::new()));
    Node { dir: false, created_index, ..node }
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
pub(super) fn steps(path: &str, tree: &Tree, recursive: bool, into: &mut Vec<Step>) {
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
pub(super) struct Watch {
    pub(super) path: &'static str,
    pub(super) recursive: bool,
}
