//! Users and roles through v2, and through both APIs at once: whoever is shut out through one is shut
//! out through the other.

use serde_json::{Value, json};

use crate::{
    member::Member,
    wire::{Answer, FORM, Wire},
};

/// A member whose passwords take no time.
pub(crate) fn member() -> Member {
    let auth = api::AuthConfig { bcrypt_cost: 4, ..api::AuthConfig::default() };
    Member::start_with(api::Config { auth, ..api::Config::default() })
}

pub(crate) fn base64(text: &str) -> String {
    const LETTERS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::new();
    for chunk in text.as_bytes().chunks(3) {
        let bits = chunk.iter().fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte));
        let bits = bits << (8 * (3 - chunk.len()));
        for at in 0..4 {
            let letter = LETTERS[(bits >> (18 - 6 * at) & 63) as usize];
            out.push(if at <= chunk.len() { char::from(letter) } else { '=' });
        }
    }
    out
}

/// Asks on behalf of `user:password`; of nobody, if that is empty.
#[track_caller]
pub(crate) fn ask(
    wire: &mut Wire,
    pair: &str,
    method: &str,
    target: &str,
    body: Option<&str>,
) -> Answer {
    let mut text = format!("{method} {target} HTTP/1.1\r\nHost: x\r\n");
    if !pair.is_empty() {
        text += &format!("Authorization: Basic {}\r\n", base64(pair));
    }
    let body = body.unwrap_or_default();
    text += if body.starts_with('{') { "Content-Type: application/json\r\n" } else { FORM };
    text += &format!("Content-Length: {}\r\n\r\n{body}", body.len());
    wire.send(text);
    wire.answer_to(method)
}

/// The root user, alice, who may read and write what is below `/a/` and read `/b`, and idle.
pub(crate) fn prepare(wire: &mut Wire) {
    for user in ["root", "alice", "idle"] {
        let body = json!({ "user": user, "password": format!("{user}pw") }).to_string();
        ask(wire, "", "PUT", &format!("/v2/auth/users/{user}"), Some(&body)).expect(201);
    }
    let kv = json!({ "read": ["/a/*", "/b"], "write": ["/a/*"] });
    let role = json!({ "role": "some", "permissions": { "kv": kv } }).to_string();
    ask(wire, "", "PUT", "/v2/auth/roles/some", Some(&role)).expect(201);
    let grant = r#"{"user":"alice","grant":["some"]}"#;
    ask(wire, "", "PUT", "/v2/auth/users/alice", Some(grant)).expect(200);
    for key in ["/a/x", "/b", "/c"] {
        ask(wire, "", "PUT", &format!("/v2/keys{key}"), Some("value=1")).expect(201);
    }
    ask(wire, "", "PUT", "/v2/auth/enable", None).expect(200);
}

fn shut_guests_out(wire: &mut Wire) {
    let revoke = r#"{"role":"guest","revoke":{"kv":{"read":["/*"],"write":["/*"]}}}"#;
    ask(wire, "root:rootpw", "PUT", "/v2/auth/roles/guest", Some(revoke)).expect(200);
}

/// What a request asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Needs {
    Nothing,
    /// What guests may, as long as they may everything.
    Key,
    /// What alice may as well.
    HerKey,
    Root,
}

use Needs::{HerKey, Key, Nothing, Root};

const USER: &str = r#"{"user":"new","password":""}"#;
const ROLE: &str = r#"{"role":"root","permissions":{"kv":{"read":["/x"]}}}"#;
const MEMBER: &str = r#"{"peerURLs":["nonsense"]}"#;

