//! What a backup holds, what it refuses, and what is left of it when the power fails.

use std::fmt;

use backend::Change;
use base::{ClusterId, File, Open, disk::MemDisk};
use parking_lot::Mutex;

use super::*;
use crate::{
    Opened, Options, open,
    stage::{
        carry_out, force, founding, holds, mem_disk, open_as, options, paths, refuse, run, voters,
        write,
    },
};

const NEW: Identity = Identity { cluster: ClusterId(0xc0), member: MemberId(0xa0) };

fn place(dir: &str) -> Place {
    Place { data_dir: dir.into(), wal_dir: None }
}

fn copied() -> Paths {
    place("/b").paths()
}

fn take(disk: &Arc<dyn Disk>) -> Result<Backup, BackupError> {
    backup(disk, &place("/m"), &place("/b"), NEW)
}

/// A member of three that has written keys 1 to `count`, by itself.
fn one_of_three(disk: &Arc<dyn Disk>, count: u64) -> Opened {
    let mut member = open_as(disk, &founding(&[2], 9)).unwrap();
    run(&mut member);
    for id in 1..=count {
        member.core.propose(vec![write(id)]);
        carry_out(&mut member);
    }
    member
}

/// A disk on which something happens whenever somebody looks for, lists or opens a file.
struct Busy {
    disk: MemDisk,
    meanwhile: Mutex<Box<dyn FnMut() + Send>>,
}

impl fmt::Debug for Busy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Busy")
    }
}

fn busy(disk: &MemDisk, meanwhile: impl FnMut() + Send + 'static) -> Arc<dyn Disk> {
    Arc::new(Busy { disk: disk.clone(), meanwhile: Mutex::new(Box::new(meanwhile)) })
}

impl Disk for Busy {
    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        self.disk.create_dir_all(dir)
    }
    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let names = self.disk.list(dir);
        (self.meanwhile.lock())();
        names
    }
    fn exists(&self, path: &Path) -> io::Result<bool> {
        let exists = self.disk.exists(path);
        (self.meanwhile.lock())();
        exists
    }
    fn open(&self, path: &Path, how: Open) -> io::Result<Arc<dyn File>> {
        let file = self.disk.open(path, how);
        (self.meanwhile.lock())();
        file
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.disk.rename(from, to)
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        self.disk.remove(path)
    }
    fn remove_dir(&self, dir: &Path) -> io::Result<()> {
        self.disk.remove_dir(dir)
    }
    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.disk.sync_dir(dir)
    }
    fn free_bytes(&self, dir: &Path) -> io::Result<u64> {
        self.disk.free_bytes(dir)
    }
    fn lock(&self, path: &Path) -> io::Result<Box<dyn Send + Sync>> {
        self.disk.lock(path)
    }
    fn share(&self, path: &Path) -> io::Result<Box<dyn Send + Sync>> {
        self.disk.share(path)
    }
}

#[test]
fn a_backup_of_a_running_member_becomes_a_cluster_of_its_own_and_no_other() {
    let disk: Arc<dyn Disk> = Arc::new(mem_disk());
    // All but the first is in the log alone.
    let mut member = one_of_three(&disk, 30);
    let made = take(&disk).unwrap();
    assert_eq!(made.of, founding(&[2], 9).identity);
    assert_eq!((made.index, made.revision), (Index(32), 31));
    // The member goes on as if nothing had been.
    member.core.propose(vec![write(31)]);
    run(&mut member);
    assert!(holds(&member, 31));
    let refused = open(&disk, &copied(), &options(), &refuse);
    assert!(matches!(refused, Err(OpenError::Backup)));
    let mut alone = force(&disk, &copied()).unwrap();
    assert_eq!(alone.identity, NEW);
    run(&mut alone);
    assert_eq!(voters(&alone), [0xa0]);
    assert!(alone.core.is_alone() && alone.core.can_propose());
    assert!((1..=30).all(|id| holds(&alone, id)) && !holds(&alone, 31));
    let members = alone.applier.state().reader().members();
    assert_eq!(members.members[&MemberId(0xa0)].peer_urls, ["http://own:2380"]);
    assert!(members.removed.contains(&MemberId(2)), "who was a member never comes back");
    alone.core.propose(vec![write(40)]);
    run(&mut alone);
    drop(alone);
    // From now on it is a member as any.
    for flag in [true, false] {
        let options = Options { force_new_cluster: flag, ..options() };
        let mut again = open(&disk, &copied(), &options, &refuse).unwrap();
        run(&mut again);
        assert!(holds(&again, 40) && holds(&again, 1));
        assert_eq!(voters(&again), [0xa0]);
    }
}

