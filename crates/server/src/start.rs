//! Starting a member: checks that touch nothing, then the data, then the threads.

mod alone;
mod founding;
mod inbound;
mod joining;
mod original;

use std::{
    io,
    path::{Path, PathBuf},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicU64, AtomicUsize},
    },
};

use base::{Clock, Disk, MemberId, limits, version};
use member::{OpenError, Opened, Options, Paths};
use parking_lot::Mutex;
use state::membership::bootstrap_member_id;
use tokio::sync::{Semaphore, watch};

use crate::{
    Config, Handle, StartError,
    barriers::Barriers,
    compactor, corruption,
    counters::Counters,
    crowd::Crowd,
    failure::Failure,
    figures::Appends,
    inbox::Inbox,
    lost,
    shared::{Shared, Standing},
    threads::{
        self,
        apply::{self, ApplyQueue},
        catch_up::{self, CatchUp},
        flusher::{self, FlushSignal},
        log::LogQueue,
        raft::{self, Others, Raft},
        snapshots::Place,
    },
    waiters::Waiters,
};

/// The storage engine's page cache. Reads that matter come from memory.
const CACHE_BYTES: usize = 2 << 20;
/// A segment of the log.
const SEGMENT_BYTES: u64 = 64 << 20;

/// Starts a member: opens or bootstraps its data directory and starts its threads. Blocks until
/// the data is open, not until there is a leader. Touches nothing if it fails its checks.
#[allow(clippy::needless_pass_by_value, reason = "the member takes the disk for itself")]
pub fn start(
    config: Config,
    disk: Arc<dyn Disk>,
    clock: Arc<dyn Clock>,
) -> Result<Handle, StartError> {
    let (home, paths) = places(&config);
    let found = if has_member(&config, &disk)? {
        tracing::info!(
            data_dir = %config.data_dir.display(),
            "the data directory has a member: it goes by what it knows of its cluster"
        );
        None
    } else {
        alone::refuse_without_data(&config)?;
        Some(founding::bootstrap(&config).map_err(StartError::Other)?)
    };
    let changed = || "it changed while the member started: start it again".to_owned();
    let found = || found.clone().ok_or_else(changed);
    let mut locks = Locks::default();
    let opened = locks.take(disk.as_ref(), &home, &paths.wal, &config).and_then(|()| {
        lost::refuse(disk.as_ref(), &home, &config)?;
        let mut options = options(&config, first_id(0, clock.wall().0));
        let alone = alone::Alone::new(&disk, &home, &config);
        options.force_new_cluster = alone.is_due(&paths, &options)?;
        let opened = member::open(&disk, &paths, &options, &found);
        let opened = opened.map_err(|error| opening(&error, &config))?;
        alone.done(options.force_new_cluster, opened.identity)?;
        Ok(opened)
    });
    match opened {
        Ok(opened) => {
            let options = backend::Options { cache_bytes: CACHE_BYTES };
            let place = Place { disk, path: paths.incoming(), options };
            run((config, clock, place), opened, locks.held)
        }
        Err(error) => {
            locks.undo(disk.as_ref());
            Err(error)
        }
    }
}

/// Whether a member lives in the data directory already; looks only.
pub fn has_member(config: &Config, disk: &Arc<dyn Disk>) -> Result<bool, StartError> {
    let paths = places(config).1;
    original::refuse(disk.as_ref(), config, &paths.wal)?;
    member::exists(disk, &paths).map_err(|error| opening(&error, config))
}

/// Whether the member that lives there joined a cluster and has heard nothing of it yet; looks only.
/// What is wrong with its data is for [`start`] to say.
pub fn knows_nobody(config: &Config, disk: &Arc<dyn Disk>) -> bool {
    let options = backend::Options { cache_bytes: CACHE_BYTES };
    member::knows_nobody(disk, &places(config).1, options).unwrap_or(false)
}

/// The id of this member in a cluster that it founds by these flags.
pub fn founding_id(config: &Config) -> MemberId {
    bootstrap_member_id(&config.peer_urls, &config.initial_cluster_token)
}

fn places(config: &Config) -> (PathBuf, Paths) {
    let home = config.data_dir.join("member");
    (home, Paths::of(&config.data_dir, config.wal_dir.as_deref()))
}

