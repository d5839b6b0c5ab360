//! The cluster's version: when it goes up and down, and who may go on with it.

use base::{
    MemberId,
    version::{FIRST, Minor, NEXT},
};
use proto::command::{ClusterVersion, Downgrade, Member, Publish};

use super::*;
use crate::apply::{Unfit, membership_change::Change};

/// A build without what is new in [`NEXT`].
const OLD: Build =
    Build { server: "3.6.14", cluster: FIRST, oldest: FIRST, formats: &[(1, FIRST)] };
const NEW: Minor = NEXT.cluster;

/// A member of the newer build in a cluster of this many, which know nothing of each other yet.
fn cluster(members: u64) -> Fixture {
    let mut fixture = Fixture::open_with(MemDisk::new(1), NEXT);
    for id in 1..=members {
        let at = fixture.next();
        let member = Member { id, ..Member::default() };
        fixture
            .state
            .apply_conf_change(at, base::ClusterId(9), Some(Change::Add(member)), "".into())
            .unwrap();
    }
    raise(&mut fixture, FIRST);
    fixture
}

fn tell(fixture: &mut Fixture, member: u64, build: &Build) {
    let (name, version) = (format!("m{member}"), build.server.to_owned());
    let publish = Publish { member, name, version, ..Publish::default() };
    fixture.apply(Op::Publish(publish));
}

/// Gives what the cluster's version is afterwards.
fn raise(fixture: &mut Fixture, to: Minor) -> Option<Minor> {
    fixture.apply(Op::ClusterVersion(ClusterVersion { version: to.in_full() }));
    fixture.state.reader().cluster_version()
}

fn lower(fixture: &mut Fixture, to: &str) -> Result<(), Unfit> {
    let outcome = fixture.apply(Op::Downgrade(Downgrade { target: to.to_owned() }));
    let Response::Downgrade(answer) = outcome.response else { panic!("{outcome:?}") };
    answer
}

/// A cluster of the newer version.
fn raised() -> Fixture {
    let mut fixture = cluster(3);
    (1..=3).for_each(|member| tell(&mut fixture, member, &NEXT));
    assert_eq!(raise(&mut fixture, NEW), Some(NEW));
    fixture
}

/// The same member, by another build.
fn reopen_with(fixture: Fixture, build: Build) -> Fixture {
    fixture.flush();
    let disk = fixture.disk.clone();
    drop(fixture);
    Fixture::open_with(disk, build)
}

#[test]
fn the_version_goes_up_only_once_all_members_have_told_that_they_can() {
    let mut fixture = cluster(3);
    assert_eq!(raise(&mut fixture, NEW), Some(FIRST), "nobody has told anything");
    tell(&mut fixture, 1, &NEXT);
    tell(&mut fixture, 2, &NEXT);
    assert_eq!(raise(&mut fixture, NEW), Some(FIRST), "one has told nothing");
    tell(&mut fixture, 3, &OLD);
    assert_eq!(raise(&mut fixture, NEW), Some(FIRST), "one is older");
    tell(&mut fixture, 3, &NEXT);
    tell(&mut fixture, 2, &OLD);
    assert_eq!(raise(&mut fixture, NEW), Some(FIRST), "one went back before it came to that");
    tell(&mut fixture, 2, &NEXT);
    assert_eq!(raise(&mut fixture, NEW), Some(NEW));
    assert_eq!(raise(&mut fixture, FIRST), Some(NEW), "only a downgrade lowers it");
    let at = fixture.next();
    let remove = Change::Remove(MemberId(3));
    fixture.state.apply_conf_change(at, base::ClusterId(9), Some(remove), "".into()).unwrap();
    assert_eq!(reopen_with(fixture, NEXT).state.reader().cluster_version(), Some(NEW));
}

