//! The JSON of a v2 store.

use std::collections::BTreeMap;

use base::{Revision, UnixNanos};
use bytes::Bytes;
use mvcc::{Action, Kind, Record, path};
use serde::Deserialize;
use serde_json::Value;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use super::history::History;

/// Behind it there is room for whatever may come.
const INDEX_MAX: i64 = i64::MAX / 2;

/// What the store held.
#[derive(Debug)]
pub(super) struct Store {
    /// The index of its last change.
    pub(super) index: i64,
    /// From here on its history is known.
    pub(super) since: i64,
    /// What happened at each index, in order; below `since` only what was there then.
    pub(super) revisions: Vec<Vec<Record>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Json {
    root: Node,
    current_index: u64,
    watcher_hub: Option<Hub>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Hub {
    event_history: Option<Value>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Node {
    path: String,
    created_index: u64,
    modified_index: u64,
    expire_time: Option<String>,
    #[serde(default)]
    value: String,
    /// `None`: it is a file.
    children: Option<BTreeMap<String, Self>>,
}

/// Nodes by their paths. As records, so that they are what they will be.
pub(super) type Tree = BTreeMap<Bytes, Record>;

/// Reads a store; the error says what is wrong.
pub(super) fn read(json: &[u8]) -> Result<Store, String> {
    let Json { root, current_index, watcher_hub } =
        serde_json::from_slice(json).map_err(|error| error.to_string())?;
    let index = number(current_index)?.max(1);
    let mut tree = Tree::new();
    add(root, index, &mut tree)?;
    let events = watcher_hub.and_then(|hub| hub.event_history);
    let history = events.and_then(|events| History::read(events, &tree, index));
    let (before, since, after) = match history {
        Some(History { before, since, after }) => (before, since, after),
        None => (tree, index, Vec::new()),
    };
    let mut revisions = by_index(before)?;
    revisions.extend(after);
    Ok(Store { index, since, revisions })
}

/// Nodes as they came into being.
fn by_index(tree: Tree) -> Result<Vec<Vec<Record>>, String> {
    let mut indexes: BTreeMap<i64, Vec<Record>> = BTreeMap::new();
    for record in tree.into_values() {
        indexes.entry(record.revision.main).or_default().push(record);
    }
    let mut revisions: Vec<Vec<Record>> = indexes.into_values().collect();
    for records in &mut revisions {
        let last = records.len().saturating_sub(1);
        for (sub, record) in records.iter_mut().enumerate() {
            record.revision.sub = u32::try_from(sub).map_err(|_| "it has too many nodes")?;
            // The others came into being on the way to it.
            record.told = sub == last;
        }
    }
    Ok(revisions)
}

/// Adds a node, and all that is below.
fn add(node: Node, index: i64, into: &mut Tree) -> Result<(), String> {
    let Node { path, created_index, modified_index, expire_time, value, children } = node;
    if path != "/" {
        if !path::is_path(path.as_bytes()) {
            return Err(format!("{path:?} is no name of a node"));
        }
        let main = number(modified_index)?;
        if main > index {
            return Err(format!("{path} was written at {main}, and the store ends at {index}"));
        }
        let kind = if children.is_some() { Kind::Dir } else { Kind::Key };
        let expiry = expire_time.map(|text| expiry(&text)).transpose()?.flatten();
        let indexes = (main, number(created_index)?);
        let record = record(kind, path.into(), value.into(), (indexes, expiry));
        into.insert(record.name.clone(), record);
    }
    for child in children.into_iter().flat_map(BTreeMap::into_values) {
        add(child, index, into)?;
    }
    Ok(())
}

/// A node that was modified and created at these indexes. The first write of ours has the number 2.
pub(super) fn record(
    kind: Kind,
    name: Bytes,
    value: Bytes,
    ((modified, created), expiry): ((i64, i64), Option<UnixNanos>),
) -> Record {
    let main = modified.max(2);
    let created_index = created.clamp(2, main);
    Record {
        kind,
        name,
        revision: Revision::new(main, 0),
        deleted: false,
        value,
        create_revision: created_index,
        version: 1,
        lease: 0,
        created_index,
        expiry,
        action: Action::Set,
        told: true,
    }
}

pub(super) fn number(of: u64) -> Result<i64, String> {
    let index = i64::try_from(of).ok().filter(|index| *index <= INDEX_MAX);
    index.ok_or_else(|| format!("{of} is no index"))
}

/// `None`: it stays for ever, which Go writes as the year 1.
pub(super) fn expiry(text: &str) -> Result<Option<UnixNanos>, String> {
    let wrong = || format!("{text:?} is no time");
    let time = OffsetDateTime::parse(text, &Rfc3339).map_err(|_| wrong())?;
    if time.year() <= 1 {
        return Ok(None);
    }
    i64::try_from(time.unix_timestamp_nanos())
        .map(|nanos| Some(UnixNanos(nanos)))
        .map_err(|_| wrong())
}
