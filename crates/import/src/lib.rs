//! The original's own data becomes the data of a member of ours.
//!
//! Read are snapshots of etcd 3 (`.db`), data directories of etcd 3, also with `--enable-v2`, and
//! data directories and backups of etcd 2. All are left as they are. What is made of them is a
//! keyspace with the original's revisions, leases, v2 indexes, users and roles, in the data directory of
//! a new cluster's member ([`member::found`]).
//!
//! - `source`: what was given; `db`, through `bolt`: what etcd 3 keeps on disk; `snap`: the v2 store
//! - `log`: what came after both, entry by entry; `messages`: the original's own
//! - `nodes`: the v2 store, brought up to the end of the log
//! - `building`: the keyspace that is made; `replay`: the log carried out on it, by the original's
//!   rules (`alarms`, `auth`); `merge`: both number spaces become one, and in `auth` both sets of users

mod alarms;
mod auth;
mod bolt;
mod building;
mod db;
mod error;
#[cfg(feature = "fuzzing")]
#[allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "of tests, and of what libFuzzer runs: there to panic"
)]
pub mod fuzzing;
mod log;
mod merge;
mod messages;
mod nodes;
mod replay;
#[cfg(any(test, feature = "fuzzing"))]
#[allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "of tests, and of what libFuzzer runs: there to panic"
)]
mod samples;
mod snap;
mod source;
#[cfg(test)]
mod tests;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use base::Disk;
use member::{Bootstrap, Place};
use state::auth::{Auth, Parts};

pub use crate::{
    auth::Note,
    error::{Damage, ImportError, Names},
};
use crate::{building::Building, db::Db, log::Log, nodes::Nodes, source::Source};

/// What to import, and as whom.
#[derive(Debug)]
pub struct Import<'a> {
    /// A snapshot's file, a data directory, or a backup.
    pub from: &'a Path,
    /// Where the log is, if not in there.
    pub from_wal: Option<&'a Path>,
    pub to: &'a Place,
    /// The initial members of the new cluster, and which one of them this is.
    pub as_whom: &'a Bootstrap,
    /// What stays where v2 and v3 have the same name: of keys, users and roles.
    pub prefer: Option<Prefer>,
    /// Leaves users, roles and permissions behind.
    pub without_auth: bool,
}

/// What stays where v2 and v3 have the same name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Prefer {
    V2,
    V3,
}

/// How far it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    pub stage: Stage,
    pub done: u64,
    pub total: u64,
}

/// What is being done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// The checksum of a snapshot; in bytes.
    Checking,
    /// Keys; in pages.
    Keys,
    /// What the log holds; in entries.
    Log,
    /// Nodes of v2; in indexes.
    Nodes,
}

/// What was imported.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Imported {
    /// Keys that are there, for v2 and v3 alike.
    pub keys: u64,
    /// Directories of v2.
    pub dirs: u64,
    /// What happened to keys and directories, as far as history goes.
    pub records: u64,
    pub leases: u64,
    /// Of the keys and directories, those that v2 wrote where v3 has written too.
    pub nodes: u64,
    /// Nodes of v2 that were left out, since v3 has their names.
    pub left_out: u64,
    /// What clients have written according to the log, and the files did not have yet.
    pub entries: u64,
    /// Of these, the last ones, which nobody knows to be committed.
    pub uncommitted: u64,
    /// The highest revision.
    pub revision: i64,
    /// The oldest revision that can be read; -1: all.
    pub compacted: i64,
    /// The log ended in a record that was never written whole.
    pub torn: bool,
    /// A snapshot had a checksum, and it is right.
    pub checked: bool,
    pub users: u64,
    pub roles: u64,
    /// Everybody is asked who he is.
    pub auth_enabled: bool,
    /// What the original's log has of writes that it refused, since nobody was permitted to make them.
    pub refused: u64,
    /// What of users and permissions is not as it was.
    pub notes: Vec<Note>,
}

