//! What is opened, and what is refused with advice.

use base::{ClusterId, disk::MemDisk};
use proto::command::{Command, KeysWrite, Member, Op};

use super::*;
use crate::Proposal;

const HOME: &str = "/m";

fn paths() -> Paths {
    Paths { wal: "/m/wal".into(), keyspace: "/m/keyspace".into() }
}

fn options() -> Options {
    Options {
        wal: wal::Options { segment_bytes: 4 << 10 },
        backend: backend::Options { cache_bytes: 1 << 20 },
        core: Config {
            build: base::version::THIS,
            name: "one".to_owned(),
            client_urls: Vec::new(),
            election_ticks: 10,
            heartbeat_ticks: 1,
            run: 1,
            quota_bytes: 1 << 30,
            compacts: true,
            lease_grace: std::time::Duration::from_secs(1),
            catch_up_entries: 5_000,
        },
        force_new_cluster: false,
    }
}

/// A cluster of these members, for the first of them.
fn founding(members: &[u64], cluster: u64) -> Bootstrap {
    let member = |id: &u64| Member { id: *id, name: format!("m{id}"), ..Member::default() };
    Bootstrap {
        identity: Identity { cluster: ClusterId(cluster), member: MemberId(members[0]) },
        members: members.iter().map(member).collect(),
    }
}

fn disk() -> Arc<dyn Disk> {
    let disk = MemDisk::new(1);
    disk.create_dir_all(HOME.as_ref()).unwrap();
    Arc::new(disk)
}

fn open_as(disk: &Arc<dyn Disk>, bootstrap: &Bootstrap) -> Result<Opened, OpenError> {
    open(disk, &paths(), &options(), &|| Ok(bootstrap.clone()))
}

/// Carries out everything until nothing is left, and flushes.
fn run(member: &mut Opened) {
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
    member.backend.flush().unwrap();
}

fn write(id: u64) -> Proposal {
    let path = format!("/k{id}");
    let op = KeysWrite { path: path.into(), value: "v".into(), ..KeysWrite::default() };
    let command = Command::new(id, Op::Keys(op));
    Proposal { id, data: prost::Message::encode_to_vec(&command).into() }
}

fn holds(member: &Opened, id: u64) -> bool {
    let reader = member.applier.state().reader();
    let found = reader.store().get(mvcc::Kind::Key, format!("/k{id}").as_bytes(), 0);
    found.unwrap().is_some()
}

fn voters(member: &Opened) -> Vec<u64> {
    member.applier.configuration().state().voters
}

#[test]
fn a_member_is_founded_once_and_then_the_flags_do_not_matter() {
    let disk = disk();
    assert!(!exists(&disk, &paths()).unwrap());
    let mut first = open_as(&disk, &founding(&[1], 9)).unwrap();
    run(&mut first);
    assert!(first.core.is_alone() && first.core.can_propose());
    drop(first);
    assert!(exists(&disk, &paths()).unwrap());
    assert!(!knows_nobody(&disk, &paths(), options().backend).unwrap());
    let refuse = || Err("nobody should ask".to_owned());
    let again = open(&disk, &paths(), &options(), &refuse).unwrap();
    assert_eq!(again.identity, founding(&[1], 9).identity);
    assert_eq!(voters(&again), [1]);
}

#[test]
fn wrong_flags_leave_no_member_behind() {
    let disk = disk();
    let refuse = || Err("the flags are wrong".to_owned());
    let refused = open(&disk, &paths(), &options(), &refuse);
    assert!(matches!(refused, Err(OpenError::Flags(text)) if text == "the flags are wrong"));
    assert!(!exists(&disk, &paths()).unwrap());
}

#[test]
fn what_others_left_in_the_directory_of_the_log_is_no_member() {
    let disk = disk();
    disk.create_dir_all(&paths().wal.join("lost+found")).unwrap();
    assert!(!exists(&disk, &paths()).unwrap());
}

#[test]
fn a_member_that_joined_knows_nobody_until_something_comes() {
    let disk = disk();
    let joining = Bootstrap { members: Vec::new(), ..founding(&[1], 9) };
    drop(open_as(&disk, &joining).unwrap());
    assert!(exists(&disk, &paths()).unwrap());
    assert!(knows_nobody(&disk, &paths(), options().backend).unwrap());
}

#[test]
fn a_log_without_its_keyspace_is_a_member_once_its_first_batch_is_there() {
    let disk = disk();
    drop(open_as(&disk, &founding(&[1], 9)).unwrap());
    disk.remove(&paths().keyspace).unwrap();
    assert!(exists(&disk, &paths()).unwrap());
}

#[test]
fn a_founding_that_was_cut_short_goes_on_with_the_same_flags_only() {
    let disk = disk();
    let identity = founding(&[1], 9).identity;
    drop(Wal::create(Arc::clone(&disk), &paths().wal, identity, options().wal).unwrap());
    assert!(!exists(&disk, &paths()).unwrap());
    let other = open_as(&disk, &founding(&[2], 9));
    assert!(matches!(other, Err(OpenError::OtherBeginnings { .. })));
    let mut same = open_as(&disk, &founding(&[1], 9)).unwrap();
    run(&mut same);
    assert_eq!(voters(&same), [1]);
}

