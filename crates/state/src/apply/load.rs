//! Taking over what another store held, before there is a cluster.

use std::collections::BTreeSet;

use backend::Applied;
use bytes::Bytes;
use mvcc::{Action, Kind, LoadError, ReadError, Record, store::Put};

use super::State;
use crate::auth::Auth;

/// What another store's history stands at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Its revision: the next write comes behind.
    pub revision: i64,
    /// The oldest revision that can be read; -1 if it was never compacted.
    pub compacted: i64,
    /// Up to where what that condemned is gone already.
    pub swept: i64,
}

impl State {
    /// Takes over records, with all their numbers: a list for each revision, in order. As one entry.
    pub fn load(
        &mut self,
        at: Applied,
        revisions: impl IntoIterator<Item = Vec<Record>>,
    ) -> Result<(), LoadError> {
        for records in revisions {
            self.writer.load(records)?;
        }
        self.writer.finish_entry(at);
        Ok(())
    }

    /// Where the history stands that was taken over. As one entry.
    pub fn load_standing(&mut self, at: Applied, standing: Standing) {
        self.writer.skip_to(standing.revision);
        if standing.compacted >= 0 {
            self.writer.load_compacted(standing.compacted, standing.swept);
        }
        self.writer.finish_entry(at);
    }

    /// Numbers up to this revision were others'. As one entry.
    pub fn skip_to(&mut self, at: Applied, revision: i64) {
        self.writer.skip_to(revision);
        self.writer.finish_entry(at);
    }

    /// From here on each change has a number of its own, as v2 counts on. As one entry.
    pub fn number_each_change(&mut self, at: Applied) {
        self.writer.number_each_change();
        self.writer.finish_entry(at);
    }

    /// Takes over users and roles, where there are none yet. As one entry.
    pub fn load_auth(&mut self, at: Applied, auth: Auth) {
        for (name, row) in auth.rows() {
            self.writer.set_meta(name, row);
        }
        self.reader.set_auth(auth);
        self.writer.finish_entry(at);
    }

    /// Writes nodes of a v2 store at the next revision, as new ones; a directory takes the place of a
    /// key of its name. As one entry.
    pub fn put_nodes(&mut self, at: Applied, nodes: &[Record]) -> Result<(), ReadError> {
        let last = nodes.len().saturating_sub(1);
        self.writer.transact(|txn| {
            for (index, node) in nodes.iter().enumerate() {
                if node.kind == Kind::Dir && txn.exists(Kind::Key, &node.name) {
                    txn.delete(Kind::Key, &node.name, Action::Set, false);
                }
                txn.put(Put {
                    kind: node.kind,
                    name: node.name.clone(),
                    value: node.value.clone(),
                    lease: 0,
                    expiry: node.expiry,
                    new_node: true,
                    action: Action::Set,
                    // Those above it came into being with it.
                    told: index == last,
                });
            }
            Ok::<_, ReadError>(())
        })?;
        self.writer.finish_entry(at);
        Ok(())
    }

    /// The names of all live nodes that v2 sees or could see, in no order that means anything.
    pub fn node_names(&mut self) -> Result<Vec<(Kind, Bytes)>, ReadError> {
        let (names, _) = self.writer.transact(|txn| Ok::<_, ReadError>(txn.descendants(b"/")))?;
        Ok(names)
    }

    /// The names of live keys that are among these, at most `max`, and how many there are.
    pub fn live_among(&self, names: &BTreeSet<Bytes>, max: usize) -> (Vec<Bytes>, usize) {
        let view = self.writer.store().view();
        let live = names.iter().filter(|name| view.head(Kind::Key, name).is_some());
        let (mut some, mut count) = (Vec::new(), 0);
        for name in live {
            if count < max {
                some.push(name.clone());
            }
            count += 1;
        }
        (some, count)
    }
}