/// Makes the data directory of a member of a new cluster with what the original left.
///
/// Every initial member is to be given the same source. What a failure leaves is removed; what an
/// interruption leaves is no member.
pub fn import(
    disk: &Arc<dyn Disk>,
    what: &Import<'_>,
    told: &mut dyn FnMut(Progress),
) -> Result<Imported, ImportError> {
    let source = Source::find(disk, what.from, what.from_wal)?;
    let mut imported = Imported::default();
    member::found(disk, what.to, (what.as_whom, 0), |keyspace| {
        let aside = keyspace.with_file_name("nodes.copy");
        let made = Making { disk, what, told, keyspace, aside: &aside }.make(&source);
        backend::discard(disk.as_ref(), &aside)?;
        imported = made?;
        Ok::<_, ImportError>(())
    })?;
    Ok(imported)
}

/// An import under way.
struct Making<'a> {
    disk: &'a Arc<dyn Disk>,
    what: &'a Import<'a>,
    told: &'a mut dyn FnMut(Progress),
    /// Where the keyspace is made.
    keyspace: &'a Path,
    /// Where that of the v2 store is, meanwhile.
    aside: &'a Path,
}

impl Making<'_> {
    fn make(&mut self, source: &Source) -> Result<Imported, ImportError> {
        let mut imported = Imported::default();
        let building = match source {
            Source::File(path) => self.file(path, &mut imported)?,
            Source::Dir { snap, wal } => self.dir(snap, wal, &mut imported)?,
        };
        let reader = building.state().reader();
        let usage = reader.store().usage();
        imported.keys = usage.live_records - imported.dirs;
        imported.records = usage.live_records + usage.history_records;
        imported.leases = reader.leases().len() as u64;
        imported.revision = building.revision();
        imported.compacted = reader.store().compacted();
        drop(reader);
        building.finish()?;
        Ok(imported)
    }

    fn tell(&mut self, stage: Stage, done: u64, total: u64) {
        (self.told)(Progress { stage, done, total });
    }

    /// A bbolt file alone.
    fn file(&mut self, path: &Path, imported: &mut Imported) -> Result<Building, ImportError> {
        let _shared = share(self.disk, path)?;
        let told = &mut *self.told;
        let mut tell = |done, total| told(Progress { stage: Stage::Checking, done, total });
        imported.checked = db::check_sum(self.disk.as_ref(), path, &mut tell)?;
        let db = Db::open(self.disk.as_ref(), path)?;
        let mut building = Building::create(self.disk, self.keyspace)?;
        self.load(&db, &mut building)?;
        let v3 = db.auth(&mut imported.notes)?;
        self.take_auth(&mut building, (v3, Parts::default()), imported)?;
        Ok(building)
    }

    /// Users and roles of both, unless they are to be left behind.
    fn take_auth(
        &self,
        building: &mut Building,
        (v3, v2): (Auth, Parts),
        imported: &mut Imported,
    ) -> Result<(), ImportError> {
        if self.what.without_auth {
            imported.notes.clear();
            return Ok(());
        }
        if v2.enabled && !v3.is_enabled() {
            imported.notes.push(Note::V3AsksToo);
        } else if v3.is_enabled() && !v2.enabled && imported.nodes > 0 {
            imported.notes.push(Note::V2AsksToo);
        }
        let all = auth::merged(v3, v2, self.what.prefer)?;
        imported.users = all.users().count() as u64;
        imported.roles = all.roles().count() as u64;
        imported.auth_enabled = all.is_enabled();
        building.load_auth(all)
    }

    /// All that etcd 3 has on disk.
    fn load(&mut self, db: &Db, into: &mut Building) -> Result<(), ImportError> {
        let mut history = db.history()?;
        let mut shown = 0;
        while let Some(records) = history.next_revision()? {
            into.load(records)?;
            if history.visited() != shown {
                shown = history.visited();
                self.tell(Stage::Keys, shown, db.pages());
            }
        }
        self.tell(Stage::Keys, db.pages(), db.pages());
        into.stand(db.standing(history.last))?;
        replay::leases(db, into)
    }

    /// A data directory.
    fn dir(
        &mut self,
        snap_dir: &Path,
        wal: &Path,
        imported: &mut Imported,
    ) -> Result<Building, ImportError> {
        let disk = self.disk;
        let file = snap_dir.join("db");
        let exists = disk.exists(&file).map_err(|error| Damage::io("look for", &file, &error))?;
        let _shared = if exists { share(disk, &file)? } else { None };
        let snap = snap::newest(disk, snap_dir)?;
        let before = snap.as_ref().map_or(0, |snap| snap.index);
        let mut log = Log::read(disk, wal, before)?;
        imported.torn = log.torn;
        let db = if exists { Some(self.db(&file, snap_dir, before)?) } else { None };
        if let Some(db) = &db {
            if db.consistent_index > log.last() && !db.has_members {
                return Err(ImportError::Shifted(wal.to_path_buf()));
            }
            if db.consistent_index > log.last() {
                let what = format!(
                    "it has entry {}, but the log ends at {}: they are not of one member, or the \
                     log was cut off",
                    db.consistent_index,
                    log.last()
                );
                return Err(Damage::new(file, what).into());
            }
        }
        let mut building = Building::create(disk, self.keyspace)?;
        if let Some(db) = &db {
            self.load(db, &mut building)?;
        }
        let mut nodes = Nodes::open(disk, self.aside, snap.as_ref(), snap_dir)?;
        let from = before + 1..=log.last();
        nodes.refuses_updates_of_dirs = db.as_ref().is_some_and(|db| db.has_term);
        // What the keys hold was committed, whether the log says so or not.
        let committed = log.commit.max(db.as_ref().map_or(0, |db| db.consistent_index));
        let mut replay = replay::Replay::new(db.as_ref(), &mut building, &mut nodes)?;
        let mut certain = 0;
        for index in from {
            self.tell(Stage::Log, index - before, log.last() - before);
            if let Some(entry) = log.entry(index)? {
                replay.carry_out(&entry, wal)?;
            }
            if index <= committed {
                certain = replay.entries;
            }
        }
        imported.entries = replay.entries;
        imported.uncommitted = replay.entries - certain;
        imported.refused = replay.refused;
        imported.notes = replay.notes;
        let v3 = replay.auth;
        self.merge((&mut building, db.is_some()), &mut nodes, imported)?;
        let v2 = nodes.auth(&mut imported.notes)?;
        self.take_auth(&mut building, (v3, v2), imported)?;
        nodes.finish()?;
        Ok(building)
    }

    /// The file that goes on from the snapshot: that of a snapshot which a leader sent, if its member
    /// was killed before it had taken its place.
    fn db(&self, file: &Path, snap_dir: &Path, before: u64) -> Result<Db, ImportError> {
        let db = Db::open(self.disk.as_ref(), file)?;
        if db.consistent_index >= before {
            return Ok(db);
        }
        let sent: PathBuf = snap_dir.join(format!("{before:016x}.snap.db"));
        if self.disk.exists(&sent).map_err(|error| Damage::io("look for", &sent, &error))? {
            return Ok(Db::open(self.disk.as_ref(), &sent)?);
        }
        // It was made by a build that did not write it down, or never written to.
        if db.consistent_index == 0 {
            return Ok(db);
        }
        let what = format!(
            "it ends at entry {}, but the snapshot beside it at {before}: they are not of one member",
            db.consistent_index
        );
        Err(Damage::new(file.to_path_buf(), what).into())
    }
}

/// The original has its file for itself alone, as long as it runs.
fn share(disk: &Arc<dyn Disk>, file: &Path) -> Result<Option<Box<dyn Send + Sync>>, ImportError> {
    match disk.share(file) {
        Ok(guard) => Ok(Some(guard)),
        Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
            Err(ImportError::Runs(file.to_path_buf()))
        }
        // It may lie where nothing can be locked.
        Err(_) => Ok(None),
    }
}
