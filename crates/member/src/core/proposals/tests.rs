//! What is kept of proposals under way is bounded, in number, bytes and time.

use super::*;

fn data(bytes: usize) -> Bytes {
    vec![0; bytes].into()
}

fn ids(taken: impl Iterator<Item = (u64, UnderWay)>) -> Vec<u64> {
    taken.map(|(id, _)| id).collect()
}

#[test]
fn what_is_under_way_is_forgotten_once_nobody_waits() {
    let mut proposals = Proposals::default();
    proposals.add(1, 7, Some(data(5)));
    for _ in 0..40 {
        proposals.tick(70, 10);
    }
    proposals.add(1, 8, Some(data(6)));
    proposals.add(1, 0, Some(data(6)));
    assert_eq!((proposals.count, proposals.bytes), (2, 11), "0 is nobody's");
    for _ in 0..40 {
        proposals.tick(70, 10);
    }
    assert_eq!((proposals.count, proposals.bytes), (1, 6));
    assert_eq!(ids(proposals.take_before(2)), [8]);
    assert_eq!((proposals.count, proposals.bytes), (0, 0));
}

#[test]
fn what_is_under_way_is_bounded_in_bytes_and_number() {
    let mut proposals = Proposals::default();
    proposals.add(1, 1, Some(data(limits::PROPOSAL_BYTES_UNDER_WAY_MAX)));
    proposals.add(1, 2, Some(data(1)));
    let kept: Vec<_> = proposals.take_before(2).map(|(id, one)| (id, one.data.is_some())).collect();
    assert_eq!(kept, [(1, true), (2, false)]);
    for id in 1..=limits::PROPOSALS_UNDER_WAY_MAX as u64 {
        assert!(!proposals.is_full());
        proposals.add(1, id, Some(data(1)));
    }
    assert!(proposals.is_full());
    proposals.remove(2, 2);
    assert!(proposals.is_full(), "2 is of another term");
    proposals.remove(1, 1);
    assert!(!proposals.is_full());
}

#[test]
fn what_is_passed_on_is_kept_for_an_election_timeout_and_is_bounded() {
    let mut proposals = Proposals::default();
    let message = |bytes: usize| {
        let entry = Entry { data: vec![0; bytes].into(), ..Entry::default() };
        Message { entries: vec![entry], ..Message::default() }
    };
    assert!(proposals.keep(message(limits::PROPOSAL_BYTES_WAITING_MAX)));
    assert!(!proposals.keep(message(1)));
    for _ in 0..10 {
        proposals.tick(70, 10);
    }
    assert_eq!(proposals.kept.len(), 1);
    proposals.tick(70, 10);
    assert_eq!(proposals.kept.len(), 0);
    for _ in 0..limits::PROPOSALS_WAITING_MAX {
        assert!(proposals.keep(message(1)));
    }
    assert!(!proposals.keep(message(1)));
    while proposals.take_kept().is_some() {}
    assert_eq!((proposals.kept_entries, proposals.kept_bytes), (0, 0));
}
