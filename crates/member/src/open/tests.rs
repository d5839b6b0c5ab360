//! What is opened, and what is refused with advice.

use proto::command::Member;
use raft::eraftpb::{Entry as RaftEntry, EntryType, Message, MessageType};
use state::apply::membership_change::Change;

use super::*;
use crate::{
    PeerMessage, conf,
    stage::{
        self, carry_out, disk, force, founding, holds, open_as, options, paths, refuse, run,
        voters, write,
    },
};

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
    let other = Paths { keyspace: "/m/member/other".into(), ..paths() };
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
fn a_log_of_another_cluster_is_refused() {
    let disk = disk();
    run(&mut open_as(&disk, &founding(&[1], 9)).unwrap());
    lose_log(&disk);
    let mut other = paths();
    other.keyspace = "/m/member/other".into();
    run(&mut open(&disk, &other, &options(), &|| Ok(founding(&[2], 10))).unwrap());
    let refused = open_as(&disk, &founding(&[1], 9));
    let Err(OpenError::Stranger { found, cluster, .. }) = refused else { panic!("it was opened") };
    assert_eq!((found, cluster), (ClusterId(9), ClusterId(10)));
}

/// A member that joins: member 2 of the cluster that member 1 has founded.
fn joining() -> Bootstrap {
    let identity = Identity { cluster: ClusterId(9), member: MemberId(2) };
    Bootstrap { identity, members: Vec::new() }
}

/// What the leader sends to it, all committed.
fn sent(entries: &[(u64, RaftEntry)]) -> PeerMessage {
    let first = entries[0].0;
    let mut message = Message { from: 1, to: 2, term: 2, index: first - 1, ..Message::default() };
    message.log_term = u64::from(first > 1);
    message.commit = entries.last().unwrap().0;
    message.entries = entries
        .iter()
        .map(|(index, entry)| RaftEntry { index: *index, term: 1, ..entry.clone() })
        .collect();
    message.set_msg_type(MessageType::MsgAppend);
    PeerMessage(message)
}

fn changes(change: &Change) -> RaftEntry {
    let mut entry = RaftEntry { data: conf::encode(0, change), ..RaftEntry::default() };
    entry.set_entry_type(EntryType::EntryConfChange);
    entry
}

fn writes(id: u64) -> RaftEntry {
    RaftEntry { data: write(id).data, ..RaftEntry::default() }
}

fn member(id: u64) -> Member {
    Member { id, peer_urls: vec![format!("http://{id}:2380")], ..Member::default() }
}

#[test]
fn a_member_that_joins_may_stop_before_it_has_heard_of_itself() {
    let disk = disk();
    let mut joins = open_as(&disk, &joining()).unwrap();
    joins.core.receive(sent(&[(1, changes(&Change::Add(member(1)))), (2, writes(7))])).unwrap();
    run(&mut joins);
    assert!(holds(&joins, 7));
    drop(joins);
    let mut again = open(&disk, &paths(), &options(), &refuse).unwrap();
    again.core.receive(sent(&[(3, changes(&Change::Add(member(2))))])).unwrap();
    run(&mut again);
    assert_eq!(voters(&again), [1, 2]);
    drop(again);
    // Before that it has no data that a cluster could go on with, for all that it knows.
    let refused = |entries: &[(u64, RaftEntry)]| {
        let disk = stage::disk();
        let mut joins = open_as(&disk, &joining()).unwrap();
        if !entries.is_empty() {
            joins.core.receive(sent(entries)).unwrap();
        }
        run(&mut joins);
        drop(joins);
        matches!(force(&disk, &paths()), Err(OpenError::Alone(text)) if text.contains("join"))
    };
    assert!(refused(&[]));
    assert!(refused(&[(1, changes(&Change::Add(member(1))))]));
}

#[test]
fn a_learner_can_go_on_alone_and_then_it_votes() {
    let disk = disk();
    let mut learner = open_as(&disk, &joining()).unwrap();
    let (first, third) = (changes(&Change::Add(member(1))), changes(&Change::Add(member(3))));
    let learns = changes(&Change::AddLearner(member(2), 1));
    learner.core.receive(sent(&[(1, first), (2, learns), (3, third), (4, writes(7))])).unwrap();
    run(&mut learner);
    assert_eq!(voters(&learner), [1, 3]);
    drop(learner);
    let mut alone = force(&disk, &paths()).unwrap();
    run(&mut alone);
    assert_eq!(voters(&alone), [2]);
    assert!(alone.core.is_alone() && alone.core.can_propose() && holds(&alone, 7));
    let members = alone.applier.state().reader().members();
    assert_eq!(members.removed.iter().map(|id| id.0).collect::<Vec<_>>(), [1, 3]);
    assert!(members.members.values().all(|member| member.id.0 == 2 && !member.learner));
}

