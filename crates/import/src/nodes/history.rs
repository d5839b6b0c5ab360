//! The last events of a v2 store, of which it keeps a thousand: they become history again.
//!
//! From what the store holds, each event is taken back, the last one first; so it is known what was
//! there before. Then they are told again, in order. One thing no event says: what lay in a directory
//! that was deleted as a whole. What was written there before the first event is not missed by any
//! watcher, but is missing in what v3 reads at such a revision.

use base::{Revision, UnixNanos};
use bytes::Bytes;
use mvcc::{
    Action, Kind, Record,
    path::{ancestors, is_below, is_path},
};
use serde::Deserialize;
use serde_json::Value;

use super::store::{Tree, expiry, number, record};

/// History, and what it begins with.
pub(super) struct History {
    /// What was there before the first event.
    pub(super) before: Tree,
    /// The index of the first event.
    pub(super) since: i64,
    /// What happened at each index.
    pub(super) after: Vec<Vec<Record>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Json {
    queue: Queue,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Queue {
    events: Vec<Option<EventJson>>,
    size: usize,
    front: usize,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct EventJson {
    action: String,
    node: NodeJson,
    prev_node: Option<NodeJson>,
    #[serde(default)]
    refresh: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct NodeJson {
    key: String,
    #[serde(default)]
    value: String,
    #[serde(default)]
    dir: bool,
    expiration: Option<String>,
    #[serde(default)]
    modified_index: u64,
    #[serde(default)]
    created_index: u64,
}

/// An event.
struct Event {
    action: Action,
    index: i64,
    node: Record,
    prev: Option<Record>,
    told: bool,
}

impl Event {
    fn read(json: &EventJson) -> Option<Self> {
        let action = match &json.action[..] {
            "set" => Action::Set,
            "create" => Action::Create,
            "update" => Action::Update,
            "compareAndSwap" => Action::CompareAndSwap,
            "compareAndDelete" => Action::CompareAndDelete,
            "delete" => Action::Delete,
            "expire" => Action::Expire,
            _ => return None,
        };
        let node = json.node.record()?;
        let prev = json.prev_node.as_ref().map(|prev| prev.record().ok_or(())).transpose().ok()?;
        let index = number(json.node.modified_index).ok()?;
        Some(Self { action, index, node, prev, told: !json.refresh })
    }

    fn deletes(&self) -> bool {
        matches!(self.action, Action::Delete | Action::Expire | Action::CompareAndDelete)
    }
}

impl NodeJson {
    fn record(&self) -> Option<Record> {
        if !is_path(self.key.as_bytes()) || self.key == "/" {
            return None;
        }
        let kind = if self.dir { Kind::Dir } else { Kind::Key };
        let expiry: Option<UnixNanos> =
            self.expiration.as_deref().map(expiry).transpose().ok()?.flatten();
        let indexes = (number(self.modified_index).ok()?, number(self.created_index).ok()?);
        let (name, value) = (self.key.clone().into(), self.value.clone().into());
        Some(record(kind, name, value, (indexes, expiry)))
    }
}

impl History {
    /// The history that leads to this tree; `None` if these events do not, or there are none.
    pub(super) fn read(json: Value, tree: &Tree, index: i64) -> Option<Self> {
        let Queue { events, size, front } = serde_json::from_value::<Json>(json).ok()?.queue;
        if front >= events.len() {
            return None;
        }
        let all = events.iter().cycle().skip(front).take(size.min(events.len()));
        let mut events: Vec<Event> =
            all.map(|event| Event::read(event.as_ref()?)).collect::<Option<_>>()?;
        // Those before are the original's own; our first number is 2.
        events.retain(|event| event.index > 2);
        let since = events.first()?.index;
        let is_in_order = events.iter().zip(events.iter().skip(1)).all(|(a, b)| a.index < b.index);
        if !is_in_order || events.last()?.index > index {
            return None;
        }
        let mut before = tree.clone();
        events.iter().rev().for_each(|event| take_back(event, &mut before));
        if before.values().any(|record| record.revision.main >= since) {
            return None;
        }
        let mut now = before.clone();
        let after: Vec<Vec<Record>> = events.iter().map(|event| tell(event, &mut now)).collect();
        leads_to(&now, tree).then_some(Self { before, since, after })
    }
}

fn take_back(event: &Event, tree: &mut Tree) {
    let name = &event.node.name;
    match &event.prev {
        Some(prev) => {
            tree.insert(name.clone(), prev.clone());
        }
        None => {
            tree.remove(name);
        }
    }
    if event.deletes() {
        return;
    }
    for dir in ancestors(name) {
        if tree.get(dir).is_some_and(|dir| dir.created_index == event.index) {
            tree.remove(dir);
        }
    }
}

/// What an event did.
fn tell(event: &Event, tree: &mut Tree) -> Vec<Record> {
    let (name, index) = (&event.node.name, event.index);
    let mut done = Vec::new();
    let tombstone = |kind, name: &Bytes, told| Record {
        deleted: true,
        create_revision: 0,
        version: 0,
        created_index: 0,
        action: event.action,
        told,
        ..record(kind, name.clone(), Bytes::new(), ((index, index), None))
    };
    if event.deletes() {
        let below: Vec<Bytes> = tree.keys().filter(|one| is_below(name, one)).cloned().collect();
        for name in below {
            let gone = tree.remove(&name);
            done.extend(gone.map(|gone| tombstone(gone.kind, &name, false)));
        }
        let kind = event.prev.as_ref().map_or(event.node.kind, |prev| prev.kind);
        tree.remove(name);
        done.push(tombstone(kind, name, event.told));
    } else {
        for dir in ancestors(name).filter(|dir| !tree.contains_key(*dir)).collect::<Vec<_>>() {
            let dir = name.slice(..dir.len());
            let made = record(Kind::Dir, dir, Bytes::new(), ((index, index), None));
            done.push(Record { told: false, action: event.action, ..made });
        }
        let old = tree.get(name);
        if old.is_some_and(|old| old.kind == Kind::Key) && event.node.kind == Kind::Dir {
            done.push(tombstone(Kind::Key, name, false));
        }
        let old = old.filter(|old| old.kind == event.node.kind);
        done.push(Record {
            create_revision: old.map_or(index, |old| old.create_revision),
            version: old.map_or(1, |old| old.version + 1),
            action: event.action,
            told: event.told,
            ..event.node.clone()
        });
        for made in &done {
            if !made.deleted {
                tree.insert(made.name.clone(), made.clone());
            }
        }
    }
    for (record, sub) in done.iter_mut().zip(0..) {
        record.revision = Revision::new(index, sub);
    }
    done
}

/// Whether a tree is what the store holds. A directory says when it was made, and not when its time
/// to live was changed.
fn leads_to(told: &Tree, held: &Tree) -> bool {
    let same = |(one, other): (&Record, &Record)| {
        let numbers = |record: &Record| (record.created_index, record.expiry);
        let is_same_write = one.kind == Kind::Dir || one.revision.main == other.revision.main;
        one.name == other.name
            && one.kind == other.kind
            && one.value == other.value
            && numbers(one) == numbers(other)
            && is_same_write
    };
    told.len() == held.len() && told.values().zip(held.values()).all(same)
}
