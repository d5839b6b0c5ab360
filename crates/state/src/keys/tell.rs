//! Changes as v2 tells them.

use base::Revision;
use mvcc::{Action, Commit, Kind, ReadError, Record, Store};

use super::{Event, Node, index};

/// What v2 calls a change; v3 has no names of its own for them.
fn action(record: &Record) -> Action {
    match (record.action, record.deleted) {
        (Action::None, false) => Action::Set,
        (Action::None, true) => Action::Delete,
        (action, _) => action,
    }
}

/// The event of a change: `at` is its index.
///
/// The answer to a write and what watchers hear of it both come from here.
pub(super) fn event(record: &Record, at: i64, prev_node: Option<Node>) -> Event {
    let action = action(record);
    // One of several changes of a v3 write has a number of its own, and came into being at it.
    let is_new = record.created_index == record.revision.main;
    let created_index = if is_new { at } else { record.created_index };
    let node = Node {
        key: record.name.clone(),
        value: (record.kind == Kind::Key && !record.deleted).then(|| record.value.clone()),
        dir: record.kind == Kind::Dir,
        expiry: record.expiry,
        modified_index: index(at),
        created_index: index(created_index),
    };
    let created = action == Action::Create || (action == Action::Set && prev_node.is_none());
    Event { action, node, prev_node, index: index(at), created }
}

/// The records of a commit that v2 tells, with the index of each: they count up to `main`.
///
/// Where v2 has never written, a v3 write of many keys takes one number, and all have that.
pub(super) fn told(commit: &Commit) -> impl Iterator<Item = (i64, &Record)> {
    let told = commit.records.iter().filter(|record| record.is_told());
    let first = commit.main - commit.advance + 1;
    told.zip(first..).map(|(record, at)| (at.min(commit.main), record))
}

/// What was there before a told change, as v2 saw it; absent where history does not have it any
/// more.
pub(super) fn prev_node(store: &Store, record: &Record) -> Result<Option<Node>, ReadError> {
    match look_back(store, record) {
        Err(ReadError::Compacted) => Ok(None),
        result => result,
    }
}

fn look_back(store: &Store, record: &Record) -> Result<Option<Node>, ReadError> {
    let Revision { main, .. } = record.revision;
    let Some(before) = main.checked_sub(1).filter(|before| *before > 0) else { return Ok(None) };
    let find = |kind| -> Result<Option<Node>, ReadError> {
        Ok(store.get(kind, &record.name, before)?.map(|record| Node::of(&record)))
    };
    if record.kind == Kind::Key {
        return find(Kind::Key);
    }
    // A directory that comes into being can take the place of a file.
    if !record.deleted
        && let Some(file) = find(Kind::Key)?
    {
        return Ok(Some(file));
    }
    if let Some(dir) = find(Kind::Dir)? {
        return Ok(Some(dir));
    }
    // Whatever else happens to a directory happens to one that is there, if only implied.
    let is_new = matches!(record.action, Action::Set | Action::Create);
    Ok((!is_new).then(|| Node::implied_dir(record.name.clone())))
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn record(name: &'static str, sub: u32, told: bool) -> Record {
        Record {
            kind: Kind::Key,
            name: Bytes::from_static(name.as_bytes()),
            revision: Revision::new(10, sub),
            deleted: false,
            value: Bytes::new(),
            create_revision: 10,
            version: 1,
            lease: 0,
            created_index: 10,
            expiry: None,
            action: Action::None,
            told,
        }
    }

    fn commit(advance: i64) -> Commit {
        let records = vec![
            record("/a", 0, true),
            record("no path", 1, true),
            record("/b", 2, false),
            record("/c", 3, true),
            record("/d", 4, true),
        ];
        Commit { main: 10, advance, records }
    }

    fn indexes(commit: &Commit) -> Vec<(i64, &[u8])> {
        told(commit).map(|(at, record)| (at, record.name.as_ref())).collect()
    }

    #[test]
    fn the_events_of_a_v3_write_count_up_to_its_revision() {
        let expected: [(i64, &[u8]); 3] = [(8, b"/a"), (9, b"/c"), (10, b"/d")];
        assert_eq!(indexes(&commit(3)), expected);
    }

    #[test]
    fn where_v2_has_never_written_they_all_have_that_revision() {
        let expected: [(i64, &[u8]); 3] = [(10, b"/a"), (10, b"/c"), (10, b"/d")];
        assert_eq!(indexes(&commit(1)), expected);
    }

    /// So that a client can go on at `modifiedIndex + 1` and miss nothing.
    #[test]
    fn an_event_between_came_into_being_and_was_modified_at_its_own_index() {
        let commit = commit(3);
        let (at, record) = told(&commit).next().unwrap();
        let event = event(record, at, None);
        let Event { index, node, .. } = &event;
        assert_eq!((*index, node.modified_index, node.created_index), (8, 8, 8));
    }
}