/// Every endpoint with its methods. Requests that are let in need not succeed.
const ROWS: &[(&str, &str, Option<&str>, Needs)] = &[
    ("GET", "/v2/keys/b", None, HerKey),
    ("HEAD", "/v2/keys/b", None, HerKey),
    ("GET", "/v2/keys/b?quorum=true", None, HerKey),
    ("GET", "/v2/keys/a/x", None, HerKey),
    ("GET", "/v2/keys/a/?recursive=true", None, HerKey),
    ("GET", "/v2/keys/a?recursive=true", None, Key),
    ("GET", "/v2/keys/", None, Key),
    ("GET", "/v2/keys/?recursive=true", None, Key),
    ("GET", "/v2/keys/c", None, Key),
    ("GET", "/v2/keys/none", None, Key),
    ("GET", "/v2/keys/b?wait=true&waitIndex=1", None, HerKey),
    ("GET", "/v2/keys/c?wait=true&waitIndex=1", None, Key),
    ("GET", "/v2/keys/?wait=true&recursive=true&waitIndex=1", None, Key),
    ("PUT", "/v2/keys/a/y", Some("value=2"), HerKey),
    ("POST", "/v2/keys/a/queue", Some("value=2"), HerKey),
    ("PUT", "/v2/keys/b", Some("value=2"), Key),
    ("PUT", "/v2/keys/c?prevExist=true", Some("value=2"), Key),
    ("DELETE", "/v2/keys/a/y", None, HerKey),
    ("DELETE", "/v2/keys/c?prevValue=x", None, Key),
    ("DELETE", "/v2/keys/?recursive=true", None, Key),
    ("GET", "/v2/auth/enable", None, Nothing),
    ("PUT", "/v2/auth/enable", None, Root),
    ("GET", "/v2/auth/users", None, Root),
    ("GET", "/v2/auth/users/alice", None, Root),
    ("PUT", "/v2/auth/users/new", Some(USER), Root),
    ("DELETE", "/v2/auth/users/root", None, Root),
    ("GET", "/v2/auth/roles", None, Root),
    ("GET", "/v2/auth/roles/some", None, Root),
    ("PUT", "/v2/auth/roles/root", Some(ROLE), Root),
    ("DELETE", "/v2/auth/roles/root", None, Root),
    ("GET", "/v2/members", None, Nothing),
    ("GET", "/v2/members/leader", None, Nothing),
    ("POST", "/v2/members", Some(MEMBER), Root),
    ("PUT", "/v2/members/9", Some(MEMBER), Root),
    ("DELETE", "/v2/members/9", None, Root),
    ("GET", "/v2/machines", None, Nothing),
    ("GET", "/v2/stats/self", None, Nothing),
    ("GET", "/v2/stats/leader", None, Nothing),
    ("GET", "/v2/stats/store", None, Nothing),
    ("GET", "/version", None, Nothing),
    ("GET", "/health", None, Nothing),
    ("GET", "/livez", None, Nothing),
    ("GET", "/readyz/data_corruption", None, Nothing),
    ("GET", "/metrics", None, Nothing),
    ("GET", "/debug/vars", None, Nothing),
    ("GET", "/debug/pprof/cmdline", None, Nothing),
    // In the original whoever likes.
    ("PUT", "/config/local/log", Some("{}"), Root),
    ("DELETE", "/v2/auth/enable", None, Root),
];

const CALLERS: [(&str, &str); 7] = [
    ("a guest", ""),
    ("a guest who is shut out", ""),
    ("a stranger", "nobody:x"),
    ("a wrong password", "root:alicepw"),
    ("idle", "idle:idlepw"),
    ("alice", "alice:alicepw"),
    ("root", "root:rootpw"),
];

fn is_let_in(caller: &str, needs: Needs) -> bool {
    match caller {
        "root" => true,
        "a guest" => needs != Root,
        "alice" => matches!(needs, Nothing | HerKey),
        _ => needs == Nothing,
    }
}