#[test]
fn a_member_that_was_added_and_has_not_started_holds_the_version_down() {
    let mut fixture = cluster(1);
    tell(&mut fixture, 1, &NEXT);
    let at = fixture.next();
    let learner = Change::AddLearner(Member { id: 2, ..Member::default() }, 1);
    fixture.state.apply_conf_change(at, base::ClusterId(9), Some(learner), "".into()).unwrap();
    assert_eq!(raise(&mut fixture, NEW), Some(FIRST));
    tell(&mut fixture, 2, &NEXT);
    assert_eq!(raise(&mut fixture, NEW), Some(NEW));
}

#[test]
fn an_older_build_stops_where_the_version_goes_beyond_it_and_does_not_open_what_is_there() {
    let mut fixture = reopen_with(cluster(1), OLD);
    tell(&mut fixture, 1, &NEXT);
    let command = Op::ClusterVersion(ClusterVersion { version: NEW.in_full() });
    let fatal = fixture.try_apply(command).unwrap_err();
    assert!(matches!(fatal, Fatal::TooOld { cluster: NEW, .. }), "{fatal}");
    let text = fatal.to_string();
    assert!(text.contains("this build is 3.6.14, the cluster is at 3.7"), "{text}");

    let fixture = raised();
    fixture.flush();
    let refused = State::open(Arc::clone(&fixture.backend), OLD).unwrap_err();
    assert!(matches!(refused, Fatal::TooOld { .. }), "{refused}");
}

#[test]
fn a_build_that_is_two_versions_on_does_not_open_what_is_there() {
    let fixture = cluster(1);
    fixture.flush();
    let later = Build { cluster: Minor::new(3, 8), oldest: NEW, server: "3.8.0", ..NEXT };
    let refused = State::open(Arc::clone(&fixture.backend), later).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "the cluster is at version 3.6, and this build (3.8.0) can be a member from 3.7 on: \
         upgrade all members one minor version at a time"
    );
}

#[test]
fn a_downgrade_lowers_the_version_by_one_and_keeps_it_there_until_it_ends() {
    let mut fixture = raised();
    for target in ["3.5.0", "3.7.0", "3.8.0", "2.6.0"] {
        assert_eq!(lower(&mut fixture, target), Err(Unfit::Target), "{target}");
    }
    assert_eq!(fixture.state.reader().cluster_version(), Some(NEW));
    assert_eq!(lower(&mut fixture, "3.6.0"), Ok(()));
    let versions = fixture.state.reader().versions();
    assert_eq!((versions.cluster, versions.downgrade), (Some(FIRST), Some(FIRST)));
    assert_eq!(raise(&mut fixture, NEW), Some(FIRST), "a downgrade is under way");
    assert_eq!(lower(&mut fixture, "3.6.0"), Err(Unfit::Target));
    assert_eq!(lower(&mut fixture, "3.5.0"), Err(Unfit::Target), "there is nothing of ours below");

    let mut fixture = reopen_with(fixture, OLD);
    assert_eq!(fixture.state.reader().versions(), versions);
    (1..=3).for_each(|member| tell(&mut fixture, member, &OLD));
    assert_eq!(lower(&mut fixture, ""), Ok(()));
    assert_eq!(fixture.state.reader().versions().downgrade, None);

    let mut fixture = reopen_with(fixture, NEXT);
    (1..=3).for_each(|member| tell(&mut fixture, member, &NEXT));
    assert_eq!(raise(&mut fixture, NEW), Some(NEW), "and up again");
}

#[test]
fn a_downgrade_begins_only_while_all_members_are_of_the_clusters_version() {
    let mut fixture = raised();
    tell(&mut fixture, 3, &Build { server: "3.8.1", ..NEXT });
    assert_eq!(lower(&mut fixture, "3.6.0"), Err(Unfit::Mixed(NEW, Minor::new(3, 8))));
    let at = fixture.next();
    let member = Member { id: 4, ..Member::default() };
    fixture
        .state
        .apply_conf_change(at, base::ClusterId(9), Some(Change::Add(member)), "".into())
        .unwrap();
    assert_eq!(lower(&mut fixture, "3.6.0"), Err(Unfit::Mixed(NEW, NEW)));
    let mut fixture = Fixture::new();
    assert_eq!(lower(&mut fixture, "3.6.0"), Err(Unfit::NoClusterVersion));
}

