//! Users, roles and permissions: whoever could do something at the original can do it here, with the
//! same password, and nobody else.

use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use e2e::{
    Answer, Member, Request, eventually,
    run::{self, Output, run},
};
use serde_json::{Value, json};

use super::{ask, fill, place::Place};

const PATIENCE: Duration = Duration::from_secs(30);
/// Only what forces it writes to the file; hashes that cost little.
const FLAGS: [&str; 3] =
    ["--backend-batch-interval=1h", "--backend-batch-limit=1000000", "--bcrypt-cost=4"];

fn allow(member: &mut Member) {
    member.allow("invalid authentication was requested");
    member.allow("auth: no such user, or a wrong password");
}

/// Real `etcdctl` with API 3, by this user.
fn v3(place: &Place, member: &Member, user: &str, arguments: &[&str]) -> Output {
    let mut command = run::etcdctl_v3(&place.etcdctl, &member.url());
    // What v2 has hashed takes its time.
    command.args(["--dial-timeout", "20s", "--command-timeout", "20s"]);
    if !user.is_empty() {
        command.args(["--user", user]);
    }
    run(command.args(arguments), "")
}

/// Runs lines of arguments, each by that user: all succeed.
#[track_caller]
fn all(place: &Place, member: &Member, user: &str, lines: &[&str]) {
    for line in lines {
        let output = v3(place, member, user, &line.split(' ').collect::<Vec<_>>());
        assert_eq!(output.exit, Some(0), "{line}: {output:?}");
    }
}

/// Users with permissions of each form; writes that are allowed and refused, before and after some that
/// change who may do what. All that comes after enabling lies in the log alone.
fn fill_v3(place: &Place, original: &Member) {
    let free = [
        "put /a/x 1",
        "put /one 1",
        "put m 1",
        "user add root:rootpw",
        "user grant-role root root",
        "user add alice:alicepw",
        "user add bob:bobpw",
        "user add gone:gonepw",
        "user add certified --no-password",
        "role add writer",
        "role grant-permission writer readwrite --prefix /a/",
        "role grant-permission writer read /one",
        "role grant-permission writer write k n",
        "role add reader",
        "role grant-permission reader read --from-key k",
        "user grant-role alice writer",
        "user grant-role bob reader",
        "user grant-role certified reader",
        "auth enable",
    ];
    all(place, original, "", &free);
    let refused = |user: &str, line: &str| {
        let output = v3(place, original, user, &line.split(' ').collect::<Vec<_>>());
        assert_ne!(output.exit, Some(0), "{line}: {output:?}");
    };
    all(place, original, "alice:alicepw", &["put /a/x 2", "put m 2"]);
    refused("alice:alicepw", "put /b/x refused");
    refused("alice:alicepw", "del /one");
    refused("bob:bobpw", "put m refused");
    refused("", "put /a/x refused");
    refused("alice:alicepw", "user add mallory:x");
    let by_root = [
        "user add carol:carolpw",
        "role add late",
        "role grant-permission late readwrite /late",
        "user grant-role carol late",
        "role revoke-permission writer /one",
        "role grant-permission writer readwrite /two",
        "user delete gone",
        "put /a/y root's",
    ];
    all(place, original, "root:rootpw", &by_root);
    let mut change = run::etcdctl_v3(&place.etcdctl, &original.url());
    change.args(["--user", "root:rootpw", "user", "passwd", "bob", "--interactive=false"]);
    let changed = run(&mut change, "otherpw\n");
    assert_eq!(changed.exit, Some(0), "{changed:?}");
    all(place, original, "carol:carolpw", &["put /late 1"]);
    refused("carol:carolpw", "put /a/x refused");
    all(place, original, "alice:alicepw", &["put /two 2", "del /a/y"]);
    let granted = v3(place, original, "alice:alicepw", &["lease", "grant", "2"]);
    let lease = granted.stdout.split(' ').nth(1).expect("an id").to_owned();
    let put = format!("put /a/leased x --lease {lease}");
    all(place, original, "alice:alicepw", &[&put]);
    // Its leader ends it, in the name of root.
    eventually(PATIENCE, "the lease has ended", || {
        let found = v3(place, original, "alice:alicepw", &["get", "/a/leased"]);
        (found.exit == Some(0) && found.stdout.is_empty()).then_some(())
    });
}

