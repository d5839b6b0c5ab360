//! Leases as their leader keeps them.

use base::limits::LEASE_CHECKPOINT_INTERVAL;

use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn at(seconds: u64) -> Duration {
    SECOND * u32::try_from(seconds).unwrap()
}

/// Leases with these times to live, on a member that has just begun to lead.
fn leading(ttls: &[(i64, i64)]) -> Leases {
    let leases = Leases::default();
    leases.promote(Term(1), at(0), Duration::ZERO, LEASE_CHECKPOINT_INTERVAL);
    for (id, ttl) in ttls {
        leases.grant(*id, *ttl, 1).unwrap();
    }
    leases.look(at(0));
    leases
}

/// The ids of leases whose time is over.
fn expired(leases: &Leases, now: Duration) -> Vec<i64> {
    leases.expired(now, 16).into_iter().map(|revoke| revoke.id).collect()
}

fn note(id: i64, remaining: i64) -> LeaseNote {
    LeaseNote { id, remaining, granted: 1 }
}

fn left(leases: &Leases, id: i64, now: u64) -> Option<Duration> {
    leases.time_to_live(id, at(now)).unwrap().left
}

#[test]
fn a_lease_ends_after_its_time_unless_it_is_kept() {
    let leases = leading(&[(1, 10), (2, 20)]);
    assert_eq!(leases.ids(), [1, 2]);
    assert_eq!(leases.next_due(), Some(at(10)));
    assert_eq!(expired(&leases, at(9)), [0; 0]);
    assert_eq!(leases.renew(1, at(9)), Renewal::Renewed(10));
    assert_eq!(leases.next_due(), Some(at(19)));
    assert_eq!(left(&leases, 1, 12), Some(at(7)));
    assert_eq!(expired(&leases, at(20)), [1, 2]);
    // Until its end is agreed on it is there, but not to be kept any more.
    assert_eq!(leases.renew(1, at(20)), Renewal::Ending);
    assert_eq!(left(&leases, 1, 25), Some(Duration::ZERO));
    leases.revoke(1);
    assert_eq!(leases.renew(1, at(21)), Renewal::NotFound);
    assert_eq!(leases.time_to_live(1, at(21)), None);
    assert_eq!(expired(&leases, at(21)), [2]);
}

#[test]
fn a_new_lease_begins_when_the_clock_is_looked_at() {
    let leases = leading(&[]);
    leases.grant(7, 10, 1).unwrap();
    // Whatever time others go by.
    assert_eq!(leases.next_due(), None);
    assert_eq!(expired(&leases, at(99)), [0; 0]);
    assert_eq!(left(&leases, 7, 99), Some(at(10)));
    leases.look(at(100));
    assert_eq!(leases.next_due(), Some(at(110)));
    assert_eq!(left(&leases, 7, 105), Some(at(5)));
}

/// Else it would be kept, and end all the same.
#[test]
fn a_lease_that_is_on_its_way_out_is_not_kept_by_a_look_at_the_clock_before_that() {
    let leases = leading(&[(1, 10)]);
    assert_eq!(expired(&leases, at(10)), [1]);
    assert_eq!(leases.renew(1, at(9)), Renewal::Ending);
}

#[test]
fn a_follower_ends_nothing_and_keeps_nothing() {
    let leases = leading(&[(1, 10)]);
    leases.demote();
    assert_eq!((expired(&leases, at(99)), leases.next_due()), (Vec::new(), None));
    assert_eq!(leases.renew(1, at(5)), Renewal::NotPrimary);
    assert_eq!(leases.time_to_live(1, at(5)), Some(TimeToLive { granted: 10, left: None }));
    leases.grant(2, 10, 1).unwrap();
    assert_eq!(leases.ids(), [1, 2]);
}

#[test]
fn a_new_leader_gives_each_lease_its_time_or_what_was_noted_down_and_some_grace() {
    let leases = leading(&[(1, 1_000), (2, 10)]);
    leases.checkpoint(note(1, 400)).unwrap();
    leases.demote();
    leases.promote(Term(2), at(600), SECOND, LEASE_CHECKPOINT_INTERVAL);
    assert_eq!(left(&leases, 1, 600), Some(at(401)));
    assert_eq!(left(&leases, 2, 600), Some(at(11)));
    // Said again, nothing changes; but in another term it begins anew.
    leases.promote(Term(2), at(700), SECOND, LEASE_CHECKPOINT_INTERVAL);
    assert_eq!(left(&leases, 1, 700), Some(at(301)));
    leases.promote(Term(4), at(700), SECOND, LEASE_CHECKPOINT_INTERVAL);
    assert_eq!(left(&leases, 1, 700), Some(at(401)));
}

