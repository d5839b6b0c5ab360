//! What a restored member begins with, and what is left of a restoring when the power fails.

use base::{MemberId, disk::MemDisk};
use prost::Message as _;
use proto::{
    command::{Command, Op},
    etcdserverpb::{AlarmRequest, AlarmType, alarm_request::AlarmAction},
};

use super::*;
use crate::{
    OpenError, Opened, Paths, Proposal, initial, open,
    stage::{
        carry_out, founding, holds, mem_disk, open_as, options as how, refuse, run, voters, write,
    },
};

const FILE: &str = "/saved.db";

fn place(dir: &str) -> Place {
    Place { data_dir: dir.into(), wal_dir: None }
}

fn paths(dir: &str) -> Paths {
    place(dir).paths()
}

/// A member that has written keys 1 to `count`, with an alarm. Its snapshot is saved.
fn saved(mem: &MemDisk, count: u64) -> Opened {
    let disk: Arc<dyn Disk> = Arc::new(mem.clone());
    let mut member = open_as(&disk, &founding(&[2], 9)).unwrap();
    run(&mut member);
    for id in 1..=count {
        member.core.propose(vec![write(id)]);
        carry_out(&mut member);
    }
    let alarm = AlarmRequest {
        action: AlarmAction::Activate.into(),
        member_id: 2,
        alarm: AlarmType::Nospace.into(),
    };
    let data = Command::new(count + 1, Op::Alarm(alarm)).encode_to_vec().into();
    member.core.propose(vec![Proposal { id: count + 1, data }]);
    run(&mut member);
    assert!(member.applier.state().reader().alarms().no_space());
    save(mem, &member);
    member
}

fn save(mem: &MemDisk, member: &Opened) {
    let file = mem.open(FILE.as_ref(), base::Open::Create).unwrap();
    let (mut saving, mut at) = (member.backend.save(b"a note").unwrap(), 0);
    while let Some(blob) = saving.next_blob(4 << 10).unwrap() {
        file.write_at(&blob.bytes, at).unwrap();
        at += blob.bytes.len() as u64;
    }
    file.sync().unwrap();
    mem.sync_dir("/".as_ref()).unwrap();
}

fn restored(
    disk: &Arc<dyn Disk>,
    dir: &str,
    (as_whom, bump): (&Bootstrap, u64),
) -> Result<Restored, RestoreError> {
    let to = place(dir);
    restore(disk, &Restore { from: FILE.as_ref(), skip_hash_check: false, to: &to, as_whom, bump })
}

fn opened(disk: &Arc<dyn Disk>, dir: &str) -> Result<Opened, OpenError> {
    open(disk, &paths(dir), &how(), &refuse)
}

#[test]
fn a_restored_member_has_all_keys_and_nothing_of_the_old_cluster() {
    let mem = mem_disk();
    let disk: Arc<dyn Disk> = Arc::new(mem.clone());
    let member = saved(&mem, 30);
    let (index, revision) = (
        member.applier.state().applied().index,
        member.applier.state().reader().store().revision(),
    );
    drop(member);
    let made = restored(&disk, "/r", (&founding(&[2], 77), 0)).unwrap();
    assert_eq!((made.index, made.revision), (Index(index.0 + 1), revision));
    let mut member = opened(&disk, "/r").unwrap();
    run(&mut member);
    assert!((1..=30).all(|id| holds(&member, id)));
    assert_eq!((member.identity, member.identity.member), (made.identity, MemberId(2)));
    assert_eq!(voters(&member), [2]);
    let reader = member.applier.state().reader();
    assert!(!reader.alarms().no_space());
    assert_eq!(reader.members().members[&MemberId(2)].name, "m2");
    assert!(member.core.is_alone() && member.core.can_propose());
    member.core.propose(vec![write(40)]);
    run(&mut member);
    drop(member);
    assert!(holds(&opened(&disk, "/r").unwrap(), 40));
}

