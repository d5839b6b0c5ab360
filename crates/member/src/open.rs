//! Brings a member up from its disk, or founds it there.

mod alone;
mod log;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use backend::{Applied, Backend};
use base::{ClusterId, Disk, Index, MemberId, Term, version::Build};
use raft::eraftpb::HardState;
use state::State;
use wal::{Entry, Held, Identity, Looked, Recovered, Wal};

use self::log::Log;
pub(crate) use self::log::check_they_meet;
use crate::{
    Config, Core, CoreError,
    applier::{Applier, ApplyError},
    bootstrap::{self, Bootstrap},
    core::from_wal,
    spool::Spool,
    window::Window,
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
    /// In a data directory, with the log in a place of its own if there is one (`--wal-dir`).
    pub fn of(data_dir: &Path, wal_dir: Option<&Path>) -> Self {
        let home = data_dir.join("member");
        let wal = wal_dir.map_or_else(|| home.join("wal"), Path::to_path_buf);
        Self { wal, keyspace: home.join("keyspace") }
    }

    /// Where the keyspace of a snapshot is gathered, until it takes the place of this member's.
    pub fn incoming(&self) -> PathBuf {
        self.keyspace.with_file_name("keyspace.incoming")
    }

    /// Where a leader keeps entries for those who are being sent a snapshot.
    pub fn catch_up(&self) -> PathBuf {
        self.keyspace.with_file_name("catch-up")
    }
}

/// How to open.
#[derive(Clone, Debug)]
pub struct Options {
    pub wal: wal::Options,
    pub backend: backend::Options,
    pub core: Config,
    /// Makes this member the only one of its cluster, to go on after the others are lost; and a
    /// cluster of a copy that belongs to none ([`crate::backup()`]).
    pub force_new_cluster: bool,
    /// Where others reach the member of such a copy.
    pub peer_urls: Vec<String>,
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
        found_cluster: ClusterId,
        asked: MemberId,
        asked_cluster: ClusterId,
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
        "the log is that of member {member} of cluster {cluster}, but the keyspace {path} is of \
         cluster {found}: they are not of one member. Put back the log that belongs to it \
         (--wal-dir), or restore from a backup"
    )]
    Stranger { path: PathBuf, found: ClusterId, member: MemberId, cluster: ClusterId },
    #[error(
        "this is a backup, which belongs to no cluster yet: start it once with --force-new-cluster, \
         which makes a cluster of it alone, and add other members then"
    )]
    Backup,
    #[error("--force-new-cluster: {0}")]
    Alone(&'static str),
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
    let Found { log, keyspace, switch, additions } = look(disk, paths, options, bootstrap)?;
    let identity = log.identity();
    let (mut wal, mut log) = log.open(disk, dir, options)?;
    if switch {
        backend::put_in_place(disk.as_ref(), &paths.incoming(), path)?;
    } else {
        backend::discard(disk.as_ref(), &paths.incoming())?;
    }
    let (backend, applier) = if let Some((backend, applier)) = keyspace.filter(|_| !switch) {
        backend.begin_writing()?;
        (backend, applier)
    } else {
        let backend = Backend::open(Arc::clone(disk), path, options.backend.clone())?;
        assemble(backend, identity, options.core.build)?
    };
    let additions = match additions {
        Some(entries) => entries,
        None => alone::additions(&log, &applier, identity, options)?,
    };
    let applied = applier.state().applied().index;
    // Applied entries were committed, whether or not the log heard of it.
    log.hard_state.commit = log.hard_state.commit.max(applied);
    append_committed(&mut wal, &mut log, additions)?;
    let mut window = window(log, &applier, applied);
    let path = paths.catch_up();
    let spool = Spool::new(Arc::clone(disk), &path, options.core.catch_up_bytes);
    window.spool_to(spool.map_err(|source| OpenError::Io { path, source })?);
    let mut core = Core::new(identity.member, options.core.clone(), window, applied)?;
    if applier.state().reader().is_removed(identity.member) {
        core.was_removed(applier.configuration().state().voters.len());
    }
    Ok(Opened { identity, wal, backend, applier, core })
}

/// A member, and where the other ones of its cluster are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Others {
    pub identity: Identity,
    /// The last entry of its log: of two members of a cluster, the one whose term is higher, or else
    /// its index, has all that was ever acknowledged and that the other one has.
    pub last: (Term, Index),
    pub peer_urls: Vec<String>,
}

