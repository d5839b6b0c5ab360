//! Brings a member up from its disk, or founds it there.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use backend::{Applied, Backend};
use base::{Disk, Index, MemberId, Term};
use bytes::Bytes;
use raft::eraftpb::{EntryType, HardState};
use state::State;
use wal::{Entry, Held, Identity, Looked, Recovered, Wal};

use crate::{
    Config, Core, CoreError,
    applier::{Applier, ApplyError},
    bootstrap::{self, Bootstrap},
    conf::{self, ConfError, Configuration},
    core::from_wal,
    window::{APPLIED_BYTES_KEPT, APPLIED_ENTRIES_KEPT, Window},
};

/// Where a member's data lies.
#[derive(Clone, Debug)]
pub struct Paths {
    /// The directory of the raft log.
    pub wal: PathBuf,
    /// The keyspace's file.
    pub keyspace: PathBuf,
}

impl Paths {
    /// Where the keyspace of a snapshot is gathered, until it takes the place of this member's.
    pub fn incoming(&self) -> PathBuf {
        self.keyspace.with_file_name("keyspace.incoming")
    }
}

/// How to open.
#[derive(Clone, Debug)]
pub struct Options {
    pub wal: wal::Options,
    pub backend: backend::Options,
    pub core: Config,
    /// Makes this member the only one of its cluster, to go on after the others are lost.
    pub force_new_cluster: bool,
}

/// A member, open.
pub struct Opened {
    pub identity: Identity,
    pub wal: Wal,
    pub backend: Arc<Backend>,
    pub applier: Applier,
    pub core: Core,
}

/// Why a member's data could not be opened. Each text says what to do.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error(transparent)]
    Wal(#[from] wal::Error),
    #[error(transparent)]
    Backend(#[from] backend::Error),
    #[error(transparent)]
    Apply(#[from] ApplyError),
    #[error(transparent)]
    Core(#[from] CoreError),
    #[error("look into {path}: {source}{advice}", advice = base::disk::advice(.source.kind()))]
    Io { path: PathBuf, source: std::io::Error },
    #[error("{0}")]
    Flags(String),
    #[error(
        "{path} holds the beginnings of member {found} of cluster {found_cluster}, but the flags \
         make this member {asked} of cluster {asked_cluster}: start it with the flags of its \
         first start, or remove the data directory"
    )]
    OtherBeginnings {
        path: PathBuf,
        found: MemberId,
        found_cluster: base::ClusterId,
        asked: MemberId,
        asked_cluster: base::ClusterId,
    },
    #[error(
        "the keyspace {path} holds entry {applied} of term {term}, which the log does not: they \
         are not of one member. Put back the log that belongs to it (--wal-dir), or restore from \
         a backup"
    )]
    Ahead { path: PathBuf, applied: Index, term: Term },
    #[error(
        "the keyspace {path} (up to entry {applied}) is there, but not its log in {log}: put back \
         the log (--wal-dir), or restore this member from a backup"
    )]
    LogLost { path: PathBuf, log: PathBuf, applied: Index },
    #[error(
        "the keyspace {path} ends at entry {applied}, but the log only begins at {first}: the \
         keyspace is missing or not of this member. Restore this member from a backup"
    )]
    Behind { path: PathBuf, applied: Index, first: Index },
    #[error(
        "the log is that of member {member} of cluster {cluster}, whom the keyspace {path} does \
         not know: they are not of one member"
    )]
    Stranger { path: PathBuf, member: MemberId, cluster: base::ClusterId },
}

/// Whether a member lives here already: what the flags say of the initial cluster does not concern
/// it. A founding that was cut short before anybody was promised anything goes on by the flags. Looks
/// only.
pub fn exists(disk: &Arc<dyn Disk>, paths: &Paths) -> Result<bool, OpenError> {
    let Paths { wal, keyspace } = paths;
    let failed = |source| OpenError::Io { path: keyspace.clone(), source };
    // It is made after the log's first batch.
    if disk.exists(keyspace).map_err(failed)? {
        return Ok(true);
    }
    let log = Looked::look(Arc::clone(disk), wal, Held::NOTHING)?;
    Ok(log.is_some_and(|log| !bootstrap::is_unfinished(log.recovered())))
}

