//! The log, read before anything is written, and what goes with the keyspace.

use std::{path::Path, sync::Arc};

use backend::Applied;
use base::{Disk, Index, Term};
use wal::{Held, Identity, Looked, Recovered, Wal};

use super::{OpenError, Options, Paths};
use crate::{
    bootstrap::{self, Bootstrap},
    window::{APPLIED_BYTES_KEPT, APPLIED_ENTRIES_KEPT},
};

/// What is there of a log, before anything is written.
pub(crate) enum Log {
    Whole(Looked),
    /// The first batch is missing.
    Begun(Looked, Bootstrap),
    Missing(Bootstrap),
}

/// `held`: what the keyspace holds, if there is one. It is made only after the log's first batch is
/// synced.
///
/// A member that takes over a snapshot starts its log anew behind it, and then lets the snapshot's
/// file, which is whole, take the keyspace's place. So where the log begins behind what the keyspace
/// holds and such a file is there, of just that entry, the switch is to be finished: true.
pub(crate) fn look(
    disk: &Arc<dyn Disk>,
    paths: &Paths,
    bootstrap: &dyn Fn() -> Result<Bootstrap, String>,
    held: Option<Applied>,
    arrived: &dyn Fn() -> Result<Option<Applied>, OpenError>,
) -> Result<(Log, bool), OpenError> {
    let has_keyspace = held.is_some();
    let held = held.unwrap_or_default();
    // What followers that lag may still ask for is kept in memory, no more.
    let in_keyspace =
        Held { index: held.index, entries: APPLIED_ENTRIES_KEPT, bytes: APPLIED_BYTES_KEPT };
    let looked = Looked::look(Arc::clone(disk), &paths.wal, in_keyspace)?;
    match looked {
        Some(looked) if !bootstrap::is_unfinished(looked.recovered()) => {
            let (index, term) = looked.recovered().before;
            let switch = held.index < index && arrived()? == Some(Applied { index, term });
            if !switch {
                check_they_meet(paths, looked.recovered(), held)?;
            }
            Ok((Log::Whole(looked), switch))
        }
        _ if has_keyspace => Err(OpenError::LogLost {
            path: paths.keyspace.clone(),
            log: paths.wal.clone(),
            applied: held.index,
        }),
        Some(looked) => {
            let bootstrap = bootstrap().map_err(OpenError::Flags)?;
            same_beginnings(paths, looked.identity(), bootstrap.identity)?;
            Ok((Log::Begun(looked, bootstrap), false))
        }
        None => Ok((Log::Missing(bootstrap().map_err(OpenError::Flags)?), false)),
    }
}

impl Log {
    pub(crate) fn identity(&self) -> Identity {
        match self {
            Self::Whole(looked) | Self::Begun(looked, _) => looked.identity(),
            Self::Missing(bootstrap) => bootstrap.identity,
        }
    }

    /// Mends or makes it; it then has at least its first batch in it.
    pub(crate) fn open(
        self,
        disk: &Arc<dyn Disk>,
        dir: &Path,
        options: &Options,
    ) -> Result<(Wal, Recovered), OpenError> {
        let (mut wal, bootstrap) = match self {
            Self::Whole(looked) => return Ok(looked.open(options.wal)?),
            Self::Begun(looked, bootstrap) => (looked.open(options.wal)?.0, bootstrap),
            Self::Missing(bootstrap) => {
                let identity = bootstrap.identity;
                (Wal::create(Arc::clone(disk), dir, identity, options.wal)?, bootstrap)
            }
        };
        let (hard_state, entries) = bootstrap.log();
        wal.append(Some(hard_state), &entries)?;
        wal.sync()?;
        Ok((wal, Recovered { hard_state, before: (Index(0), Term(0)), entries }))
    }
}

fn same_beginnings(paths: &Paths, found: Identity, asked: Identity) -> Result<(), OpenError> {
    if found == asked {
        return Ok(());
    }
    Err(OpenError::OtherBeginnings {
        path: paths.wal.clone(),
        found: found.member,
        found_cluster: found.cluster,
        asked: asked.member,
        asked_cluster: asked.cluster,
    })
}

/// Whether the keyspace ends within the log.
pub(crate) fn check_they_meet(
    paths: &Paths,
    log: &Recovered,
    held: Applied,
) -> Result<(), OpenError> {
    let path = paths.keyspace.clone();
    let Applied { index, term } = held;
    if index < log.before.0 {
        return Err(OpenError::Behind { path, applied: index, first: Index(log.before.0.0 + 1) });
    }
    let logged = if index == log.before.0 {
        Some(log.before.1)
    } else {
        let at = usize::try_from(index.0 - log.before.0.0 - 1).unwrap_or(usize::MAX);
        log.entries.get(at).map(|entry| entry.term)
    };
    if logged != Some(term) {
        return Err(OpenError::Ahead { path, applied: index, term });
    }
    Ok(())
}