#[test]
fn what_does_not_fit_is_refused_before_it_is_written() {
    let mem = mem_disk();
    let disk: Arc<dyn Disk> = Arc::new(mem.clone());
    drop(saved(&mem, 100));
    let keyspace = Path::new(crate::stage::HOME).join("keyspace");
    for (from, is_keyspace, dir) in [(Path::new(FILE), false, "/a"), (&keyspace, true, "/b")] {
        let (to, as_whom) = (&place(dir), &founding(&[2], 77));
        let what = Restore { from, skip_hash_check: is_keyspace, to, as_whom, bump: 0 };
        let bytes = mem.open(from, base::Open::Read).unwrap().len().unwrap();
        let least = if is_keyspace { bytes } else { bytes + bytes / 4 };
        mem.set_capacity(Some(mem.used() + least - 1));
        let refused = restore(&disk, &what).unwrap_err();
        let numbers = format!("would take about {least} bytes, and {} are free", least - 1);
        assert!(refused.to_string().contains(&numbers), "{refused}");
        assert!(matches!(refused, RestoreError::NoRoom { .. }));
        let home = Path::new(dir).join("member");
        assert_eq!(mem.list(&home).unwrap(), Vec::<String>::new(), "nothing is left");
        mem.set_capacity(None);
        restore(&disk, &what).unwrap();
    }
}

/// The old cluster has gone on from there; its members are strangers to those that are restored. All who
/// are restored from one snapshot know each other.
#[test]
fn what_is_restored_is_a_cluster_of_its_own_for_each_snapshot() {
    let mem = mem_disk();
    let disk: Arc<dyn Disk> = Arc::new(mem.clone());
    let mut member = saved(&mem, 3);
    let restored =
        |dir, ids| restored(&disk, dir, (&founding(ids, 77), 0)).unwrap().identity.cluster;
    let first = restored("/a", &[2, 3]);
    assert_eq!(first, restored("/b", &[2, 3]));
    assert_ne!(first.0, 77, "the id that a new cluster of theirs has, and the old one perhaps had");
    member.core.propose(vec![write(9)]);
    run(&mut member);
    mem.remove(FILE.as_ref()).unwrap();
    save(&mem, &member);
    assert_ne!(first, restored("/c", &[2, 3]));
}

/// Of what is backed up all members were removed, and would never come back.
#[test]
fn who_was_removed_from_the_old_cluster_can_be_in_the_new_one() {
    let mem = mem_disk();
    let disk: Arc<dyn Disk> = Arc::new(mem.clone());
    drop(saved(&mem, 5));
    let whom = founding(&[9], 1).identity;
    crate::backup(&disk, &place("/m"), &place("/b"), whom).unwrap();
    let (from, to, as_whom) = (Path::new("/b/member/snap/db"), place("/r"), founding(&[2], 77));
    let what = Restore { from, skip_hash_check: false, to: &to, as_whom: &as_whom, bump: 0 };
    assert!(matches!(restore(&disk, &what), Err(RestoreError::NoSum { .. })));
    let to = place("/s");
    restore(&disk, &Restore { skip_hash_check: true, to: &to, ..what }).unwrap();
    let mut member = opened(&disk, "/s").unwrap();
    run(&mut member);
    assert_eq!(voters(&member), [2]);
    assert!(!member.applier.state().reader().is_removed(MemberId(2)));
    assert!(holds(&member, 5) && member.core.can_propose());
}

#[test]
fn a_bump_raises_the_revision_and_has_a_bound() {
    let mem = mem_disk();
    let disk: Arc<dyn Disk> = Arc::new(mem.clone());
    drop(saved(&mem, 5));
    let as_whom = founding(&[3], 77);
    let made = restored(&disk, "/r", (&as_whom, 1_000)).unwrap();
    assert_eq!(made.revision, 1_006);
    let mut member = opened(&disk, "/r").unwrap();
    run(&mut member);
    let store = Arc::clone(member.applier.state().reader().store());
    assert_eq!((store.revision(), store.compacted()), (1_006, 1_006));
    assert!(holds(&member, 5));
    let bumps = [REVISION_MAX.unsigned_abs(), i64::MAX.unsigned_abs(), u64::MAX];
    for (bump, dir) in bumps.into_iter().zip(["/s1", "/s2", "/s3"]) {
        let refused = restored(&disk, dir, (&as_whom, bump)).unwrap_err();
        assert!(matches!(refused, RestoreError::Bump { revision: 6, .. }), "{refused}");
        assert!(matches!(opened(&disk, dir), Err(OpenError::Flags(_))), "it left something");
    }
}

