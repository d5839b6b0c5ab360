//! The room's turns, parts and ends.

use super::*;

const PLENTY: usize = 1_000;

/// 100 bytes, of which a connection has 40.
fn room() -> Arc<Room> {
    Arc::new(Room::new(100, 40, PLENTY))
}

fn poll(take: &mut Take) -> Poll<Result<Hold, Full>> {
    Pin::new(take).poll(&mut Context::from_waker(Waker::noop()))
}

/// What is had at once.
#[track_caller]
fn had(share: &Arc<Share>, bytes: usize) -> Hold {
    got(&mut share.take(bytes))
}

#[track_caller]
fn got(take: &mut Take) -> Hold {
    match poll(take) {
        Poll::Ready(Ok(hold)) => hold,
        other @ (Poll::Ready(Err(Full)) | Poll::Pending) => panic!("not had: {other:?}"),
    }
}

/// Somebody who waits.
#[track_caller]
fn waiter(share: &Arc<Share>, bytes: usize) -> Take {
    let mut take = share.take(bytes);
    assert!(poll(&mut take).is_pending(), "there was room");
    take
}

#[test]
fn what_is_dropped_is_given_back_with_its_last_clone() {
    let room = room();
    let share = room.share();
    let hold = had(&share, 30);
    let clone = hold.clone();
    assert_eq!(room.taken(), 30);
    drop(hold);
    assert_eq!(room.taken(), 30);
    drop(clone);
    assert_eq!(room.taken(), 0);
    assert!(room.state.lock().parts.is_empty(), "a connection that has nothing is forgotten");
}

#[test]
fn a_connection_has_no_more_than_its_part_and_holds_up_nobody() {
    let room = room();
    let (greedy, other) = (room.share(), room.share());
    let held = had(&greedy, 30);
    let mut more = waiter(&greedy, 11);
    drop(had(&other, 40));
    let mut behind = waiter(&greedy, 1);
    drop(held);
    drop((got(&mut more), got(&mut behind)));
}

#[test]
fn who_came_first_is_served_first_though_others_want_less() {
    let room = room();
    let shares: Vec<_> = (0..5).map(|_| room.share()).collect();
    let full: Vec<_> = shares[..2].iter().map(|share| had(share, 40)).collect();
    let mut large = waiter(&shares[2], 40);
    let mut small = waiter(&shares[3], 1);
    drop(full);
    assert_eq!(room.taken(), 41);
    drop((got(&mut large), got(&mut small)));
    let all: Vec<_> = shares[..2].iter().map(|share| had(share, 40)).collect();
    let large = waiter(&shares[2], 40);
    let mut small = waiter(&shares[3], 1);
    assert!(poll(&mut small).is_pending(), "nobody overtakes");
    drop(large);
    drop(got(&mut small));
    drop(all);
}

#[test]
fn connections_take_turns_however_many_wait_on_each() {
    let room = room();
    let (one, other, third) = (room.share(), room.share(), room.share());
    let full = (had(&one, 40), had(&other, 40), had(&third, 20));
    let mut many: Vec<_> = (0..9).map(|_| waiter(&one, 20)).collect();
    let mut few = waiter(&third, 20);
    drop(full.0);
    let first = got(&mut many[0]);
    let also = got(&mut few);
    assert!(poll(&mut many[1]).is_pending(), "it was somebody else's turn");
    drop(first);
    drop(got(&mut many[1]));
    drop((also, full.1, full.2));
}

#[test]
fn what_is_larger_than_the_room_is_let_through_alone() {
    let room = room();
    let (one, other) = (room.share(), room.share());
    let before = had(&other, 1);
    let mut huge = waiter(&one, 5_000);
    let mut next = waiter(&other, 1);
    drop(before);
    let alone = got(&mut huge);
    alone.resize(5_000);
    assert!(poll(&mut next).is_pending(), "it is not alone");
    drop(alone);
    drop(got(&mut next));
    // What is larger than a connection's part, once it has nothing else.
    let held = had(&one, 1);
    let mut large = waiter(&one, 60);
    drop(held);
    drop(got(&mut large));
    assert_eq!(room.taken(), 0);
}

