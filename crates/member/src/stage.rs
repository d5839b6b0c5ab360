//! Members for tests, and a shell in its simplest form.

use std::{path::Path, sync::Arc};

use base::{ClusterId, Disk, MemberId, disk::MemDisk};
use proto::command::{Command, KeysWrite, Member, Op};
use wal::Identity;

use crate::{Bootstrap, Config, OpenError, Opened, Options, Paths, Proposal, open};

pub(crate) const HOME: &str = "/m/member";

pub(crate) fn paths() -> Paths {
    Paths::of(Path::new("/m"), None)
}

pub(crate) fn options() -> Options {
    Options {
        wal: wal::Options { segment_bytes: 4 << 10 },
        backend: backend::Options { cache_bytes: 1 << 20 },
        core: Config {
            build: base::version::THIS,
            name: "one".to_owned(),
            client_urls: Vec::new(),
            election_ticks: 10,
            heartbeat_ticks: 1,
            answer_ticks: 70,
            run: 1,
            quota_bytes: 1 << 30,
            compacts: true,
            lease_grace: std::time::Duration::from_secs(1),
            lease_checkpoints: base::limits::LEASE_CHECKPOINT_INTERVAL,
            catch_up_entries: 5_000,
            catch_up_bytes: base::limits::CATCH_UP_BYTES_MAX,
        },
        force_new_cluster: false,
        peer_urls: vec!["http://own:2380".to_owned()],
    }
}

/// A cluster of these members, for the first of them.
pub(crate) fn founding(members: &[u64], cluster: u64) -> Bootstrap {
    let member = |id: &u64| Member { id: *id, name: format!("m{id}"), ..Member::default() };
    Bootstrap {
        identity: Identity { cluster: ClusterId(cluster), member: MemberId(members[0]) },
        members: members.iter().map(member).collect(),
    }
}

pub(crate) fn mem_disk() -> MemDisk {
    let disk = MemDisk::new(1);
    disk.create_dir_all(HOME.as_ref()).unwrap();
    disk
}

pub(crate) fn disk() -> Arc<dyn Disk> {
    Arc::new(mem_disk())
}

pub(crate) fn open_as(disk: &Arc<dyn Disk>, bootstrap: &Bootstrap) -> Result<Opened, OpenError> {
    open(disk, &paths(), &options(), &|| Ok(bootstrap.clone()))
}

/// For those who have a member already.
pub(crate) fn refuse() -> Result<Bootstrap, String> {
    Err("nobody should ask".to_owned())
}

/// Opens with `--force-new-cluster`.
pub(crate) fn force(disk: &Arc<dyn Disk>, paths: &Paths) -> Result<Opened, OpenError> {
    let forced = Options { force_new_cluster: true, ..options() };
    open(disk, paths, &forced, &refuse)
}

/// Carries out everything until nothing is left, and flushes.
pub(crate) fn run(member: &mut Opened) {
    carry_out(member);
    member.backend.flush().unwrap();
}

/// Carries out everything until nothing is left.
pub(crate) fn carry_out(member: &mut Opened) {
    while let Some(effects) = member.core.step() {
        if let Some(append) = effects.append {
            member.wal.append(append.hard_state, &append.entries).unwrap();
            member.wal.sync().unwrap();
            member.core.persisted(append.ticket).unwrap();
        }
        if !effects.apply.is_empty() {
            let batch = member.applier.apply(&effects.apply).unwrap();
            member.core.applied(batch.progress).unwrap();
        }
    }
}

pub(crate) fn write(id: u64) -> Proposal {
    let path = format!("/k{id}");
    let op = KeysWrite { path: path.into(), value: "v".into(), ..KeysWrite::default() };
    let command = Command::new(id, Op::Keys(op));
    Proposal { id, data: prost::Message::encode_to_vec(&command).into() }
}

pub(crate) fn holds(member: &Opened, id: u64) -> bool {
    let reader = member.applier.state().reader();
    let found = reader.store().get(mvcc::Kind::Key, format!("/k{id}").as_bytes(), 0);
    found.unwrap().is_some()
}

pub(crate) fn voters(member: &Opened) -> Vec<u64> {
    member.applier.configuration().state().voters
}
