//! The number spaces of v2 and v3 become one.

use std::collections::BTreeSet;

use bytes::Bytes;
use mvcc::{Kind, path::ancestors};

use crate::{
    ImportError, Imported, Making, Names, Prefer, Stage, building::Building, nodes::Nodes,
};

/// Names that an error tells.
const NAMES_MAX: usize = 10;

impl Making<'_> {
    /// Where only v2 was written to, its indexes are the revisions, and what happened since its
    /// snapshot is history. Where both were, v3's revisions stay, and the nodes come behind: each
    /// index of them is a revision, after the larger of both.
    pub(crate) fn merge(
        &mut self,
        (keys, has_v3): (&mut Building, bool),
        nodes: &mut Nodes,
        imported: &mut Imported,
    ) -> Result<(), ImportError> {
        let live = nodes.live()?;
        let is_v3 = keys.revision() > 1 || !keys.state().reader().leases().is_empty();
        if !is_v3 && (!has_v3 || live.len() > 0) {
            imported.dirs = live.dirs;
            keys.number_each_change()?;
            let standing = nodes.each_revision(&mut |records| keys.load(records))?;
            return keys.stand(standing);
        }
        let total = live.len() as u64;
        if total == 0 {
            return Ok(());
        }
        let names: BTreeSet<Bytes> = live.names().collect();
        let (some, count) = keys.state().live_among(&names, NAMES_MAX);
        if count > 0 && self.what.prefer.is_none() {
            return Err(ImportError::Both { names: Names(some), count });
        }
        let taken = if self.what.prefer == Some(Prefer::V3) {
            keys.state().live_among(&names, usize::MAX).0.into_iter().collect()
        } else {
            BTreeSet::new()
        };
        drop(names);
        keys.skip_to(keys.revision().max(nodes.index()))?;
        let is_taken =
            |name: &[u8]| taken.contains(name) || ancestors(name).any(|dir| taken.contains(dir));
        for (records, done) in live.revisions().zip(1..) {
            let mut records = records?;
            let all = records.len();
            records.retain(|record| !is_taken(&record.name));
            imported.left_out += (all - records.len()) as u64;
            imported.nodes += records.len() as u64;
            let dirs = records.iter().filter(|record| record.kind == Kind::Dir);
            imported.dirs += dirs.count() as u64;
            if !records.is_empty() {
                keys.put_nodes(&records)?;
            }
            self.tell(Stage::Nodes, done, total);
        }
        keys.number_each_change()
    }
}
