//! Users and roles in snapshots.

use std::path::PathBuf;

use backend::Incoming;
use proto::command::{Auth, AuthChange, Authenticate, Named, Nothing, UserAdd, UserRole};

use super::*;

fn change(fixture: &mut Fixture, change: AuthChange) -> Reply {
    fixture.v3(Op::Auth(Auth { change: Some(change) })).unwrap()
}

/// Root and another user, who are asked who they are.
fn enabled() -> Fixture {
    let mut fixture = Fixture::new();
    for name in ["root", "alice"] {
        let (name, password_hash) = (name.to_owned(), Some("#".into()));
        change(&mut fixture, AuthChange::UserAdd(UserAdd { name, password_hash }));
    }
    let (user, role) = ("root".to_owned(), "root".to_owned());
    change(&mut fixture, AuthChange::UserGrant(UserRole { user, role }));
    change(&mut fixture, AuthChange::Enable(Nothing {}));
    fixture
}

fn root(fixture: &Fixture) -> By {
    let auth_revision = fixture.state.reader().auth().revision();
    By { user: "root".to_owned(), auth_revision }
}

#[test]
fn who_gets_a_snapshot_asks_as_its_sender_does() {
    let (mut leader, mut follower) = (enabled(), enabled());
    leader.by = Some(root(&leader));
    change(&mut leader, AuthChange::UserDelete(Named { name: "alice".to_owned() }));
    let alice = AuthChange::UserAdd(UserAdd { name: "alice".to_owned(), password_hash: None });
    change(&mut leader, alice);
    // The follower was away, and has let in the one who was deleted.
    let (user, secret) = ("alice".to_owned(), "secret".to_owned());
    let checked = follower.state.reader().auth().revision();
    let log_in = AuthChange::Authenticate(Authenticate { user, secret, checked });
    let Reply::Token(token) = change(&mut follower, log_in) else { panic!("no token") };
    let reader = follower.state.reader();
    let now = std::time::Duration::from_secs(1);
    reader.tokens().look(now);
    assert!(reader.tokens().find(&reader.auth(), &token, now).is_some());

    leader.flush();
    let mut export = leader.backend.export();
    let (applied, path) = (export.applied(), PathBuf::from("/data/keyspace.incoming"));
    let options = Options { cache_bytes: 1 << 20 };
    let mut into = Incoming::create(&follower.disk, &path, &options).unwrap();
    while let Some(chunk) = export.next_chunk(16 << 10).unwrap() {
        into.add(chunk).unwrap();
    }
    into.finish(applied).unwrap();
    follower.state.replace(&path).unwrap();
    let theirs = leader.state.reader().auth();
    let ours = reader.auth();
    assert!(reader.auth_is_enabled());
    assert_eq!(ours.revision(), theirs.revision());
    assert_eq!(ours.user("alice"), theirs.user("alice"));
    assert_eq!(reader.tokens().find(&ours, &token, now), None);
}