/// What is asked, by whom; and how it was answered.
fn answers_v3(place: &Place, member: &Member) -> Vec<(String, String)> {
    let questions = [
        ("root:rootpw", "user list"),
        ("root:rootpw", "role list"),
        ("root:rootpw", "role get writer"),
        ("root:rootpw", "role get reader"),
        ("root:rootpw", "role get late"),
        ("root:rootpw", "user get alice"),
        ("root:rootpw", "user get carol"),
        ("root:rootpw", "user get certified"),
        ("root:rootpw", "user get gone"),
        ("root:rootpw", "user get mallory"),
        // With their revisions.
        ("root:rootpw", "get  --from-key -w fields"),
        ("alice:alicepw", "get /a/x"),
        ("alice:alicepw", "get --prefix /a/"),
        ("alice:alicepw", "get /one"),
        ("alice:alicepw", "get /two"),
        ("alice:alicepw", "get m"),
        ("alice:alicepw", "get --prefix /"),
        ("alice:alicepw", "put /b/x refused"),
        ("alice:alicepw", "role list"),
        ("alice:wrong", "get /a/x"),
        ("bob:otherpw", "get m"),
        ("bob:otherpw", "get --from-key k"),
        ("bob:otherpw", "get /a/x"),
        ("bob:otherpw", "put m refused"),
        ("bob:bobpw", "get m"),
        ("carol:carolpw", "get /late"),
        ("carol:carolpw", "get /a/x"),
        ("certified:x", "get m"),
        ("gone:gonepw", "get /a/x"),
        ("mallory:x", "get /a/x"),
        ("", "get /a/x"),
        ("", "put /a/x refused"),
    ];
    let answer = |(user, line): (&str, &str)| {
        let output = v3(place, member, user, &line.split(' ').collect::<Vec<_>>());
        let why = output.stderr.lines().last().unwrap_or_default();
        // Of the cluster and the member, which are others.
        let is_of_cluster = |line: &&str| !line.contains("ID\"") && !line.contains("RaftTerm");
        let shown: Vec<&str> = output.stdout.lines().filter(is_of_cluster).collect();
        (format!("{user}: {line}"), format!("{:?} {why} {}", output.exit, shown.join("\n")))
    };
    questions.into_iter().map(answer).collect()
}

#[track_caller]
fn answers_as_it_did(place: &Place, member: &mut Member, expected: &[(String, String)]) {
    allow(member);
    for (found, expected) in answers_v3(place, member).iter().zip(expected) {
        assert_eq!(found, expected);
    }
}

/// From a killed member, with all that came last in its log; from one that was stopped; from a snapshot.
pub(crate) fn v3_users_are_who_they_were(place: &Place) {
    let mut original = place.original(&FLAGS);
    fill_v3(place, &original);
    let expected = answers_v3(place, &original);
    let answered = |question: &str| {
        let found = expected.iter().find(|(asked, _)| asked == question);
        found.map(|(_, answer)| &answer[..]).expect("it is asked")
    };
    assert!(answered("alice:alicepw: get /a/x").ends_with('2'), "{expected:?}");
    assert!(answered("alice:alicepw: get /one").contains("permission denied"), "{expected:?}");
    original.kill();
    let from = place.path("original");
    let output = place.import(&from, "killed", &[]);
    assert_eq!(output.exit, Some(0), "{output:?}");
    assert!(output.stderr.contains("took over 5 users and 3 roles; auth is enabled"), "{output:?}");
    assert!(output.stderr.contains("left out, since the original refused them"), "{output:?}");
    let mut killed = place.start("killed");
    answers_as_it_did(place, &mut killed, &expected);
    all(place, &killed, "alice:alicepw", &["put /a/new 1", "put /two 3"]);
    all(place, &killed, "root:rootpw", &["user add new:newpw", "user grant-role new late"]);
    all(place, &killed, "new:newpw", &["put /late 2"]);
    all(place, &killed, "root:rootpw", &["auth disable"]);
    drop(killed);
    original.restart();
    let save = place.path("saved.db");
    let saved = format!("snapshot save {}", save.display());
    all(place, &original, "root:rootpw", &[&saved]);
    original.stop();
    let (mut stopped, summary) = place.imported(&from, "stopped", &[]);
    assert_eq!(summary["log-entries"], 0, "{summary:?}");
    assert_eq!((summary["users"], summary["roles"]), (5, 3), "{summary:?}");
    answers_as_it_did(place, &mut stopped, &expected);
    drop(stopped);
    let (mut saved, _) = place.imported(&save, "saved", &[]);
    answers_as_it_did(place, &mut saved, &expected);
}