/// The rows of v3 are in `grpc/permissions.rs`.
#[test]
fn every_endpoint_asks_who_asks() {
    for endpoint in api::endpoints() {
        let is_of = |(_, target, ..): &(&str, &str, _, _)| target.starts_with(endpoint);
        assert!(ROWS.iter().any(is_of), "who may ask at {endpoint}?");
    }
    let member = member();
    let mut wire = member.connect();
    prepare(&mut wire);
    for (caller, pair) in CALLERS {
        if caller == "a guest who is shut out" {
            shut_guests_out(&mut wire);
        }
        for (method, target, body, needs) in ROWS {
            let answer = ask(&mut wire, pair, method, target, *body);
            let (is_in, expected) = (answer.status != 401, is_let_in(caller, *needs));
            assert_eq!(is_in, expected, "{method} {target} by {caller}: {}", answer.text());
            if !is_in && *method != "HEAD" {
                let told = answer.json();
                let is_key = target.starts_with("/v2/keys");
                let text = if is_key { &told["cause"] } else { &told["message"] };
                assert_eq!(text, "Insufficient credentials", "{method} {target}");
                assert!(!is_key || told["errorCode"] == 110, "{method} {target}");
            }
        }
        // The last row was carried out for whoever may.
        if caller == "root" {
            assert_eq!(member.get("/v2/keys/c").status, 200, "nobody is asked any more");
        }
    }
}

pub(crate) fn v3(wire: &mut Wire, token: &str, method: &str, question: &Value) -> (u16, Value) {
    let body = question.to_string();
    let mut text = format!("POST /v3/{method} HTTP/1.1\r\nHost: x\r\n");
    if !token.is_empty() {
        text += &format!("Authorization: {token}\r\n");
    }
    text += &format!("Content-Length: {}\r\n\r\n{body}", body.len());
    wire.send(text);
    let answer = wire.answer();
    (answer.status, answer.json())
}

pub(crate) fn log_in(wire: &mut Wire, user: &str) -> String {
    let question = json!({ "name": user, "password": format!("{user}pw") });
    let (status, answer) = v3(wire, "", "auth/authenticate", &question);
    assert_eq!(status, 200, "{answer}");
    answer["token"].as_str().unwrap().to_owned()
}

#[test]
fn both_apis_hold_a_user_to_the_same() {
    let member = member();
    let mut wire = member.connect();
    prepare(&mut wire);
    let token = log_in(&mut wire, "alice");
    for (key, reads, writes) in
        [("/a/x", true, true), ("/a/new", true, true), ("/b", true, false), ("/c", false, false)]
    {
        let target = format!("/v2/keys{key}");
        let got = ask(&mut wire, "alice:alicepw", "GET", &target, None).status != 401;
        let put = ask(&mut wire, "alice:alicepw", "PUT", &target, Some("value=2")).status != 401;
        assert_eq!((got, put), (reads, writes), "{key} through v2");
        let key = base64(key);
        let (got, _) = v3(&mut wire, &token, "kv/range", &json!({ "key": key }));
        let (put, _) = v3(&mut wire, &token, "kv/put", &json!({ "key": key, "value": "Mg==" }));
        assert_eq!((got != 403, put != 403), (reads, writes), "{key} through v3");
    }
    // Guests are v2's alone: here they may still do everything.
    assert_eq!(ask(&mut wire, "", "GET", "/v2/keys/c", None).status, 200);
    let (status, answer) = v3(&mut wire, "", "kv/range", &json!({ "key": base64("/c") }));
    assert_eq!((status, &answer["message"]), (400, &json!("etcdserver: user name is empty")));
    // What v3 changes counts through v2, and the other way.
    let root = log_in(&mut wire, "root");
    let delete = json!({ "role": "some" });
    assert_eq!(v3(&mut wire, &root, "auth/role/delete", &delete).0, 200);
    ask(&mut wire, "alice:alicepw", "GET", "/v2/keys/b", None).expect(401);
    let (status, _) = v3(&mut wire, &root, "auth/user/delete", &json!({ "name": "alice" }));
    assert_eq!(status, 200);
    let gone = ask(&mut wire, "root:rootpw", "GET", "/v2/auth/users/alice", None).expect(404);
    assert_eq!(gone.json()["message"], "auth: User alice does not exist.");
    let new = r#"{"user":"alice","password":"alicepw","roles":["root"]}"#;
    ask(&mut wire, "root:rootpw", "PUT", "/v2/auth/users/alice", Some(new)).expect(200);
    let (status, answer) = v3(&mut wire, &token, "kv/range", &json!({ "key": base64("/c") }));
    assert_eq!((status, &answer["message"]), (401, &json!("etcdserver: invalid auth token")));
    let again = log_in(&mut wire, "alice");
    assert_eq!(v3(&mut wire, &again, "kv/range", &json!({ "key": base64("/c") })).0, 200);
}