/// Whose data it is, and where the other members are; looks only. None if there is no data, or not
/// enough to tell.
pub fn others(
    disk: &Arc<dyn Disk>,
    paths: &Paths,
    options: &Options,
) -> Result<Option<Others>, OpenError> {
    let nobody = || Err("there is no member".to_owned());
    let Found { log, keyspace, .. } = match look(disk, paths, options, &nobody) {
        Ok(found) => found,
        Err(OpenError::Flags(_)) => return Ok(None),
        Err(error) => return Err(error),
    };
    let (Some((backend, applier)), Log::Whole(looked)) = (keyspace, &log) else {
        return Ok(None);
    };
    let recovered = looked.recovered();
    let (members, _) = alone::at_the_end(&applier, recovered)?;
    drop(applier);
    backend.close()?;
    let (index, term) = recovered.before;
    let last = recovered.entries.last().map_or((term, index), |entry| (entry.term, entry.index));
    let identity = log.identity();
    let others = members.members.into_values().filter(|one| one.id != identity.member);
    let peer_urls = others.flat_map(|member| member.peer_urls).collect();
    Ok(Some(Others { identity, last, peer_urls }))
}

/// What is there, read and left as it is.
struct Found {
    log: Log,
    keyspace: Option<(Arc<Backend>, Applier)>,
    /// The keyspace is that of a snapshot, which is still to take its place.
    switch: bool,
    /// What the log is to end with, where that is known without the keyspace being made.
    additions: Option<Vec<Entry>>,
}

fn look(
    disk: &Arc<dyn Disk>,
    paths: &Paths,
    options: &Options,
    bootstrap: &dyn Fn() -> Result<Bootstrap, String>,
) -> Result<Found, OpenError> {
    let path = &paths.keyspace;
    let failed = |source| OpenError::Io { path: path.clone(), source };
    let look = |path: &Path| Backend::look(Arc::clone(disk), path, options.backend.clone());
    let found = disk.exists(path).map_err(failed)?;
    let mut found = found.then(|| reading(path, || look(path))).transpose()?;
    let held = found.as_ref().map(Backend::durable);
    let arrived = || arrived(disk, paths, options);
    let (log, switch) = log::look(disk, paths, bootstrap, held, &arrived)?;
    if switch {
        found = Some(reading(path, || look(&paths.incoming()))?);
    }
    let Some(backend) = found else {
        return Ok(Found { log, keyspace: None, switch, additions: None });
    };
    let (backend, applier) =
        reading(path, || assemble(backend, log.identity(), options.core.build))?;
    let mut additions = None;
    if let Log::Whole(looked) = &log {
        check_cluster(paths, log.identity(), &applier)?;
        let recovered = looked.recovered();
        additions = Some(alone::additions(recovered, &applier, log.identity(), options)?);
    }
    Ok(Found { log, keyspace: Some((backend, applier)), switch, additions })
}

/// The storage engine panics at some damages.
pub(crate) fn reading<T>(path: &Path, read: impl FnOnce() -> T) -> T {
    let meaning = format!(
        "the keyspace {} is damaged: restore this member from a backup, or choose another data \
         directory",
        path.display()
    );
    base::panics::mean(meaning, read)
}

pub(crate) fn assemble(
    backend: Backend,
    identity: Identity,
    build: Build,
) -> Result<(Arc<Backend>, Applier), OpenError> {
    let backend = Arc::new(backend);
    let state = State::open(Arc::clone(&backend), build).map_err(ApplyError::from)?;
    Ok((backend, Applier::new(state, identity.cluster)?))
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

/// Whether the keyspace is of the cluster whose log it is. Of which member of it does not matter: the
/// entries that it holds are those of all.
fn check_cluster(paths: &Paths, identity: Identity, applier: &Applier) -> Result<(), OpenError> {
    let Identity { member, cluster } = identity;
    match applier.state().cluster().map_err(ApplyError::from)? {
        Some(found) if found != cluster => {
            Err(OpenError::Stranger { path: paths.keyspace.clone(), found, member, cluster })
        }
        _ => Ok(()),
    }
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

/// Ends the log with these entries, and takes all of it as committed, unless there are none.
fn append_committed(
    wal: &mut Wal,
    log: &mut Recovered,
    entries: Vec<Entry>,
) -> Result<(), OpenError> {
    let Some(last) = entries.last().map(|entry| entry.index) else { return Ok(()) };
    log.hard_state.commit = last;
    wal.append(Some(log.hard_state), &entries)?;
    wal.sync()?;
    log.entries.extend(entries);
    Ok(())
}

#[cfg(test)]
mod tests;