#[test]
fn what_is_left_of_long_leases_is_noted_down_every_five_minutes() {
    let leases = leading(&[(1, 1_000), (2, 300), (3, 301), (4, 700)]);
    assert_eq!(leases.next_due(), Some(at(300)));
    assert_eq!(leases.checkpoints(at(299), 9), []);
    leases.renew(4, at(299));
    // Parts of a second count in favour of the lease.
    let now = at(300) + SECOND / 10;
    assert_eq!(leases.checkpoints(now, 2), [note(1, 700), note(3, 1)]);
    assert_eq!(leases.checkpoints(now, 2), [note(4, 699)]);
    assert_eq!(leases.checkpoints(now, 2), []);
    leases.expired(at(301), 9);
    leases.revoke(2);
    leases.revoke(3);
    assert_eq!(leases.checkpoints(at(601), 9), [note(1, 399), note(4, 398)]);
    assert_eq!(leases.checkpoints(at(902), 9), [note(1, 98), note(4, 97)]);
    assert_eq!(leases.checkpoints(at(990), 9), [], "too little is left");
}

#[test]
fn a_lease_that_has_all_its_time_is_not_noted_down_but_looked_at_again() {
    let leases = leading(&[(1, 1_000)]);
    leases.renew(1, at(300));
    assert_eq!(leases.checkpoints(at(300), 9), []);
    assert_eq!(leases.checkpoints(at(600), 9), [note(1, 700)]);
}

/// Else it would end early after a change of leaders, although its keeper was told otherwise.
#[test]
fn a_lease_with_a_note_is_kept_only_once_that_is_taken_back() {
    let leases = leading(&[(1, 1_000)]);
    leases.checkpoint(note(1, 600)).unwrap();
    assert_eq!(leases.renew(1, at(400)), Renewal::Noted(note(1, 0)));
    leases.checkpoint(note(1, 0)).unwrap();
    assert_eq!(leases.renew(1, at(400)), Renewal::Renewed(1_000));
    assert_eq!(left(&leases, 1, 400), Some(at(1_000)));
    assert_eq!(leases.checkpoint(note(9, 0)), None);
    let of_another = LeaseNote { granted: 7, ..note(1, 5) };
    assert_eq!(leases.checkpoint(of_another), None);
}

#[test]
fn no_more_than_a_thousand_leases_end_in_a_second() {
    let ttls: Vec<(i64, i64)> = (1..=2_500).map(|id| (id, 10)).collect();
    let leases = leading(&ttls);
    let mut ends = Vec::new();
    for tenth in 0..40 {
        let now = at(10) + SECOND / 10 * tenth;
        loop {
            let expired = expired(&leases, now);
            if expired.is_empty() {
                break;
            }
            assert!(expired.len() <= 16);
            for id in expired {
                leases.revoke(id);
            }
            ends.push(tenth);
        }
        if leases.is_empty() {
            break;
        }
        assert_eq!(leases.next_due(), Some(at(11 + u64::from(tenth) / 10)));
    }
    assert!(leases.is_empty());
    ends.dedup();
    assert_eq!(ends, [0, 10, 20]);
}

#[test]
fn what_cannot_be_a_lease_is_refused() {
    let leases = leading(&[(1, 10)]);
    assert_eq!(leases.grant(0, 10, 1), Err(Refused::LeaseNotFound));
    assert_eq!(leases.grant(2, LEASE_TTL_MAX + 1, 1), Err(Refused::LeaseTtlTooLarge));
    assert_eq!(leases.grant(1, 10, 2), Err(Refused::LeaseExists));
    assert_eq!(
        leases.grant(2, LEASE_TTL_MAX, 1),
        Ok(Lease { ttl: LEASE_TTL_MAX, remaining: 0, granted: 1 })
    );
    assert_eq!(left(&leases, 2, 0), Some(Duration::from_hours(2_500_000)));
}

#[test]
fn a_row_has_the_whole_lease() {
    for id in [1, -1, i64::MIN, i64::MAX] {
        let lease = Lease { ttl: 5, remaining: 3, granted: 9 };
        assert_eq!(decode(&key(id), &encode(lease)), Ok((id, lease)));
    }
    assert!(decode(b"state.lease/1", b"").is_err());
    assert!(decode(&key(1), b"\xff").is_err());
}