#[test]
fn enabling_through_v3_opens_no_door_for_guests() {
    let member = member();
    let mut wire = member.connect();
    prepare(&mut wire);
    ask(&mut wire, "root:rootpw", "DELETE", "/v2/auth/enable", None).expect(200);
    ask(&mut wire, "", "GET", "/v2/keys/c", None).expect(200);
    // Nor does it find one that v2 has opened while nobody was asked who he is.
    let grant = r#"{"role":"guest","grant":{"kv":{"read":["/c"]}}}"#;
    ask(&mut wire, "", "PUT", "/v2/auth/roles/guest", Some(grant)).expect(200);
    assert_eq!(v3(&mut wire, "", "auth/enable", &json!({})).0, 200);
    ask(&mut wire, "", "GET", "/v2/keys/c", None).expect(401);
    ask(&mut wire, "root:rootpw", "GET", "/v2/keys/c", None).expect(200);
}

/// A permission on `/a` alone does not open what lies in it.
#[test]
fn a_listing_shows_what_may_be_read_of_it() {
    let member = member();
    let mut wire = member.connect();
    prepare(&mut wire);
    shut_guests_out(&mut wire);
    let (idle, root) = ("idle:idlepw", "root:rootpw");
    let kv = json!({ "read": ["/e", "/e/own", "/e/below/*"] });
    let role = json!({ "role": "exact", "permissions": { "kv": kv } }).to_string();
    ask(&mut wire, root, "PUT", "/v2/auth/roles/exact", Some(&role)).expect(201);
    let grant = r#"{"user":"idle","grant":["exact"]}"#;
    ask(&mut wire, root, "PUT", "/v2/auth/users/idle", Some(grant)).expect(200);
    for key in ["/e/first", "/e/own", "/e/below/x", "/e/other/x", "/e/zz"] {
        let target = format!("/v2/keys{key}");
        ask(&mut wire, root, "PUT", &target, Some("value=secret")).expect(201);
    }
    let names = |answer: Answer| -> Vec<String> {
        let listed = answer.expect(200).json();
        let nodes = listed["node"]["nodes"].as_array().cloned().unwrap_or_default();
        nodes.iter().map(|node| node["key"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(names(ask(&mut wire, idle, "GET", "/v2/keys/e", None)), ["/e/below", "/e/own"]);
    assert_eq!(names(ask(&mut wire, root, "GET", "/v2/keys/e", None)).len(), 5);
    ask(&mut wire, idle, "GET", "/v2/keys/e?recursive=true", None).expect(401);
    ask(&mut wire, idle, "GET", "/v2/keys/e/first", None).expect(401);
    assert_eq!(names(ask(&mut wire, idle, "GET", "/v2/keys/e/below/", None)), ["/e/below/x"]);
}

/// v2 sends the password with each request: after a change of users they must not all be looked at.
#[test]
fn many_requests_of_one_user_at_once_are_all_answered() {
    let auth = api::AuthConfig { bcrypt_cost: 9, ..api::AuthConfig::default() };
    let member = Member::start_with(api::Config { auth, ..api::Config::default() });
    let mut wire = member.connect();
    prepare(&mut wire);
    let mut wires: Vec<Wire> = (0..200).map(|_| member.connect()).collect();
    let basic = base64("alice:alicepw");
    for wire in &mut wires {
        wire.send(format!(
            "GET /v2/keys/b HTTP/1.1\r\nHost: x\r\nAuthorization: Basic {basic}\r\n\r\n"
        ));
    }
    let answers = wires.iter_mut().map(Wire::answer);
    let refused = answers.filter(|answer| answer.status != 200).count();
    assert_eq!(refused, 0);
}

/// What is named with a slash is a directory, whoever writes a key of that name.
#[test]
fn who_may_look_below_a_path_is_not_told_of_a_key_of_its_name() {
    let member = member();
    let mut wire = member.connect();
    prepare(&mut wire);
    shut_guests_out(&mut wire);
    let (alice, root) = ("alice:alicepw", "root:rootpw");
    let index =
        ask(&mut wire, root, "GET", "/v2/keys/", None).header("X-Etcd-Index").unwrap().to_owned();
    let since = index.parse::<u64>().unwrap() + 1;
    let below = format!("/v2/keys/a/?wait=true&recursive=true&waitIndex={since}");
    ask(&mut wire, root, "DELETE", "/v2/keys/a?recursive=true", None).expect(200);
    ask(&mut wire, root, "PUT", "/v2/keys/a", Some("value=secret")).expect(201);
    ask(&mut wire, alice, "GET", "/v2/keys/a/", None).expect(401);
    ask(&mut wire, alice, "PUT", "/v2/keys/a/", Some("value=mine")).expect(401);
    ask(&mut wire, root, "PUT", "/v2/keys/a?dir=true", Some("")).expect(200);
    ask(&mut wire, root, "PUT", "/v2/keys/a/z", Some("value=1")).expect(201);
    let mut target = below;
    let mut told = Vec::new();
    while told.last() != Some(&json!("/a/z")) {
        let event = ask(&mut wire, alice, "GET", &target, None).expect(200);
        assert!(!event.text().contains("secret"), "{}", event.text());
        let event = event.json();
        told.push(event["node"]["key"].clone());
        let next = event["node"]["modifiedIndex"].as_u64().unwrap() + 1;
        target = format!("/v2/keys/a/?wait=true&recursive=true&waitIndex={next}");
    }
    assert_eq!(told, ["/a", "/a", "/a/z"], "the directory goes, comes back, and is filled");
}

/// What shuts somebody out whose watch goes on.
const SHUT_OUT: [(&str, &str); 7] = [
    ("enabling", ""),
    ("enabling", "alice:alicepw"),
    ("shutting guests out", ""),
    ("revoking", "alice:alicepw"),
    ("another password", "alice:alicepw"),
    ("deleting", "alice:alicepw"),
    ("deleting and making anew", "alice:alicepw"),
];

fn shut_out(wire: &mut Wire, change: &str) {
    let (root, alice) = ("root:rootpw", "/v2/auth/users/alice");
    let revoke = r#"{"user":"alice","revoke":["some"]}"#;
    let password = r#"{"user":"alice","password":"new"}"#;
    let anew = r#"{"user":"alice","password":"new","roles":["some"]}"#;
    match change {
        // Through v3: that lets no guests in.
        "enabling" => assert_eq!(v3(wire, "", "auth/enable", &json!({})).0, 200),
        "shutting guests out" => shut_guests_out(wire),
        "revoking" => drop(ask(wire, root, "PUT", alice, Some(revoke)).expect(200)),
        "another password" => drop(ask(wire, root, "PUT", alice, Some(password)).expect(200)),
        "deleting" => drop(ask(wire, root, "DELETE", alice, None).expect(200)),
        "deleting and making anew" => {
            ask(wire, root, "DELETE", alice, None).expect(200);
            ask(wire, root, "PUT", alice, Some(anew)).expect(200);
        }
        other => panic!("{other}?"),
    }
}

/// 2.3.8 asks when a watch begins, and never again.
#[test]
fn a_watch_ends_once_its_user_may_no_longer_read() {
    for (change, pair) in SHUT_OUT {
        for stream in [true, false] {
            check_a_watch(change, pair, stream);
        }
    }
}

fn check_a_watch(change: &str, pair: &str, stream: bool) {
    let about = format!("{change}, by {pair:?}, stream: {stream}");
    let member = member();
    let (mut wire, root) = (member.connect(), "root:rootpw");
    prepare(&mut wire);
    if change == "enabling" {
        ask(&mut wire, root, "DELETE", "/v2/auth/enable", None).expect(200);
    }
    let mut watch = member.connect();
    let mut text = format!("GET /v2/keys/a/x?wait=true&stream={stream} HTTP/1.1\r\nHost: x\r\n");
    if !pair.is_empty() {
        text += &format!("Authorization: Basic {}\r\n", base64(pair));
    }
    watch.send(text + "\r\n");
    assert_eq!(watch.head().status, 200, "{about}");
    // What concerns others ends nothing.
    let other = r#"{"user":"idle","password":"other"}"#;
    ask(&mut wire, root, "PUT", "/v2/auth/users/idle", Some(other)).expect(200);
    if stream {
        ask(&mut wire, root, "PUT", "/v2/keys/a/x", Some("value=first")).expect(200);
        let told = watch.chunk().unwrap().expect("it goes on");
        assert!(String::from_utf8_lossy(&told).contains("first"), "{about}");
    }
    shut_out(&mut wire, change);
    ask(&mut wire, root, "PUT", "/v2/keys/a/x", Some("value=secret")).expect(200);
    let told = watch.chunk().unwrap();
    let told = told.as_deref().map(String::from_utf8_lossy);
    assert_eq!(told, None, "{about}");
    // Who asks again over the same connection is told why.
    watch.send(format!(
        "GET /v2/keys/a/x?wait=true HTTP/1.1\r\nHost: x\r\nAuthorization: Basic {}\r\n\r\n",
        base64("alice:wrong")
    ));
    assert_eq!(watch.answer().status, 401, "{about}");
}

/// Those who may read all the same are told, whatever else has changed.
#[test]
fn a_watch_goes_on_for_whoever_may_still_read() {
    let member = member();
    let (mut wire, root) = (member.connect(), "root:rootpw");
    prepare(&mut wire);
    let mut watches: Vec<Wire> = Vec::new();
    for (pair, target) in
        [("", "/v2/keys/a/x"), ("alice:alicepw", "/v2/keys/a/"), (root, "/v2/keys/")]
    {
        let mut watch = member.connect();
        let mut text =
            format!("GET {target}?wait=true&stream=true&recursive=true HTTP/1.1\r\nHost: x\r\n");
        if !pair.is_empty() {
            text += &format!("Authorization: Basic {}\r\n", base64(pair));
        }
        watch.send(text + "\r\n");
        watch.head().expect(200);
        watches.push(watch);
    }
    let more = r#"{"role":"some","grant":{"kv":{"read":["/c"]}}}"#;
    ask(&mut wire, root, "PUT", "/v2/auth/roles/some", Some(more)).expect(200);
    let mut all_are_told = |wire: &mut Wire, value: &str| {
        ask(wire, root, "PUT", "/v2/keys/a/x", Some(&format!("value={value}"))).expect(200);
        for watch in &mut watches {
            let told = watch.chunk().unwrap().expect("it goes on");
            assert!(String::from_utf8_lossy(&told).contains(value));
        }
    };
    all_are_told(&mut wire, "after a grant");
    ask(&mut wire, root, "DELETE", "/v2/auth/enable", None).expect(200);
    all_are_told(&mut wire, "nobody is asked");
    ask(&mut wire, "", "PUT", "/v2/auth/enable", None).expect(200);
    all_are_told(&mut wire, "guests are let in again");
}