/// Whether nothing has come yet to a member that joined: it knows nobody but by its flags. Looks
/// only.
pub fn knows_nobody(
    disk: &Arc<dyn Disk>,
    paths: &Paths,
    options: backend::Options,
) -> Result<bool, OpenError> {
    let path = &paths.keyspace;
    let failed = |source| OpenError::Io { path: path.clone(), source };
    if !disk.exists(path).map_err(failed)? {
        return Ok(true);
    }
    let backend = reading(path, || Backend::look(Arc::clone(disk), path, options))?;
    let applied = backend.durable();
    backend.close()?;
    Ok(applied == Applied::default())
}

/// Opens the member, or founds it if there is none. `bootstrap` is asked only then: what the
/// flags say of the initial cluster does not concern a member that is there.
///
/// Data that is refused stays as it was: all of it is read before any of it is mended. And every
/// step leaves the disk in a state from which the next call goes on.
pub fn open(
    disk: &Arc<dyn Disk>,
    paths: &Paths,
    options: &Options,
    bootstrap: &dyn Fn() -> Result<Bootstrap, String>,
) -> Result<Opened, OpenError> {
    let Paths { wal: dir, keyspace: path } = paths;
    let failed = |source| OpenError::Io { path: path.clone(), source };
    let look = |path: &Path| Backend::look(Arc::clone(disk), path, options.backend.clone());
    let found = disk.exists(path).map_err(failed)?;
    let mut found = found.then(|| reading(path, || look(path))).transpose()?;
    let held = found.as_ref().map(Backend::durable);
    let arrived = || arrived(disk, paths, options);
    let (log, switch) = look_into_log(disk, paths, bootstrap, held, &arrived)?;
    if switch {
        found = Some(reading(path, || look(&paths.incoming()))?);
    }
    let identity = log.identity();
    let found = match found {
        Some(backend) => {
            let (backend, applier) = reading(path, || assemble(backend, options))?;
            check_is_known(paths, &log, &applier)?;
            Some((backend, applier))
        }
        None => None,
    };

    let (mut wal, mut log) = log.open(disk, dir, options)?;
    let found = if switch { None } else { found };
    if switch {
        backend::put_in_place(disk.as_ref(), &paths.incoming(), path)?;
    } else {
        backend::discard(disk.as_ref(), &paths.incoming())?;
    }
    let (backend, applier) = if let Some((backend, applier)) = found {
        backend.begin_writing()?;
        (backend, applier)
    } else {
        let backend = Backend::open(Arc::clone(disk), path, options.backend.clone())?;
        assemble(backend, options)?
    };
    let applied = applier.state().applied().index;
    // Applied entries were committed, whether or not the log heard of it.
    log.hard_state.commit = log.hard_state.commit.max(applied);
    if options.force_new_cluster {
        force_alone(&mut wal, &mut log, &applier)?;
    }
    let window = window(log, &applier, applied);
    let core = Core::new(identity.member, options.core.clone(), window, applied)?;
    Ok(Opened { identity, wal, backend, applier, core })
}

/// The storage engine panics at some damages.
fn reading<T>(path: &Path, read: impl FnOnce() -> T) -> T {
    let meaning = format!(
        "the keyspace {} is damaged: restore this member from a backup, or choose another data \
         directory",
        path.display()
    );
    base::panics::mean(meaning, read)
}

fn assemble(backend: Backend, options: &Options) -> Result<(Arc<Backend>, Applier), OpenError> {
    let backend = Arc::new(backend);
    let state = State::open(Arc::clone(&backend), options.core.build).map_err(ApplyError::from)?;
    Ok((backend, Applier::new(state)?))
}

/// Of which entry the snapshot is that was about to take the keyspace's place, if it is whole.
fn arrived(
    disk: &Arc<dyn Disk>,
    paths: &Paths,
    options: &Options,
) -> Result<Option<Applied>, OpenError> {
    let path = paths.incoming();
    let failed = |source| OpenError::Io { path: path.clone(), source };
    if !disk.exists(&path).map_err(failed)? {
        return Ok(None);
    }
    let look = || Backend::look(Arc::clone(disk), &path, options.backend.clone());
    let backend = reading(&path, look)?;
    let applied = backend.durable();
    backend.close()?;
    Ok((applied != Applied::default()).then_some(applied))
}

