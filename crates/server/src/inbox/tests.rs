//! The inbox: its bounds, and whom it wakes.

use super::{
    Urgency::{Urgent, Usual},
    *,
};

const ALL: Option<usize> = Some(BATCH_BYTES_MAX);
const LATER: Duration = Duration::from_secs(7);

fn proposal(id: u64, bytes: usize) -> Proposal {
    Proposal { id, data: vec![0; bytes].into() }
}

fn ids(work: &Work) -> Vec<u64> {
    work.proposals.iter().map(|proposal| proposal.id).collect()
}

#[test]
fn proposals_beyond_the_bounds_are_refused_at_once() {
    let inbox = Inbox::default();
    for id in 0..limits::PROPOSALS_WAITING_MAX as u64 {
        inbox.propose(proposal(id, 1), Usual, LATER).unwrap();
    }
    assert_eq!(inbox.propose(proposal(0, 1), Usual, LATER), Err(Unserved::TooManyRequests));
    // What ends a lease has a place of its own, which has an end too.
    for id in 0..limits::URGENT_PROPOSALS_WAITING_MAX as u64 {
        inbox.propose(proposal(id, 1), Urgent, LATER).unwrap();
    }
    assert_eq!(inbox.propose(proposal(0, 1), Urgent, LATER), Err(Unserved::TooManyRequests));

    let inbox = Inbox::default();
    inbox.propose(proposal(1, limits::PROPOSAL_BYTES_WAITING_MAX), Usual, LATER).unwrap();
    assert_eq!(inbox.propose(proposal(2, 1), Usual, LATER), Err(Unserved::TooManyRequests));
    assert_eq!(ids(&inbox.take(ALL, Duration::ZERO)), [1]);
    inbox.propose(proposal(2, 1), Usual, LATER).unwrap();
}

#[test]
fn a_batch_is_bounded_in_bytes_and_keeps_the_order() {
    let inbox = Inbox::default();
    for id in 1..=3 {
        inbox.propose(proposal(id, BATCH_BYTES_MAX / 2), Usual, LATER).unwrap();
    }
    assert_eq!(ids(&inbox.take(ALL, Duration::ZERO)), [1, 2]);
    assert_eq!(ids(&inbox.take(ALL, Duration::ZERO)), [3]);
}

#[test]
fn proposals_wait_for_a_leader() {
    let inbox = Inbox::default();
    inbox.propose(proposal(1, 1), Usual, LATER).unwrap();
    assert!(inbox.take(None, Duration::ZERO).proposals.is_empty());
    assert_eq!(ids(&inbox.take(ALL, Duration::ZERO)), [1]);
}

/// The client has been told that it took too long, and others may have written since.
#[test]
fn a_proposal_whose_time_is_over_is_not_carried_out() {
    let inbox = Inbox::default();
    let second = Duration::from_secs(1);
    inbox.propose(proposal(1, limits::PROPOSAL_BYTES_WAITING_MAX), Usual, LATER).unwrap();
    assert!(inbox.take(None, second).proposals.is_empty());
    assert!(inbox.take(None, LATER).proposals.is_empty());
    inbox.propose(proposal(2, 1), Usual, LATER + second).expect("room again");
    inbox.propose(proposal(3, 1), Usual, LATER + 2 * second).unwrap();
    assert_eq!(ids(&inbox.take(ALL, LATER + second)), [3]);
}

#[test]
fn what_comes_back_is_the_first_to_go_and_keeps_its_deadline() {
    let inbox = Inbox::default();
    let second = Duration::from_secs(1);
    inbox.propose(proposal(3, 1), Usual, LATER + second).unwrap();
    inbox.put_back(vec![(proposal(1, 1), second), (proposal(2, 1), LATER)]);
    assert_eq!(ids(&inbox.take(ALL, second)), [2, 3]);
    inbox.propose(proposal(4, limits::PROPOSAL_BYTES_WAITING_MAX), Usual, LATER).unwrap();
}

/// They are many, and what is urgent cannot wait until they have found a leader.
#[test]
fn what_comes_back_takes_nobodys_place() {
    let inbox = Inbox::default();
    let many = 0..2 * limits::PROPOSALS_WAITING_MAX as u64;
    inbox.put_back(many.map(|id| (proposal(id, 1), LATER)).collect());
    let large = proposal(100_000, limits::PROPOSAL_BYTES_WAITING_MAX);
    inbox.put_back(vec![(large, LATER)]);
    inbox.propose(proposal(200_000, 1), Usual, LATER).unwrap();
    inbox.propose(proposal(200_001, 1), Urgent, LATER).unwrap();
}