#[test]
fn a_member_that_was_removed_does_not_go_on_alone() {
    let disk = disk();
    let mut gone = open_as(&disk, &joining()).unwrap();
    let (first, second) = (changes(&Change::Add(member(1))), changes(&Change::Add(member(2))));
    let removal = changes(&Change::Remove(MemberId(2)));
    gone.core.receive(sent(&[(1, first), (2, second), (3, removal)])).unwrap();
    run(&mut gone);
    drop(gone);
    let refused = force(&disk, &paths());
    assert!(matches!(refused, Err(OpenError::Alone(text)) if text.contains("removed")));
}

/// A change that was refused when its turn came has changed nothing.
#[test]
fn only_changes_that_were_carried_out_count_for_who_is_there() {
    let disk = disk();
    let mut second = open_as(&disk, &joining()).unwrap();
    let taken = Member { id: 3, ..member(1) };
    let changes: Vec<_> = [Change::Add(member(1)), Change::Add(member(2)), Change::Add(taken)]
        .iter()
        .zip(1..)
        .map(|(change, index)| (index, changes(change)))
        .collect();
    second.core.receive(sent(&changes)).unwrap();
    carry_out(&mut second);
    drop(second);
    disk.remove(&paths().keyspace).unwrap();
    let known = others(&disk, &paths(), &options()).unwrap();
    assert_eq!(known, None, "without a keyspace nobody is known");
    let mut alone = force(&disk, &paths()).unwrap();
    run(&mut alone);
    let members = alone.applier.state().reader().members();
    assert_eq!(members.removed.iter().map(|id| id.0).collect::<Vec<_>>(), [1]);
    let committed = alone.core.committed();
    assert_eq!(committed, Index(5), "three changes, one removal, and the leader's own");
}

#[test]
fn the_others_are_known_before_anything_is_changed() {
    let disk = disk();
    assert_eq!(others(&disk, &paths(), &options()).unwrap(), None);
    let mut second = open_as(&disk, &joining()).unwrap();
    let (first, own) = (changes(&Change::Add(member(1))), changes(&Change::Add(member(2))));
    second.core.receive(sent(&[(1, first), (2, own)])).unwrap();
    run(&mut second);
    // Committed or not: it may be.
    let mut message = sent(&[(3, changes(&Change::Add(member(3))))]);
    message.0.commit = 2;
    second.core.receive(message).unwrap();
    carry_out(&mut second);
    drop(second);
    let others = others(&disk, &paths(), &options()).unwrap().unwrap();
    assert_eq!((others.identity, others.last), (joining().identity, (Term(1), Index(3))));
    assert_eq!(others.peer_urls, ["http://1:2380", "http://3:2380"]);
    assert_eq!(voters(&open(&disk, &paths(), &options(), &refuse).unwrap()), [1, 2]);
}

#[test]
fn force_new_cluster_leaves_one_member_that_leads() {
    let disk = disk();
    let mut one_of_three = open_as(&disk, &founding(&[2, 1, 3], 9)).unwrap();
    run(&mut one_of_three);
    assert_eq!(voters(&one_of_three), [1, 2, 3]);
    assert!(!one_of_three.core.can_propose(), "one of three elects nobody");
    drop(one_of_three);
    let mut alone = force(&disk, &paths()).unwrap();
    run(&mut alone);
    assert_eq!(voters(&alone), [2]);
    assert!(alone.core.is_alone() && alone.core.can_propose());
    drop(alone);
    // It stays so without the flag, and asking again changes nothing.
    let again = open(&disk, &paths(), &options(), &refuse).unwrap();
    assert_eq!(voters(&again), [2]);
    let last = again.core.committed();
    drop(again);
    let forced_again = force(&disk, &paths()).unwrap();
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
    let mut again = force(&disk, &paths()).unwrap();
    run(&mut again);
    assert!(holds(&again, 1));
}