#[test]
fn a_member_at_the_same_place_can_be_restored_there() {
    let disk: Arc<dyn Disk> = Arc::new(mem_disk());
    let mut founded = founding(&[2, 3], 9);
    founded.members[0].peer_urls = options().peer_urls;
    let mut member = open_as(&disk, &founded).unwrap();
    run(&mut member);
    take(&disk).unwrap();
    let mut alone = force(&disk, &copied()).unwrap();
    run(&mut alone);
    assert_eq!(voters(&alone), [0xa0]);
}

#[test]
fn a_backup_can_be_backed_up() {
    let disk: Arc<dyn Disk> = Arc::new(mem_disk());
    drop(one_of_three(&disk, 3));
    take(&disk).unwrap();
    let again = Identity { cluster: ClusterId(0xc1), member: MemberId(0xa1) };
    backup(&disk, &place("/b"), &place("/c"), again).unwrap();
    let mut alone = force(&disk, &place("/c").paths()).unwrap();
    run(&mut alone);
    assert!(holds(&alone, 3));
    assert_eq!(voters(&alone), [0xa1]);
}

/// The log is cut again and again, so that the copied keyspace and it do not meet; until the member
/// sees that it is copied.
#[test]
fn a_member_that_writes_flushes_and_cuts_its_log_meanwhile_is_backed_up_whole() {
    for heeds in [true, false] {
        let disk = mem_disk();
        let shared: Arc<dyn Disk> = Arc::new(disk.clone());
        let member = Arc::new(Mutex::new((one_of_three(&shared, 40), 40)));
        let by_backup = Arc::clone(&member);
        let busy = busy(&disk, move || {
            let (member, last) = &mut *by_backup.lock();
            for _ in 0..40 {
                *last += 1;
                member.core.propose(vec![write(*last)]);
            }
            let heeded = heeds && member.backend.heed_copies();
            run(member);
            if !heeded {
                member.wal.cut(member.backend.durable().index).unwrap();
            }
        });
        let before = member.lock().1;
        let made = take(&busy);
        if !heeds {
            let text = made.unwrap_err().to_string();
            assert!(text.contains("goes on faster than its data can be copied"), "{text}");
            assert!(is_bare(&shared, Path::new("/b")));
            continue;
        }
        let made = made.unwrap();
        let mut alone = force(&shared, &copied()).unwrap();
        run(&mut alone);
        let held = u64::try_from(made.revision - 1).unwrap();
        assert!(held >= before, "{held} keys, {before} were acknowledged before");
        assert!((1..=held).all(|id| holds(&alone, id)) && !holds(&alone, held + 1));
        let (member, last) = &mut *member.lock();
        assert!((1..=*last).all(|id| holds(member, id)), "the member has lost nothing");
    }
}