/// What was not taken comes back with what was lost, which is older.
#[test]
fn what_comes_back_waits_in_the_order_in_which_it_was_asked_for() {
    let inbox = Inbox::default();
    let second = Duration::from_secs(1);
    inbox.put_back(vec![(proposal(4, 1), 4 * second), (proposal(2, 1), 2 * second)]);
    inbox.put_back(vec![(proposal(3, 1), 3 * second), (proposal(1, 1), second)]);
    assert_eq!(ids(&inbox.take(ALL, 2 * second)), [3, 4]);
}

#[test]
fn a_change_of_the_members_waits_for_a_leader() {
    let inbox = Inbox::default();
    inbox.change(7, Change::Remove(MemberId(1))).unwrap();
    assert!(inbox.take(None, Duration::ZERO).changes.is_empty());
    let asleep = Duration::from_hours(1);
    inbox.expect(true, false);
    inbox.wait(asleep);
    let mut taken = inbox.take(ALL, Duration::ZERO).changes;
    let (id, change) = taken.pop().expect("it can be proposed now");
    assert_eq!((id, taken.len()), (7, 0));
    inbox.put_change_back(7, change);
    assert_eq!(inbox.give_up(), [7]);
}

#[test]
fn a_proposal_that_woke_nobody_is_found_by_the_next_wait() {
    let inbox = Inbox::default();
    inbox.expect(false, false);
    inbox.propose(proposal(1, 1), Usual, LATER).unwrap();
    let asleep = Duration::from_hours(1);
    inbox.expect(true, false);
    inbox.wait(asleep);
    assert_eq!(ids(&inbox.take(ALL, Duration::ZERO)), [1]);
}

fn message(kind: u8) -> PeerMessage {
    PeerMessage::from_bytes(&[8, kind]).unwrap()
}

const APPEND: u8 = 3;
const APPEND_ANSWER: u8 = 4;
const HEARTBEAT: u8 = 8;

#[test]
fn appends_and_their_answers_wake_nobody_while_they_gather() {
    for kind in [APPEND, APPEND_ANSWER] {
        let inbox = Inbox::default();
        inbox.expect(true, true);
        inbox.receive(message(kind), 2);
        assert!(!inbox.queue.lock().has_work());
        inbox.expect(true, false);
        assert!(inbox.queue.lock().has_work(), "they do not any more");
        assert_eq!(inbox.take(ALL, Duration::ZERO).messages.len(), 1);

        inbox.expect(true, true);
        inbox.receive(message(kind), 2);
        inbox.receive(message(HEARTBEAT), 2);
        assert!(inbox.queue.lock().has_work(), "a heartbeat does not wait");
        // In the order in which they came.
        let taken = inbox.take(ALL, Duration::ZERO).messages;
        assert_eq!(taken, [message(kind), message(HEARTBEAT)]);
        assert!(!inbox.queue.lock().has_work());
    }
}

/// Whoever goes to the disk has been woken, perhaps, for what came meanwhile; the other one sleeps.
#[test]
fn what_is_passed_on_wakes_the_other_thread() {
    let inbox = Inbox::default();
    let asleep = Duration::from_hours(1);
    for _ in 0..100 {
        inbox.expect(false, false);
        inbox.propose(proposal(1, 1), Usual, LATER).unwrap();
        std::thread::scope(|scope| {
            let other = scope.spawn(|| {
                inbox.wait(asleep);
                inbox.take(ALL, Duration::ZERO)
            });
            drop(inbox.take(None, Duration::ZERO));
            inbox.expect(true, false);
            inbox.pass_on();
            assert_eq!(ids(&other.join().unwrap()), [1]);
        });
    }
}

#[test]
fn nothing_is_passed_on_where_nothing_waits() {
    let inbox = Inbox::default();
    inbox.expect(true, true);
    inbox.receive(message(APPEND), 2);
    inbox.pass_on();
    assert!(!inbox.queue.lock().urgent);
}

/// It would find the lock around the core taken.
#[test]
fn nobody_is_woken_for_what_a_thread_will_find_by_itself() {
    let inbox = Inbox::default();
    let patience = Duration::from_millis(20);
    std::thread::scope(|scope| {
        inbox.expect(true, false);
        drop(inbox.take(ALL, Duration::ZERO));
        let mut queue = inbox.queue.lock();
        scope.spawn(|| {
            inbox.propose(proposal(1, 1), Usual, LATER).unwrap();
            inbox.receive(message(HEARTBEAT), 2);
            inbox.read(Read(1)).unwrap();
        });
        assert!(inbox.wake.wait_for(&mut queue, patience).timed_out());
    });
    // Who took what there was finds it.
    inbox.wait(Duration::from_hours(1));
    let work = inbox.take(ALL, Duration::ZERO);
    assert_eq!((ids(&work), work.messages.len(), work.reads.len()), (vec![1], 1, 1));
}
