//! The end of what has passed its time to live.

use std::sync::Arc;

use base::UnixNanos;
use mvcc::{Action, Commit, Kind, ReadError, Txn, Writer};
use proto::command::Expire;

use super::Stats;

/// Expires what is due, in order of expiry, each node in a revision of its own. What went with a
/// directory does not expire once more.
pub(crate) fn expire(
    writer: &mut Writer,
    stats: &Stats,
    command: Expire,
) -> Result<Vec<Arc<Commit>>, ReadError> {
    let mut commits = Vec::new();
    for _ in 0..command.nodes_max {
        let ((), commit) = writer.transact(|txn| {
            match txn.due(UnixNanos(command.up_to), 1).pop() {
                Some((Kind::Key, name)) => txn.delete(Kind::Key, &name, Action::Expire, true),
                Some((Kind::Dir, name)) => delete_tree(txn, &name, Action::Expire),
                None => {}
            }
            Ok::<_, ReadError>(())
        })?;
        let Some(commit) = commit else { break };
        commits.push(commit);
        stats.count_expiry();
    }
    Ok(commits)
}

/// Deletes a directory and all below it that v2 can name, out of its reach or not. Only the
/// directory's own end is told: who waits for something below hears of that.
pub(super) fn delete_tree(txn: &mut Txn<'_>, dir: &[u8], action: Action) {
    for (kind, name) in txn.descendants(dir) {
        txn.delete(kind, &name, action, false);
    }
    txn.delete(Kind::Dir, dir, action, true);
}