/// The power fails in each operation in turn: what is left is the whole member, or none; and then the
/// next attempt succeeds, whatever there is.
#[test]
fn a_restoring_that_was_cut_off_is_no_member() {
    let clean = mem_disk();
    drop(saved(&clean, 40));
    let as_whom = founding(&[2, 3], 77);
    let counted = clean.fork(0);
    let before = counted.operations();
    restored(&(Arc::new(counted.clone()) as Arc<dyn Disk>), "/r", (&as_whom, 0)).unwrap();
    let operations = counted.operations() - before;
    assert!(operations > 20, "{operations}");
    let (mut whole, mut none) = (0, 0);
    for cut in 0..=operations {
        let disk = clean.fork(cut);
        let shared: Arc<dyn Disk> = Arc::new(disk.clone());
        disk.fail_after(cut);
        let done = restored(&shared, "/r", (&as_whom, 0)).is_ok();
        disk.crash();
        match opened(&shared, "/r") {
            Ok(mut member) => {
                run(&mut member);
                assert!((1..=40).all(|id| holds(&member, id)), "cut at {cut}");
                assert_eq!(voters(&member), [2, 3]);
                whole += 1;
            }
            Err(error) => {
                assert!(!done, "cut at {cut}: it was said to be done: {error}");
                none += 1;
                restored(&shared, "/r", (&as_whom, 0))
                    .unwrap_or_else(|error| panic!("again, when cut at {cut}: {error}"));
                let mut member = opened(&shared, "/r").unwrap();
                run(&mut member);
                assert!((1..=40).all(|id| holds(&member, id)), "again, when cut at {cut}");
            }
        }
    }
    assert!(whole > 0 && none > 10, "{whole} whole, {none} none");
}

/// Of two attempts the second waits for nobody, and takes nothing away; nor does one where somebody
/// else has something.
#[test]
fn only_the_rest_of_an_attempt_is_removed() {
    let mem = mem_disk();
    let disk: Arc<dyn Disk> = Arc::new(mem.clone());
    drop(saved(&mem, 5));
    let as_whom = founding(&[2], 77);
    let put = |path: &str| {
        let path = Path::new(path);
        disk.create_dir_all(path.parent().unwrap()).unwrap();
        disk.open(path, base::Open::Create).unwrap().write_at(b"x", 0).unwrap();
    };
    let is_there = |path: &str| disk.exists(path.as_ref()).unwrap();
    // A rest, with the copy that an import makes beside it, and half a segment.
    for name in ["keyspace.copy.unfinished", "nodes.copy", "lock", "wal/0000000000000001.log.tmp"] {
        put(&format!("/r/member/{name}"));
    }
    let held = disk.lock("/r/member/lock".as_ref()).unwrap();
    let error = restored(&disk, "/r", (&as_whom, 0)).unwrap_err().to_string();
    assert!(error.contains("in use by another process"), "{error}");
    assert!(is_there("/r/member/nodes.copy"), "the other attempt goes on");
    drop(held);
    restored(&disk, "/r", (&as_whom, 0)).unwrap();
    assert!(!is_there("/r/member/nodes.copy"));
    run(&mut opened(&disk, "/r").unwrap());
    for (dir, name) in [
        ("/a", "member/keyspace"),
        ("/b", "member/snap/db"),
        ("/c", "other"),
        ("/d", "member/wal/0000000000000000-0000000000000000.wal"),
        ("/e", "member/wal/syslog.log"),
        ("/f", "member/other.copy/x"),
    ] {
        put(&format!("{dir}/member/keyspace.copy"));
        put(&format!("{dir}/{name}"));
        let refused = restored(&disk, dir, (&as_whom, 0)).unwrap_err();
        let is_told = matches!(refused, RestoreError::NotEmpty { .. } | RestoreError::Write(_));
        assert!(is_told, "{name}: {refused}");
        assert!(is_there(&format!("{dir}/{name}")), "{name}");
    }
    // A log that holds something is no rest.
    put("/g/member/keyspace.copy");
    let from = mem.open("/m/member/wal/0000000000000001.log".as_ref(), base::Open::Read).unwrap();
    let mut log = vec![0; usize::try_from(from.len().unwrap()).unwrap()];
    from.read_exact_at(&mut log, 0).unwrap();
    put("/g/member/wal/0000000000000001.log");
    let to = disk.open("/g/member/wal/0000000000000001.log".as_ref(), base::Open::Write).unwrap();
    to.write_at(&log, 0).unwrap();
    let refused = restored(&disk, "/g", (&as_whom, 0)).unwrap_err();
    assert!(matches!(refused, RestoreError::NotEmpty { .. }), "{refused}");
}