fn lose_log(disk: &Arc<dyn Disk>) {
    for name in disk.list(&paths().wal).unwrap() {
        disk.remove(&paths().wal.join(name)).unwrap();
    }
}

/// Whatever is in the keyspace, the log may have held more: founding another member would hide
/// that it is gone.
#[test]
fn a_keyspace_without_its_log_is_refused() {
    for has_run in [true, false] {
        let disk = disk();
        let mut member = open_as(&disk, &founding(&[1], 9)).unwrap();
        if has_run {
            run(&mut member);
        }
        drop(member);
        lose_log(&disk);
        for _ in 0..2 {
            let refused = open_as(&disk, &founding(&[1], 9));
            let Err(OpenError::LogLost { applied, .. }) = refused else { panic!("it was opened") };
            assert_eq!(applied > Index(0), has_run);
            // Nor does it help that a log was begun.
            let identity = founding(&[1], 9).identity;
            if disk.list(&paths().wal).unwrap().is_empty() {
                drop(
                    Wal::create(Arc::clone(&disk), &paths().wal, identity, options().wal).unwrap(),
                );
            }
        }
    }
}

#[test]
fn a_keyspace_ahead_of_the_log_is_refused() {
    let disk = disk();
    let mut member = open_as(&disk, &founding(&[1], 9)).unwrap();
    run(&mut member);
    for id in 1..=10 {
        member.core.propose(vec![write(id)]);
        run(&mut member);
    }
    drop(member);
    lose_log(&disk);
    let other = Paths { keyspace: "/m/other".into(), ..paths() };
    run(&mut open(&disk, &other, &options(), &|| Ok(founding(&[1], 9))).unwrap());
    let refused = open_as(&disk, &founding(&[1], 9));
    let Err(OpenError::Ahead { applied, .. }) = refused else { panic!("it was opened") };
    assert!(applied > Index(10));
}

#[test]
fn a_keyspace_behind_the_log_is_refused() {
    let disk = disk();
    let mut member = open_as(&disk, &founding(&[1], 9)).unwrap();
    run(&mut member);
    for id in 1..=100 {
        member.core.propose(vec![write(id)]);
        run(&mut member);
    }
    member.wal.cut(member.backend.durable().index).unwrap();
    drop(member);
    disk.remove(&paths().keyspace).unwrap();
    let refused = open_as(&disk, &founding(&[1], 9));
    assert!(matches!(refused, Err(OpenError::Behind { applied: Index(0), .. })));
}

#[test]
fn a_log_of_another_member_is_refused() {
    let disk = disk();
    run(&mut open_as(&disk, &founding(&[1], 9)).unwrap());
    lose_log(&disk);
    let mut other = paths();
    other.keyspace = "/m/other".into();
    run(&mut open(&disk, &other, &options(), &|| Ok(founding(&[2], 9))).unwrap());
    let refused = open_as(&disk, &founding(&[1], 9));
    assert!(matches!(refused, Err(OpenError::Stranger { member: MemberId(2), .. })));
}

#[test]
fn force_new_cluster_leaves_one_member_that_leads() {
    let disk = disk();
    let mut one_of_three = open_as(&disk, &founding(&[2, 1, 3], 9)).unwrap();
    run(&mut one_of_three);
    assert_eq!(voters(&one_of_three), [1, 2, 3]);
    assert!(!one_of_three.core.can_propose(), "one of three elects nobody");
    drop(one_of_three);
    let forced = Options { force_new_cluster: true, ..options() };
    let refuse = || Err("nobody should ask".to_owned());
    let mut alone = open(&disk, &paths(), &forced, &refuse).unwrap();
    run(&mut alone);
    assert_eq!(voters(&alone), [2]);
    assert!(alone.core.is_alone() && alone.core.can_propose());
    drop(alone);
    // It stays so without the flag, and asking again changes nothing.
    let again = open(&disk, &paths(), &options(), &refuse).unwrap();
    assert_eq!(voters(&again), [2]);
    let last = again.core.committed();
    drop(again);
    let forced_again = open(&disk, &paths(), &forced, &refuse).unwrap();
    assert_eq!(forced_again.core.committed(), last);
}

#[test]
fn force_new_cluster_keeps_what_was_acknowledged() {
    let disk = disk();
    let mut alone = open_as(&disk, &founding(&[1], 9)).unwrap();
    run(&mut alone);
    // The log does not say of its last batch that it is committed; the next one would.
    alone.core.propose(vec![write(1)]);
    run(&mut alone);
    assert!(holds(&alone, 1));
    drop(alone);
    // Nothing of it is in the keyspace.
    disk.remove(&paths().keyspace).unwrap();
    let forced = Options { force_new_cluster: true, ..options() };
    let refuse = || Err("nobody should ask".to_owned());
    let mut again = open(&disk, &paths(), &forced, &refuse).unwrap();
    run(&mut again);
    assert!(holds(&again, 1));
}