fn options(config: &Config, run: u64) -> Options {
    let heartbeat = config.heartbeat.as_nanos().max(1);
    let ticks = usize::try_from(config.election.as_nanos() / heartbeat).unwrap_or(usize::MAX);
    Options {
        wal: wal::Options { segment_bytes: SEGMENT_BYTES },
        backend: backend::Options { cache_bytes: CACHE_BYTES },
        core: member::Config {
            build: version::THIS,
            name: config.name.clone(),
            client_urls: config.client_urls.clone(),
            election_ticks: ticks.max(2),
            heartbeat_ticks: 1,
            answer_ticks: usize::try_from(config.request_timeout().as_nanos() / heartbeat)
                .unwrap_or(usize::MAX),
            run,
            quota_bytes: config.quota_bytes,
            compacts: config.auto_compaction.is_none(),
            lease_grace: config.election,
            lease_checkpoints: limits::LEASE_CHECKPOINT_INTERVAL,
            catch_up_entries: config.catch_up_entries,
            catch_up_bytes: limits::CATCH_UP_BYTES_MAX,
        },
        force_new_cluster: config.force_new_cluster,
        peer_urls: config.peer_urls.clone(),
    }
}

/// What keeps other processes away from this member's files.
#[derive(Default)]
struct Locks {
    held: Vec<Box<dyn Send + Sync>>,
    /// Files that were not there before.
    files: Vec<PathBuf>,
    /// Directories that were not there before, those that hold others first.
    dirs: Vec<PathBuf>,
}

impl Locks {
    /// The log has a lock of its own: with `--wal-dir` two data directories could share it.
    fn take(
        &mut self,
        disk: &dyn Disk,
        home: &Path,
        wal: &Path,
        config: &Config,
    ) -> Result<(), StartError> {
        let path = config.data_dir.display().to_string();
        let in_use = StartError::InUse { path };
        self.lock(disk, home, "--data-dir", in_use)?;
        let flag = if config.wal_dir.is_some() { "--wal-dir" } else { "--data-dir" };
        let in_use = StartError::Other(format!(
            "the log directory {} is in use by another process: stop that one, or choose another \
             {flag}",
            wal.display()
        ));
        self.lock(disk, wal, flag, in_use)
    }

    fn lock(
        &mut self,
        disk: &dyn Disk,
        dir: &Path,
        flag: &str,
        in_use: StartError,
    ) -> Result<(), StartError> {
        let is_new = |path: &&Path| matches!(disk.exists(path), Ok(false));
        let mut new: Vec<_> = dir.ancestors().take_while(is_new).map(Path::to_path_buf).collect();
        new.reverse();
        self.dirs.append(&mut new);
        // Also makes the names of those that are there last.
        disk.create_dir_all(dir).map_err(|error| cannot("make directory", dir, flag, &error))?;
        let path = dir.join("lock");
        let failed = |error: io::Error| {
            if error.kind() == io::ErrorKind::WouldBlock {
                in_use
            } else {
                cannot("lock", dir, flag, &error)
            }
        };
        let is_new = matches!(disk.exists(&path), Ok(false));
        self.held.push(disk.lock(&path).map_err(failed)?);
        self.files.extend(is_new.then_some(path));
        Ok(())
    }

    /// What is refused stays as it was. Where this fails, a lock that nobody holds is left, or an
    /// empty directory; one with something in it is not removed.
    fn undo(self, disk: &dyn Disk) {
        for path in &self.files {
            disk.remove(path).ok();
        }
        for dir in self.dirs.iter().rev() {
            disk.remove_dir(dir).ok();
        }
    }
}

fn cannot(verb: &str, dir: &Path, flag: &str, error: &io::Error) -> StartError {
    let dir = dir.display();
    StartError::Other(format!(
        "{verb} {dir}: {error}{advice}; check {flag}",
        advice = base::disk::advice(error.kind())
    ))
}

fn opening(error: &OpenError, config: &Config) -> StartError {
    let Failure(text) = Failure::new(error);
    StartError::Other(format!("open data directory {}: {text}", config.data_dir.display()))
}