/// The member was about to take over a snapshot: its log begins behind that.
#[test]
fn a_snapshot_that_has_not_taken_its_place_yet_is_what_is_backed_up() {
    let disk: Arc<dyn Disk> = Arc::new(mem_disk());
    let mut member = one_of_three(&disk, 5);
    let from = Arc::new(mem_disk());
    let shared: Arc<dyn Disk> = from;
    let mut other = one_of_three(&shared, 60);
    run(&mut other);
    let mut export = other.backend.export();
    let applied = export.applied();
    let engine = options().backend;
    let incoming = paths().incoming();
    let mut taken = backend::Incoming::create(disk.as_ref(), &incoming, &engine).unwrap();
    while let Some(chunk) = export.next_chunk(1 << 20).unwrap() {
        taken.add(chunk).unwrap();
    }
    taken.finish(applied).unwrap();
    let hard_state = HardState { term: applied.term, vote: MemberId(0), commit: applied.index };
    member.wal.restart((applied.index, applied.term), hard_state).unwrap();
    drop(member);
    take(&disk).unwrap();
    let mut alone = force(&disk, &copied()).unwrap();
    run(&mut alone);
    assert!((1..=60).all(|id| holds(&alone, id)));
    assert!(disk.exists(&incoming).unwrap(), "what is backed up stays as it is");
}

/// Whether there is no file in it. Of this disk directories are not removed.
fn is_bare(disk: &Arc<dyn Disk>, dir: &Path) -> bool {
    let names = disk.list(dir).unwrap_or_default();
    names.iter().all(|name| {
        let path = dir.join(name);
        disk.list(&path).is_ok() && is_bare(disk, &path)
    })
}

fn refused(disk: &Arc<dyn Disk>, from: &Place, to: &Place) -> String {
    let text = backup(disk, from, to, NEW).unwrap_err().to_string();
    let is_source = to.data_dir == from.data_dir;
    assert!(is_source || is_bare(disk, &to.data_dir), "{text}");
    text
}

#[test]
fn what_cannot_be_backed_up_is_told_and_leaves_nothing() {
    let mem = mem_disk();
    let disk: Arc<dyn Disk> = Arc::new(mem.clone());
    let text = refused(&disk, &place("/m"), &place("/b1"));
    assert!(text.contains("there is no member in /m"), "{text}");
    let text = refused(&disk, &place("/nowhere"), &place("/b2"));
    assert!(text.contains("check --data-dir"), "{text}");
    // A member that joins, and has heard nothing yet.
    let joins = crate::Bootstrap { members: Vec::new(), ..founding(&[2], 9) };
    run(&mut open_as(&disk, &joins).unwrap());
    let text = refused(&disk, &place("/m"), &place("/b3"));
    assert!(text.contains("nothing of its cluster"), "{text}");

    let mem = mem_disk();
    let disk: Arc<dyn Disk> = Arc::new(mem.clone());
    run(&mut one_of_three(&disk, 300));
    let text = refused(&disk, &place("/m"), &place("/m"));
    assert!(text.contains("/m is not empty"), "{text}");
    let to = Place { wal_dir: Some("/m/member/wal".into()), ..place("/b4") };
    let text = refused(&disk, &place("/m"), &to);
    assert!(text.contains("/m/member/wal is not empty"), "{text}");
    let from = Place { wal_dir: Some("/elsewhere".into()), ..place("/m") };
    let text = refused(&disk, &from, &place("/b5"));
    assert!(text.contains("would be in /elsewhere"), "{text}");

    let rotten: Arc<dyn Disk> = {
        let rotten = mem.fork(1);
        rotten.rot(&paths().wal.join("0000000000000001.log"), 700, 1).unwrap();
        Arc::new(rotten)
    };
    let text = refused(&rotten, &place("/m"), &place("/b6"));
    assert!(text.contains("the log is damaged at byte"), "{text}");
    let rotten: Arc<dyn Disk> = {
        let rotten = mem.fork(1);
        rotten.rot(&paths().keyspace, 0, 1).unwrap();
        Arc::new(rotten)
    };
    let text = refused(&rotten, &place("/m"), &place("/b7"));
    assert!(text.contains("no keyspace"), "{text}");
    mem.set_capacity(Some(mem.used() + 100_000));
    let text = refused(&disk, &place("/m"), &place("/b8"));
    assert!(text.contains("choose another directory"), "{text}");
    mem.set_capacity(None);
    take(&disk).unwrap();
}