#[test]
fn users_of_v3_are_who_they_were_from_a_killed_a_stopped_and_a_saved_member() {
    let Some(place) = Place::new() else { return };
    v3_users_are_who_they_were(&place);
}

/// In its log there are hashes, and no passwords.
#[test]
fn users_of_3_5_are_who_they_were() {
    let Some((place, _)) = Place::of_3_5() else { return };
    v3_users_are_who_they_were(&place);
}

fn basic(request: Request, user: &str) -> Request {
    if user.is_empty() {
        return request;
    }
    request.header("Authorization", &format!("Basic {}", STANDARD.encode(user)))
}

fn v2(member: &Member, user: &str, method: &str, path: &str, body: &Value) -> Answer {
    member.ask(&basic(Request::json(method, &format!("/v2/auth/{path}"), &body.to_string()), user))
}

/// Root, alice who reads below `/a/` and writes `/a/x`, and guests who only read `/open`.
fn fill_v2(original: &Member) {
    for key in ["/a/x", "/a/y", "/open", "/b"] {
        original.put(key, "1");
    }
    let kv = |read: Value, write: Value| json!({"kv": {"read": read, "write": write}});
    let role = json!({"role": "a", "permissions": kv(json!(["/a/*"]), json!(["/a/x"]))});
    let guest = json!({"role": "guest", "permissions": kv(json!(["/open"]), json!([]))});
    for (path, body) in [
        ("users/root", json!({"user": "root", "password": "rootpw"})),
        ("users/alice", json!({"user": "alice", "password": "alicepw"})),
        ("users/gone", json!({"user": "gone", "password": "gonepw"})),
        ("roles/a", role),
        ("roles/guest", guest),
        ("users/alice", json!({"user": "alice", "grant": ["a"]})),
        ("enable", json!({})),
    ] {
        drop(v2(original, "", "PUT", path, &body).expect(&[200, 201]));
    }
    drop(v2(original, "root:rootpw", "DELETE", "users/gone", &json!({})).expect(&[200]));
    let put = |user: &str, key: &str, status: u16| {
        drop(original.ask(&basic(Request::put(key, "2"), user)).expect(&[status]));
    };
    put("alice:alicepw", "/v2/keys/a/x", 200);
    put("alice:alicepw", "/v2/keys/a/y", 401);
    put("", "/v2/keys/open", 401);
}

fn answers_v2(member: &Member) -> Vec<(String, u16, Value)> {
    let mut answers = Vec::new();
    for user in ["root:rootpw", "alice:alicepw", "alice:wrong", "gone:gonepw", ""] {
        for path in [
            "keys/a/x",
            "keys/a/y",
            "keys/b",
            "keys/open",
            "auth/users/alice",
            "auth/roles/a",
            "auth/roles/guest",
            "auth/roles",
            "auth/enable",
        ] {
            let answer = member.ask(&basic(Request::get(&format!("/v2/{path}")), user));
            answers.push((format!("{user} {path}"), answer.status, answer.json()));
        }
        if user != "root:rootpw" {
            let answer = member.ask(&basic(Request::put("/v2/keys/a/y", "3"), user));
            answers.push((format!("{user} put"), answer.status, answer.json()));
        }
    }
    answers
}