/// Starts the threads.
fn run(
    (config, clock, place): (Config, Arc<dyn Clock>, Place),
    opened: Opened,
    locks: Vec<Box<dyn Send + Sync>>,
) -> Result<Handle, StartError> {
    let Opened { identity, wal, backend, mut applier, mut core } = opened;
    if core.has_left() {
        return Err(StartError::Other(gone(&config)));
    }
    if core.says_farewell() {
        tracing::warn!("{}. It runs until the member that is left knows of that", gone(&config));
    }
    applier.hash_compactions(config.corruption.hash_compactions.is_some());
    let applied = applier.state().applied().index;
    let started_at = clock.wall();
    let (own, now) = (identity.member.0, started_at.0);
    let (patience, crowd_patience) = (config.request_timeout(), config.crowd_patience());
    let shared = Arc::new(Shared {
        crowd: Crowd::new(crowd_patience),
        waiters: Waiters::new(first_id(own, now), patience, crowd_patience),
        config,
        identity,
        started_at,
        reader: applier.state().reader(),
        backend,
        wal: Mutex::new(wal),
        inbox: Inbox::default(),
        barriers: Barriers::default(),
        lease_numbers: AtomicU64::new(first_id(now.cast_unsigned(), own.cast_signed())),
        apply: ApplyQueue::default(),
        place,
        receiving: AtomicBool::new(false),
        snapshots_failed: Mutex::default(),
        saves: AtomicUsize::new(0),
        runtime: tokio::runtime::Handle::try_current().ok(),
        flush: FlushSignal::default(),
        standing: Standing::default(),
        counters: Counters::default(),
        complaints: Mutex::default(),
        connections: AtomicUsize::new(0),
        network: OnceLock::new(),
        peers: OnceLock::new(),
        appends_sent: Appends::default(),
        appends_received: Appends::default(),
        published: watch::Sender::new(false),
        removed: watch::Sender::new(false),
        failed: watch::Sender::new(None),
        stopped: watch::Sender::new(false),
        fenced: watch::Sender::new(false),
        compare: watch::Sender::new(None),
        hashing: Semaphore::new(1),
        clock,
    });
    shared.set_applied(applied);
    shared.look_for_fence();
    shared.note_wal_bytes(&shared.wal.lock());
    let applier = Arc::new(Mutex::new(applier));
    let mut catch_up = None;
    core.pass_files_on(|files| Arc::clone(catch_up.insert(Arc::new(CatchUp::new(files)))) as _);
    let log = Arc::new(LogQueue::default());
    let raft = Raft::new(core, &shared, &applier, &log);
    let raft = Arc::new(Mutex::new(raft));
    tell_where_it_is(&shared);
    inbound::connect(&shared);
    spawn_all(&shared, &applier, &raft, (catch_up, locks))
        .map_err(|error| StartError::Other(format!("start a thread: {error}")))?;
    let handle = Handle { shared, raft };
    watch_over(&handle);
    Ok(handle)
}

fn gone(config: &Config) -> String {
    format!(
        "the member has been permanently removed from the cluster: remove its data directory \
         {}, add it again (etcdctl member add), and start it with --initial-cluster-state \
         existing",
        config.data_dir.display()
    )
}

/// Lets history be compacted as `--auto-compaction-mode` says, and the members be compared.
fn watch_over(handle: &Handle) {
    let shared = &handle.shared;
    let Some(runtime) = &shared.runtime else { return };
    if let Some(mode) = shared.config.auto_compaction {
        runtime.spawn(compactor::run(handle.clone(), mode));
    }
    runtime.spawn(corruption::run(handle.clone()));
}

/// A member that has moved is not found where the cluster looks for it. Of one that is started
/// without the flags of its first start this says too much, so it is no warning.
fn tell_where_it_is(shared: &Shared) {
    let members = shared.reader.members();
    let Some(own) = members.members.get(&shared.identity.member) else { return };
    let (known, advertised) = (&own.peer_urls, &shared.config.peer_urls);
    let is_same =
        known.len() == advertised.len() && known.iter().all(|url| advertised.contains(url));
    if !is_same {
        tracing::info!(
            "the cluster looks for this member at {}: if it has moved, tell it (etcdctl member \
             update {} {})",
            known.join(","),
            own.id,
            advertised.join(",")
        );
    }
}

fn spawn_all(
    shared: &Arc<Shared>,
    applier: &apply::SharedApplier,
    raft: &raft::SharedRaft,
    (catch_up, locks): (Option<Arc<CatchUp>>, Vec<Box<dyn Send + Sync>>),
) -> io::Result<()> {
    let (by_second, by_apply, by_flusher) =
        (Arc::clone(shared), Arc::clone(shared), Arc::clone(shared));
    let (driven, applier) = (Arc::clone(raft), Arc::clone(applier));
    let write_on = |files: Arc<CatchUp>| {
        let (by_shared, by_thread) = (Arc::clone(shared), Arc::clone(&files));
        let run = move || {
            catch_up::run(&by_shared, &by_thread);
            Ok(())
        };
        threads::spawn("catch-up", shared, run).map(|thread| (files, thread))
    };
    let others = Others {
        catch_up: catch_up.map(write_on).transpose()?,
        second: Some(threads::spawn("raft-2", shared, move || raft::drive(&by_second, &driven))?),
        apply: Some(threads::spawn("apply", shared, move || apply::run(&by_apply, &applier))?),
        flusher: Some(threads::spawn("flusher", shared, move || flusher::run(&by_flusher))?),
        locks,
    };
    let (by_raft, raft) = (Arc::clone(shared), Arc::clone(raft));
    threads::spawn("raft", shared, move || {
        raft::run(&by_raft, &raft, others);
        Ok(())
    })?;
    Ok(())
}

/// Where the ids of this run's proposals begin: two members, or two runs of one, begin far apart
/// with high probability.
fn first_id(member: u64, started_at: i64) -> u64 {
    // Room to count up.
    base::mix(member ^ started_at.cast_unsigned()) >> 1
}
