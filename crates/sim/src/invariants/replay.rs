//! The state is what a copy that never crashed makes of the same entries.

use std::sync::Arc;

use member::Applier;
use mvcc::{Kind, Store};

use crate::Violation;

const NAME: &str = "replay";

/// Both hold the same, if they have applied the same.
pub(crate) fn equals(applier: &Applier, mirror: &Applier) -> Result<(), Violation> {
    let (ours, theirs) = (applier.state(), mirror.state());
    if ours.applied() != theirs.applied() {
        let text = format!("applied {:?}, should be {:?}", ours.applied(), theirs.applied());
        return Err(Violation::new(NAME, text));
    }
    let (ours, theirs) = (ours.reader(), theirs.reader());
    same("members", &ours.members(), &theirs.members())?;
    same("cluster version", &ours.cluster_version(), &theirs.cluster_version())?;
    same("leases", &ours.leases().all(), &theirs.leases().all())?;
    same("alarms", &ours.alarms(), &theirs.alarms())?;
    same("next expiry", &ours.next_expiry(), &theirs.next_expiry())?;
    let applied = applier.state().applied().index.0;
    let (ours, theirs) = (ours.store(), theirs.store());
    same("digest", &ours.digest(applied), &theirs.digest(applied))?;
    same("revision", &ours.revision(), &theirs.revision())?;
    same("compacted revision", &ours.compacted(), &theirs.compacted())?;
    same("live records", &ours.usage().live_records, &theirs.usage().live_records)?;
    same("live bytes", &ours.usage().live_bytes, &theirs.usage().live_bytes)?;
    same_history(ours, theirs)?;
    same_tree(ours, theirs, b"/")
}

fn same<T: PartialEq + std::fmt::Debug>(what: &str, ours: &T, theirs: &T) -> Result<(), Violation> {
    if ours == theirs {
        return Ok(());
    }
    Err(Violation::new(NAME, format!("{what}: {ours:?}, should be {theirs:?}")))
}

fn same_history(ours: &Arc<Store>, theirs: &Arc<Store>) -> Result<(), Violation> {
    for main in ours.compacted() + 1..=ours.revision() {
        let read = |store: &Arc<Store>| {
            store.commit_at(main).map_err(|error| Violation::new(NAME, format!("{main}: {error}")))
        };
        same("commit", &read(ours)?, &read(theirs)?)?;
    }
    Ok(())
}

/// What lives, from this directory down.
fn same_tree(ours: &Arc<Store>, theirs: &Arc<Store>, dir: &[u8]) -> Result<(), Violation> {
    let failed = |error| Violation::new(NAME, error);
    let list = |store: &Arc<Store>| store.children(dir, 0, None, usize::MAX).map_err(failed);
    let children = list(ours)?;
    same("children", &children, &list(theirs)?)?;
    for child in children {
        let read = |store: &Arc<Store>| store.get(child.kind, &child.name, 0).map_err(failed);
        same("record", &read(ours)?, &read(theirs)?)?;
        if child.kind == Kind::Dir {
            same_tree(ours, theirs, &child.name)?;
        }
    }
    Ok(())
}