#[test]
fn users_of_v2_are_who_they_were_with_and_without_a_snapshot() {
    let Some(place) = Place::new() else { return };
    for (name, snapshots) in [("log", "--snapshot-count=100000"), ("snap", "--snapshot-count=10")] {
        let mut original = place.original(&[snapshots]);
        fill_v2(&original);
        let expected = answers_v2(&original);
        original.kill();
        drop(original);
        let output = place.import(&place.path("original"), name, &[]);
        assert_eq!(output.exit, Some(0), "{output:?}");
        let said = "took over 2 users and 2 roles; auth is enabled";
        assert!(output.stderr.contains(said), "{output:?}");
        assert!(output.stderr.contains("here v3 asks too"), "{output:?}");
        let mut ours = place.start(name);
        allow(&mut ours);
        let found = answers_v2(&ours);
        for (found, expected) in found.iter().zip(&expected) {
            assert_eq!(found, expected, "{name}");
        }
        // And through v3.
        all(&place, &ours, "alice:alicepw", &["get --prefix /a/", "put /a/x 4"]);
        for (user, line) in [("alice:alicepw", "put /a/y 4"), ("", "get /open")] {
            let output = v3(&place, &ours, user, &line.split(' ').collect::<Vec<_>>());
            assert_ne!(output.exit, Some(0), "{user} {line}: {output:?}");
        }
        drop(ours);
        std::fs::remove_dir_all(place.path("original")).expect("it is there");
    }
}

#[test]
fn a_user_whom_both_have_needs_a_word() {
    let Some(place) = Place::new() else { return };
    let mut original = place.original(&["--bcrypt-cost=4"]);
    let of_v3 = [
        "put /v3 1",
        "user add root:three",
        "user grant-role root root",
        "user add alice:three",
        "role add dev",
        "role grant-permission dev read /v3",
        "user grant-role alice dev",
    ];
    all(&place, &original, "", &of_v3);
    original.put("/v2", "1");
    let kv = json!({"kv": {"read": ["/v2"], "write": []}});
    for (path, body) in [
        ("users/root", json!({"user": "root", "password": "two"})),
        ("roles/dev", json!({"role": "dev", "permissions": kv})),
        ("users/alice", json!({"user": "alice", "password": "two", "roles": ["dev"]})),
        ("users/bob", json!({"user": "bob", "password": "two", "roles": ["dev"]})),
        ("enable", json!({})),
    ] {
        drop(v2(&original, "", "PUT", path, &body).expect(&[200, 201]));
    }
    original.stop();
    let from = place.path("original");
    let said =
        "3 users or roles are different ones in v2 and v3: user alice, user root, role dev. Say";
    place.refused(&from, &[], said);
    for (prefer, password, other, readable, hidden) in
        [("v2", "two", "three", "/v2", "/v3"), ("v3", "three", "two", "/v3", "/v2")]
    {
        let (mut ours, _) = place.imported(&from, prefer, &["--prefer", prefer]);
        allow(&mut ours);
        let asks = |user: &str, password: &str, line: &str| {
            let user = format!("{user}:{password}");
            v3(&place, &ours, &user, &line.split(' ').collect::<Vec<_>>()).exit == Some(0)
        };
        assert!(
            asks("root", password, "user list") && !asks("root", other, "user list"),
            "{prefer}"
        );
        // Bob has the role of that name, whichever it is.
        for (user, password) in [("alice", password), ("bob", "two")] {
            let [may, may_not] =
                [readable, hidden].map(|key| asks(user, password, &format!("get {key}")));
            assert!(may && !may_not, "{prefer}: {user}");
        }
        assert!(!asks("alice", other, &format!("get {readable}")), "{prefer}");
    }
    // Without users there is nothing to say.
    let (ours, summary) = place.imported(&from, "open", &["--without-auth"]);
    assert_eq!((summary["users"], summary["roles"]), (0, 0), "{summary:?}");
    assert_eq!(ask::keys(&ours), ["/v2", "/v3"]);
}

/// Then everybody may do everything; but what the original has refused has not happened.
#[test]
fn users_can_be_left_behind() {
    let Some(place) = Place::new() else { return };
    let mut original = place.original(&FLAGS);
    fill_v3(&place, &original);
    original.kill();
    let (ours, summary) = place.imported(&place.path("original"), "open", &["--without-auth"]);
    assert_eq!((summary["users"], summary["roles"]), (0, 0), "{summary:?}");
    assert_eq!(ask::keys(&ours), ["/a/x", "/late", "/one", "/two", "m"]);
    fill::put(&ours, b"anybody", b"1", 0);
}