#[test]
fn a_downgrade_must_end_before_the_next_one_begins() {
    let later = Build { server: "3.8.1", cluster: Minor::new(3, 8), ..NEXT };
    let mut fixture = reopen_with(cluster(1), later);
    tell(&mut fixture, 1, &later);
    assert_eq!(raise(&mut fixture, later.cluster), Some(later.cluster));
    assert_eq!(lower(&mut fixture, "3.7.0"), Ok(()));
    assert_eq!(lower(&mut fixture, "3.6.0"), Err(Unfit::InProgress));
    tell(&mut fixture, 1, &NEXT);
    assert_eq!(lower(&mut fixture, ""), Ok(()));
    assert_eq!(lower(&mut fixture, "3.6.0"), Ok(()));
}

/// A command that is on its way while the version is lowered must stop no older build.
#[test]
fn a_newer_command_that_comes_late_does_nothing_on_any_build() {
    let write = |value| {
        Op::Keys(KeysWrite {
            path: "/late".into(),
            value: Bytes::from_static(value),
            ..KeysWrite::default()
        })
    };
    let late = Command { format: 2, id: 9, by: None, op: Some(write(b"late")) }.encode_to_vec();
    let mut newer = raised();
    newer.apply(write(b"in time"));
    lower(&mut newer, "3.6.0").unwrap();
    let mut older = reopen_with(raised_and_lowered(), OLD);
    older.apply(write(b"in time"));
    for fixture in [&mut newer, &mut older] {
        let at = fixture.next();
        let outcome = fixture.state.apply(at, &late).unwrap();
        assert!(matches!(outcome.response, Response::Refused(_)), "{outcome:?}");
        assert_eq!((outcome.id, outcome.commits.len()), (9, 0));
        assert_eq!(fixture.state.applied(), at);
        assert_eq!(fixture.get("/late").unwrap().value, Some("in time".into()));
    }
    // Where there never was a newer version, nobody can be late.
    let mut fixture = reopen_with(cluster(1), OLD);
    let at = fixture.next();
    let fatal = fixture.state.apply(at, &late).unwrap_err();
    assert!(matches!(fatal, Fatal::UnknownFormat { format: 2, known: 1, .. }), "{fatal}");
}

fn raised_and_lowered() -> Fixture {
    let mut fixture = raised();
    lower(&mut fixture, "3.6.0").unwrap();
    fixture
}

#[test]
fn the_storages_version_is_the_highest_of_file_and_log() {
    let mut fixture = raised();
    let storage =
        |fixture: &Fixture| fixture.state.reader().storage_version(fixture.backend.durable().index);
    assert_eq!(storage(&fixture), Some(NEW), "not in the file yet, but in the log");
    fixture.flush();
    assert_eq!(storage(&fixture), Some(NEW));
    lower(&mut fixture, "3.6.0").unwrap();
    assert_eq!(storage(&fixture), Some(NEW), "the file still has what an older build cannot read");
    lower(&mut fixture, "").unwrap();
    raise(&mut fixture, NEW);
    lower(&mut fixture, "3.6.0").unwrap();
    assert_eq!(storage(&fixture), Some(NEW));
    fixture.flush();
    assert_eq!(storage(&fixture), Some(FIRST));
    let mut fixture = reopen_with(fixture, NEXT);
    assert_eq!(storage(&fixture), Some(FIRST));
    lower(&mut fixture, "").unwrap();
    raise(&mut fixture, NEW);
    lower(&mut fixture, "3.6.0").unwrap();
    assert_eq!(storage(&fixture), Some(NEW), "an older build would read all of that in the log");
}