/// Rot anywhere in the keyspace is found, unless nothing is there.
#[test]
fn a_backup_of_rotten_data_is_refused_or_good() {
    let mem = mem_disk();
    let disk: Arc<dyn Disk> = Arc::new(mem.clone());
    run(&mut one_of_three(&disk, 300));
    let length = mem.open(&paths().keyspace, Open::Read).unwrap().len().unwrap();
    let mut rng = fastrand::Rng::with_seed(7);
    let mut found = 0;
    for _ in 0..40 {
        let rotten = mem.fork(rng.u64(..));
        let (at, xor) = (rng.u64(..length), rng.u8(1..));
        rotten.rot(&paths().keyspace, at, xor).unwrap();
        let rotten: Arc<dyn Disk> = Arc::new(rotten);
        if let Err(error) = take(&rotten) {
            assert!(error.to_string().contains("another"), "{error}");
            assert!(is_bare(&rotten, Path::new("/b")));
            found += 1;
        } else {
            let mut alone = force(&rotten, &copied()).unwrap();
            run(&mut alone);
            assert!((1..=300).all(|id| holds(&alone, id)), "byte {at}");
        }
    }
    assert!(found > 0, "nothing was found: this test shows nothing");
}

/// The power fails in each operation in turn: what is left is the whole backup, or no member.
#[test]
fn a_backup_that_was_cut_off_is_no_member() {
    let origin = mem_disk();
    let disk: Arc<dyn Disk> = Arc::new(origin.clone());
    run(&mut one_of_three(&disk, 40));
    let before = origin.operations();
    take(&disk).unwrap();
    let operations = origin.operations() - before;
    assert!(operations > 20, "{operations}");
    let clean = mem_disk();
    run(&mut one_of_three(&(Arc::new(clean.clone()) as Arc<dyn Disk>), 40));
    let (mut whole, mut none) = (0, 0);
    for cut in 0..=operations {
        let disk = clean.fork(cut);
        let shared: Arc<dyn Disk> = Arc::new(disk.clone());
        disk.fail_after(cut);
        let done = take(&shared).is_ok();
        disk.crash();
        match force(&shared, &copied()) {
            Ok(mut alone) => {
                run(&mut alone);
                assert!((1..=40).all(|id| holds(&alone, id)), "cut at {cut}");
                whole += 1;
            }
            Err(error) => {
                assert!(!done, "cut at {cut}: it was said to be done: {error}");
                none += 1;
            }
        }
        let mut member = open(&shared, &paths(), &options(), &refuse).unwrap();
        run(&mut member);
        assert!(holds(&member, 40), "cut at {cut}: the member itself");
    }
    assert!(whole > 0 && none > 10, "{whole} whole, {none} none");
}

/// Nobody was ever told of success who would miss something.
#[test]
fn a_copy_that_is_not_what_was_written_is_not_taken_for_a_backup() {
    let mem = mem_disk();
    let disk: Arc<dyn Disk> = Arc::new(mem.clone());
    drop(one_of_three(&disk, 3));
    take(&disk).unwrap();
    let as_whom = NEW;
    let mut target = Target::new(&disk, &place("/c")).unwrap();
    target.make_home().unwrap();
    let engine = options().backend;
    let left = Applied { index: Index(6), term: base::Term(2) };
    let copy = Backend::open(Arc::clone(&disk), &target.copy, engine).unwrap();
    let change = Change { table: backend::Table::Meta, key: "x".into(), value: None };
    copy.write(Some(left), vec![change]);
    flush(&copy).unwrap();
    copy.close().unwrap();
    drop(copy);
    make_log(&disk, &mut target, (as_whom, left)).unwrap();
    let check = |left, revision| {
        let checked = verify(&disk, &target, (as_whom, left, revision), &options().backend);
        checked.map_err(|error| error.to_string())
    };
    assert_eq!(check(left, 1), Ok(()));
    assert!(check(left, 2).unwrap_err().contains("ends elsewhere"));
    let other = Applied { index: Index(7), ..left };
    assert!(check(other, 1).unwrap_err().contains("ends elsewhere"));
}
