//! The JSON of a v2 store.

use std::collections::BTreeMap;

use base::{Revision, UnixNanos};
use bytes::Bytes;
use mvcc::{Action, Kind, Record, path};
use serde::Deserialize;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

/// What the store held.
#[derive(Debug)]
pub(super) struct Store {
    /// The index of its last change.
    pub(super) index: i64,
    /// The nodes of each index, in order.
    pub(super) revisions: Vec<Vec<Record>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Json {
    root: Node,
    current_index: u64,
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

/// Reads a store; the error says what is wrong.
pub(super) fn read(json: &[u8]) -> Result<Store, String> {
    let Json { root, current_index } =
        serde_json::from_slice(json).map_err(|error| error.to_string())?;
    let index = number(current_index)?.max(1);
    let mut records = BTreeMap::new();
    add(root, index, &mut records)?;
    let mut revisions: Vec<Vec<Record>> = Vec::new();
    for ((main, ..), record) in records {
        match revisions.last_mut() {
            Some(last) if last.first().is_some_and(|one| one.revision.main == main) => {
                last.push(record);
            }
            _ => revisions.push(vec![record]),
        }
    }
    for records in &mut revisions {
        let last = records.len().saturating_sub(1);
        for (sub, record) in records.iter_mut().enumerate() {
            record.revision.sub = u32::try_from(sub).map_err(|_| "it has too many nodes")?;
            // The others came into being on the way to it.
            record.told = sub == last;
        }
    }
    Ok(Store { index, revisions })
}

type Records = BTreeMap<(i64, Bytes), Record>;

/// Adds a node, and all that is below.
fn add(node: Node, index: i64, into: &mut Records) -> Result<(), String> {
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
        let main = main.max(2);
        let created_index = number(created_index)?.max(2).min(main);
        let record = Record {
            kind,
            name: Bytes::from(path),
            revision: Revision::new(main, 0),
            deleted: false,
            value: Bytes::from(value),
            create_revision: created_index,
            version: 1,
            lease: 0,
            created_index,
            expiry: expire_time.map(|text| expiry(&text)).transpose()?.flatten(),
            action: Action::Set,
            told: true,
        };
        into.insert((main, record.name.clone()), record);
    }
    for child in children.into_iter().flat_map(BTreeMap::into_values) {
        add(child, index, into)?;
    }
    Ok(())
}

fn number(of: u64) -> Result<i64, String> {
    i64::try_from(of).map_err(|_| format!("{of} is no index"))
}

/// `None`: it stays for ever, which Go writes as the year 1.
fn expiry(text: &str) -> Result<Option<UnixNanos>, String> {
    let wrong = || format!("{text:?} is no time");
    let time = OffsetDateTime::parse(text, &Rfc3339).map_err(|_| wrong())?;
    if time.year() <= 1 {
        return Ok(None);
    }
    i64::try_from(time.unix_timestamp_nanos()).map(|nanos| Some(UnixNanos(nanos))).map_err(|_| wrong())
}