#[test]
fn who_gives_up_makes_way_for_the_next() {
    let room = room();
    let (one, other) = (room.share(), room.share());
    let held = had(&one, 90);
    let impatient = waiter(&other, 40);
    let mut next = waiter(&other, 10);
    let given_up = waiter(&one, 1);
    drop((impatient, given_up));
    drop(got(&mut next));
    // Whose turn came, but who does not look any more.
    let unseen = waiter(&other, 40);
    drop(held);
    assert_eq!(room.taken(), 40);
    drop(unseen);
    assert_eq!(room.taken(), 0);
    assert!(!room.is_waited_for());
    // However often: nobody queues up twice.
    let full = (had(&one, 40), had(&room.share(), 40), had(&room.share(), 20));
    let first = waiter(&room.share(), 40);
    (0..9).for_each(|_| drop(waiter(&other, 1)));
    let mut last = waiter(&room.share(), 10);
    assert!(room.state.lock().turns.len() <= 3);
    drop((first, full));
    drop(got(&mut last));
}

#[test]
fn an_estimate_becomes_what_it_is_and_what_cannot_wait_is_counted() {
    let room = room();
    let (one, other) = (room.share(), room.share());
    let estimate = had(&one, 100);
    let mut next = waiter(&other, 40);
    estimate.resize(60);
    let second = got(&mut next);
    let third = other.charge(500);
    assert_eq!(room.taken(), 600);
    let mut last = waiter(&one, 1);
    drop((estimate, second));
    assert!(poll(&mut last).is_pending(), "all is taken, and more");
    drop(third);
    drop(got(&mut last));
}

#[test]
fn only_so_many_wait() {
    let room = Arc::new(Room::new(100, 40, 2));
    let share = room.share();
    let held = had(&share, 100);
    let waiting = [waiter(&share, 1), waiter(&share, 1)];
    assert!(matches!(poll(&mut share.take(1)), Poll::Ready(Err(Full))));
    let mut patient = share.take(1).however_many_wait();
    assert!(poll(&mut patient).is_pending());
    drop((waiting, patient));
    let waiting = waiter(&share, 1);
    drop((held, waiting));
}

#[test]
fn who_takes_nothing_while_others_wait_is_found() {
    let room = room();
    let (slow, other) = (room.share(), room.share());
    let looks = |share: &Share| (0..20).filter_map(|_| share.look()).count();
    let (held, made) = (had(&slow, 40), had(&other, 40));
    held.moved();
    assert_eq!(looks(&slow), 0, "nobody waits");
    let waiting = waiter(&other, 40);
    assert_eq!(looks(&other), 0, "what is still being made is not slow");
    for _ in 0..9 {
        (0..QUIET_LOOKS_MAX).for_each(|_| assert_eq!(slow.look(), None));
        held.moved();
    }
    (0..QUIET_LOOKS_MAX).for_each(|_| assert_eq!(slow.look(), None));
    assert_eq!(slow.look(), Some(40));
    drop((waiting, made));
}

#[test]
fn small_answers_are_counted_by_connection() {
    let room = room();
    let share = room.share();
    let most = share.small(limits::SMALL_ANSWERS_BYTES_MAX - 1);
    assert!(share.is_light());
    let one = share.small(1);
    assert!(!share.is_light());
    drop(one);
    assert!(share.is_light());
    assert_eq!(room.taken(), 0);
    drop(most);
    // What is large counts as well, here and elsewhere.
    let (part, other) = (had(&share, 40), room.share());
    assert!(!share.is_light() && other.is_light());
    drop(part);
    let all = other.charge(100);
    assert!(!share.is_light());
    drop(all);
    assert!(share.is_light() && other.is_light());
}