/// What is there of a log, before anything is written.
enum Log {
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
fn look_into_log(
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
    fn identity(&self) -> Identity {
        match self {
            Self::Whole(looked) | Self::Begun(looked, _) => looked.identity(),
            Self::Missing(bootstrap) => bootstrap.identity,
        }
    }

    /// Mends or makes it; it then has at least its first batch in it.
    fn open(
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
fn check_they_meet(paths: &Paths, log: &Recovered, held: Applied) -> Result<(), OpenError> {
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

/// Whether the keyspace knows the member whose log it is.
fn check_is_known(paths: &Paths, log: &Log, applier: &Applier) -> Result<(), OpenError> {
    let Log::Whole(looked) = log else { return Ok(()) };
    let Identity { member, cluster } = looked.identity();
    let reader = applier.state().reader();
    let known = reader.members().members.contains_key(&member) || reader.is_removed(member);
    let is_latest = applier.state().applied().index >= looked.recovered().hard_state.commit;
    // Before the first configuration change the keyspace knows nobody.
    if !known && !reader.members().members.is_empty() && is_latest {
        return Err(OpenError::Stranger { path: paths.keyspace.clone(), member, cluster });
    }
    Ok(())
}

fn window(log: Recovered, applier: &Applier, applied: Index) -> Window {
    let hard_state = HardState {
        term: log.hard_state.term.0,
        vote: log.hard_state.vote.0,
        commit: log.hard_state.commit.0,
    };
    let before = (log.before.0.0, log.before.1.0);
    let entries = log.entries.into_iter().map(from_wal).collect();
    let voters = applier.configuration().state();
    let mut window = Window::new(hard_state, voters, before, entries, applied.0);
    window.forget_before(applier.state().reader().versions().lowered_at().0);
    window
}

/// Ends the log with entries that remove all other members, and takes all of it as committed.
///
/// So the cluster that follows has an ordinary log, which replays to the same members wherever
/// the member crashes. What the log holds may have been acknowledged, whether or not it says so:
/// nothing of it is dropped.
fn force_alone(wal: &mut Wal, log: &mut Recovered, applier: &Applier) -> Result<(), OpenError> {
    let mut configuration =
        Configuration::decode(Some(&encoded(applier))).map_err(ApplyError::from)?;
    let applied = applier.state().applied().index;
    for entry in log.entries.iter().filter(|entry| entry.index > applied && entry.kind != 0) {
        let change = conf::decode(entry).map_err(ApplyError::from)?;
        configuration.apply(entry.index.0, &change).map_err(ApplyError::from)?;
    }
    let own = wal.identity().member.0;
    let last = Index(log.before.0.0 + log.entries.len() as u64);
    if !configuration.state().voters.contains(&own) {
        let text = "this member has no vote in its cluster, so it cannot go on alone".to_owned();
        return Err(ApplyError::from(ConfError::Refused { index: last.0, text }).into());
    }
    let removals = removals(&configuration, own, last, log.hard_state.term);
    let Some(last) = removals.last().map(|entry| entry.index) else { return Ok(()) };
    log.hard_state.commit = last;
    wal.append(Some(log.hard_state), &removals)?;
    wal.sync()?;
    log.entries.extend(removals);
    Ok(())
}

fn removals(known: &Configuration, own: u64, after: Index, term: Term) -> Vec<Entry> {
    let state = known.state();
    let others = state.voters.into_iter().chain(state.learners).filter(|id| *id != own);
    others
        .zip(after.0 + 1..)
        .map(|(id, index)| Entry {
            index: Index(index),
            term,
            kind: EntryType::EntryConfChange as u8,
            data: conf::remove(id),
            context: Bytes::new(),
        })
        .collect()
}

fn encoded(applier: &Applier) -> Bytes {
    prost::Message::encode_to_vec(&applier.configuration().state()).into()
}

#[cfg(test)]
mod tests;