/// Between the look and the lock another attempt has come to its end.
#[test]
fn who_comes_late_takes_nothing_away() {
    let mem = mem_disk();
    let disk: Arc<dyn Disk> = Arc::new(mem.clone());
    drop(saved(&mem, 5));
    let mut late = Target::new(&disk, &place("/r")).unwrap();
    restored(&disk, "/r", (&founding(&[2], 77), 0)).unwrap();
    let refused = late.make_home().unwrap_err();
    assert!(matches!(refused, BackupError::NotEmpty { .. }), "{refused}");
    late.remove();
    run(&mut opened(&disk, "/r").unwrap());
}

/// What `import` does: a keyspace of any origin.
#[test]
fn a_member_can_be_founded_on_a_keyspace_that_somebody_made() {
    let disk: Arc<dyn Disk> = Arc::new(mem_disk());
    let rows = [("a", "http://a:1"), ("b", "http://b:1")];
    let rows = rows.map(|(name, url)| (name.to_owned(), vec![url.to_owned()]));
    let own = initial::own("b", &rows).unwrap();
    let as_whom = Bootstrap::of_all(&rows, own, "token");
    let make = |path: &Path| -> Result<(), RestoreError> {
        let backend = Arc::new(Backend::open(Arc::clone(&disk), path, options())?);
        let mut state = state::State::open(Arc::clone(&backend), THIS).map_err(ApplyError::from)?;
        let at = Applied { index: Index(1), term: Term(1) };
        let put =
            Op::Put(proto::etcdserverpb::PutRequest { key: "k1".into(), ..Default::default() });
        state.apply(at, &Command::new(1, put).encode_to_vec()).map_err(ApplyError::from)?;
        flush(&backend)?;
        Ok(backend.close()?)
    };
    let made = found(&disk, &place("/r"), (&as_whom, 0), make).unwrap();
    assert_eq!((made.index, made.revision), (Index(2), 2));
    let member = opened(&disk, "/r").unwrap();
    assert_eq!(member.identity, as_whom.identity);
    assert_eq!(voters(&member).len(), 2);
}

#[test]
fn what_the_flags_say_must_make_sense() {
    let row = |name: &str, url: &str| (name.to_owned(), vec![url.to_owned()]);
    let all = [row("a", "http://a:1"), row("b", "http://b:1")];
    assert_eq!(initial::own("b", &all), Ok(&all[1]));
    assert!(initial::own("c", &all).unwrap_err().contains("lists a, b"));
    let twice = [row("a", "http://a:1"), row("b", "http://a:1")];
    assert!(initial::own("b", &twice).unwrap_err().contains("duplicate url http://a:1"));
    let same = |urls: &[&str]| {
        let urls: Vec<_> = urls.iter().map(|url| (*url).to_owned()).collect();
        initial::check_same(&all[0], &urls)
    };
    assert_eq!(same(&["http://a:1"]), Ok(()));
    assert!(same(&["http://c:1"]).unwrap_err().contains("a=http://a:1 but missing from"));
    assert!(same(&["http://a:1", "http://c:1"]).unwrap_err().contains("http://c:1 but missing"));
}
