//! Users and roles through the real binaries: clusters, restarts, snapshots, certificates, JWTs.

use std::{process::Command, time::Duration};

use e2e::{
    Member, Start,
    authority::{Authority, put},
    binaries,
    cluster::Cluster,
    eventually,
    http::Request,
    run::{self, Output},
    v3 as gateway,
};
use serde_json::json;
use tempfile::TempDir;

const PATIENCE: Duration = Duration::from_secs(30);

/// etcdctl with API 3 at these endpoints, by this user.
fn v3(endpoints: &str, user: &str, arguments: &[&str]) -> Output {
    let mut command = run::etcdctl_v3(&binaries::etcdctl(), endpoints);
    if !user.is_empty() {
        command.args(["--user", user]);
    }
    run::run(command.args(arguments), "")
}

#[track_caller]
fn ok(output: &Output) -> &str {
    assert_eq!(output.exit, Some(0), "{output:?}");
    &output.stdout
}

#[track_caller]
fn refused(output: &Output, text: &str) {
    assert_ne!(output.exit, Some(0), "{output:?}");
    assert!(output.stderr.contains(text), "{output:?}");
}

/// Root and alice, who may do what she likes below `/a/`; users are asked who they are.
fn enable(endpoints: &str) {
    let run = |arguments: &[&str]| assert!(!ok(&v3(endpoints, "", arguments)).is_empty());
    run(&["user", "add", "root:rootpw"]);
    run(&["user", "grant-role", "root", "root"]);
    run(&["user", "add", "alice:alicepw"]);
    run(&["role", "add", "a"]);
    run(&["role", "grant-permission", "a", "readwrite", "--prefix", "/a/"]);
    run(&["user", "grant-role", "alice", "a"]);
    run(&["auth", "enable"]);
}

fn allow(member: &mut Member) {
    member.allow("invalid authentication was requested");
    member.allow("auth: no such user, or a wrong password");
}

#[test]
fn every_member_of_a_cluster_asks_alike_also_after_its_death() {
    let mut cluster = Cluster::start_with(3, &["--bcrypt-cost=4", "--snapshot-count=50"]);
    cluster.members.iter_mut().for_each(allow);
    let urls: Vec<String> = cluster.members.iter().map(Member::url).collect();
    enable(&urls[0]);
    let all = |urls: &[String]| {
        for url in urls {
            ok(&v3(url, "alice:alicepw", &["put", "/a/x", "1"]));
            ok(&v3(url, "alice:alicepw", &["get", "/a/x"]));
            refused(&v3(url, "alice:alicepw", &["put", "/b", "1"]), "permission denied");
            refused(&v3(url, "alice:rootpw", &["get", "/a/x"]), "authentication failed");
            refused(&v3(url, "", &["get", "/a/x"]), "user name is empty");
        }
    };
    all(&urls);
    // One token for all members, whichever gave it out and is asked next.
    for _ in 0..5 {
        ok(&v3(&urls.join(","), "alice:alicepw", &["endpoint", "status"]));
    }
    cluster.members[1].kill();
    // So much that it is sent a snapshot.
    for number in 0..200 {
        ok(&v3(&urls[0], "root:rootpw", &["put", "/a/n", &number.to_string()]));
    }
    ok(&v3(&urls[0], "root:rootpw", &["user", "delete", "alice"]));
    cluster.members[1].restart();
    let denied = eventually(PATIENCE, "the member has heard of it", || {
        let output = v3(&urls[1], "alice:alicepw", &["get", "/a/x"]);
        output.stderr.contains("authentication failed").then_some(output)
    });
    assert_ne!(denied.exit, Some(0));
    ok(&v3(&urls[1], "root:rootpw", &["get", "/a/x"]));
}

/// Who the members are is not asked again when a change of them is carried out.
#[test]
fn whoever_is_root_no_longer_changes_no_members_through_one_that_has_not_heard() {
    let Some(mut cluster) = Cluster::start_apart(3) else { return };
    cluster.members.iter_mut().for_each(allow);
    let leader = cluster.leader();
    let lags = (leader + 1) % 3;
    let url = cluster.members[leader].url();
    enable(&url);
    ok(&v3(&url, "root:rootpw", &["user", "grant-role", "alice", "root"]));
    let asked = json!({"name": "alice", "password": "alicepw"});
    let token =
        gateway::post(&cluster.members[leader], "auth/authenticate", &asked)["token"].clone();
    let token = token.as_str().expect("a token").to_owned();
    let v3_asks = |path: &str, body: &serde_json::Value| {
        let request = Request::json("POST", &format!("/v3/{path}"), &body.to_string());
        request.header("Authorization", &token)
    };
    let basic = "Basic YWxpY2U6YWxpY2Vwdw==";
    let knows = v3_asks("maintenance/hashkv", &json!({}));
    eventually(PATIENCE, "the follower knows that she is root", || {
        (cluster.members[lags].ask(&knows).status == 200).then_some(())
    });
    cluster.isolate(lags);
    ok(&v3(&url, "root:rootpw", &["user", "revoke-role", "alice", "root"]));
    assert_eq!(cluster.members[lags].ask(&knows).status, 200, "it has not heard");
    let added = json!({"peerURLs": ["http://127.0.0.1:1"], "isLearner": true});
    let alarm = json!({"action": "ACTIVATE", "alarm": "NOSPACE", "memberID": "1"});
    let downgrade = json!({"action": "CANCEL"});
    let requests = [
        (v3_asks("cluster/member/add", &added), 403),
        (v3_asks("maintenance/alarm", &alarm), 403),
        (v3_asks("maintenance/downgrade", &downgrade), 403),
        (
            Request::json("POST", "/v2/members", r#"{"peerURLs":["http://127.0.0.1:2"]}"#)
                .header("Authorization", basic),
            401,
        ),
    ];
    let answers = std::thread::scope(|scope| {
        let asked = requests.each_ref().map(|(request, _)| {
            let mut connection = cluster.members[lags].connect();
            scope.spawn(move || connection.ask(request).expect("an answer"))
        });
        std::thread::sleep(Duration::from_millis(500));
        cluster.heal();
        asked.map(|asked| asked.join().expect("no panic"))
    });
    for ((request, status), answer) in requests.iter().zip(answers) {
        assert_eq!(answer.status, *status, "{request:?}: {}", answer.text());
    }
}

#[test]
fn users_are_kept_on_disk_and_in_snapshots() {
    let mut member = Start::new().flag("--bcrypt-cost=4").start();
    allow(&mut member);
    enable(&member.url());
    ok(&v3(&member.url(), "root:rootpw", &["put", "/a/x", "1"]));
    member.kill();
    member.restart();
    refused(&v3(&member.url(), "", &["get", "/a/x"]), "user name is empty");
    assert!(ok(&v3(&member.url(), "alice:alicepw", &["get", "/a/x"])).contains("/a/x\n1"));
    let dir = TempDir::new().expect("/tmp can be written");
    let file = dir.path().join("saved.db").display().to_string();
    refused(&v3(&member.url(), "alice:alicepw", &["snapshot", "save", &file]), "permission denied");
    ok(&v3(&member.url(), "root:rootpw", &["snapshot", "save", &file]));
    let data = dir.path().join("restored");
    let mut restore = Command::new(binaries::etcdutl());
    let data_dir = data.display().to_string();
    ok(&run::run(restore.args(["snapshot", "restore", &file, "--data-dir", &data_dir]), ""));
    let mut restored = Start::new().data_dir(&data).start();
    allow(&mut restored);
    refused(&v3(&restored.url(), "", &["get", "/a/x"]), "user name is empty");
    refused(&v3(&restored.url(), "alice:alicepw", &["get", "/b"]), "permission denied");
    assert!(ok(&v3(&restored.url(), "alice:alicepw", &["get", "/a/x"])).contains("/a/x\n1"));
}

/// The name in a certificate is a user, for gRPC alone.
#[test]
fn a_certificate_says_who_comes() {
    let (dir, authority) = (TempDir::new().expect("/tmp can be written"), Authority::new("ours"));
    let ca = put(dir.path(), "ca.pem", &authority.pem).display().to_string();
    let (cert, key) = authority.issue(dir.path(), "member", 1);
    let url = format!("https://127.0.0.1:{}", e2e::ports::free());
    let mut member = Start::new()
        .flag("--bcrypt-cost=4")
        .flag(&format!("--listen-client-http-urls=http://127.0.0.1:{}", e2e::ports::free()))
        .with("listen-client-urls", Some(&url))
        .flag(&format!("--cert-file={}", cert.display()))
        .flag(&format!("--key-file={}", key.display()))
        .flag(&format!("--trusted-ca-file={ca}"))
        .flag("--client-cert-auth")
        .spawn();
    allow(&mut member);
    member.allow("The scheme of client url");
    eventually(PATIENCE, "it serves", || {
        member.log().text().contains("ready to serve client requests").then_some(())
    });
    let by = |name: &str, serial: u64, arguments: &[&str]| {
        let (cert, key) = authority.issue(dir.path(), name, serial);
        let (cert, key) = (cert.display().to_string(), key.display().to_string());
        let mut command = run::etcdctl_v3(&binaries::etcdctl(), &url);
        command.args(["--cacert", &ca, "--cert", &cert, "--key", &key]);
        run::run(command.args(arguments), "")
    };
    ok(&by("root", 2, &["user", "add", "root", "--no-password"]));
    ok(&by("root", 2, &["user", "grant-role", "root", "root"]));
    ok(&by("root", 2, &["auth", "enable"]));
    ok(&by("root", 2, &["put", "/a", "1"]));
    refused(&by("stranger", 3, &["put", "/a", "2"]), "permission denied");
    ok(&by("root", 2, &["user", "add", "alice:alicepw"]));
    // A token comes before a certificate.
    refused(&by("root", 2, &["--user", "alice:alicepw", "put", "/a", "2"]), "permission denied");
    let no_password = by("stranger", 3, &["--user", "root:x", "get", "/a"]);
    refused(&no_password, "password was given for no password user");
}

#[test]
fn jwts_are_signed_by_one_member_and_known_to_all() {
    let keys = concat!(env!("CARGO_MANIFEST_DIR"), "/../tls/testdata/jws");
    let token = format!(
        "--auth-token=jwt,sign-method=RS256,priv-key={keys}/rsa.pem,pub-key={keys}/rsa.pub.pem,ttl=5m"
    );
    let mut cluster = Cluster::start_with(3, &["--bcrypt-cost=4", &token]);
    cluster.members.iter_mut().for_each(allow);
    let urls: Vec<String> = cluster.members.iter().map(Member::url).collect();
    enable(&urls[0]);
    for url in &urls {
        ok(&v3(url, "alice:alicepw", &["put", "/a/x", "1"]));
        refused(&v3(url, "alice:alicepw", &["put", "/b", "1"]), "permission denied");
    }
    ok(&v3(&urls.join(","), "alice:alicepw", &["get", "/a/x"]));
}

/// etcdctl with API 2, as its users know it.
#[test]
fn users_of_api_2() {
    let mut member = Start::new().flag("--bcrypt-cost=4").start();
    allow(&mut member);
    let ctl = |user: &str, arguments: &[&str]| {
        let mut command = run::etcdctl(&binaries::etcdctl(), &member.url());
        if !user.is_empty() {
            command.args(["--username", user]);
        }
        run::run(command.args(arguments), "")
    };
    assert_eq!(ok(&ctl("", &["user", "add", "root:rootpw"])), "User root created\n");
    assert_eq!(ok(&ctl("", &["user", "add", "alice:alicepw"])), "User alice created\n");
    refused(&ctl("", &["user", "add", "alice:x"]), "User alice already exists");
    assert_eq!(ok(&ctl("", &["role", "add", "reader"])), "Role reader created\n");
    let grant = ["role", "grant", "reader", "--path", "/a/*", "--read"];
    assert_eq!(ok(&ctl("", &grant)), "Role reader updated\n");
    assert_eq!(
        ok(&ctl("", &["user", "grant", "alice", "--roles", "reader"])),
        "User alice updated\n"
    );
    assert_eq!(ok(&ctl("", &["user", "get", "alice"])), "User: alice\nRoles: reader\n");
    assert_eq!(ok(&ctl("", &["user", "list"])), "alice\nroot\n");
    assert_eq!(ok(&ctl("", &["set", "/a/x", "1"])), "1\n");
    assert_eq!(ok(&ctl("", &["auth", "enable"])), "Authentication Enabled\n");
    refused(&ctl("root:wrong", &["auth", "disable"]), "Insufficient credentials");
    // Guests, until their role says no: the log tells how.
    let warned = || member.log().text().matches("guests may read and write every key").count();
    assert_eq!(warned(), 1);
    assert_eq!(ok(&ctl("", &["get", "/a/x"])), "1\n");
    let shut = ["role", "revoke", "guest", "--path", "/*", "--readwrite"];
    assert_eq!(ok(&ctl("root:rootpw", &shut)), "Role guest updated\n");
    refused(&ctl("", &["get", "/a/x"]), "The request requires user authentication");
    assert_eq!(warned(), 1);
    assert_eq!(ok(&ctl("alice:alicepw", &["get", "/a/x"])), "1\n");
    refused(
        &ctl("alice:alicepw", &["set", "/a/x", "2"]),
        "The request requires user authentication",
    );
    refused(&ctl("alice:alicepw", &["user", "list"]), "Insufficient credentials");
    // The same user is held to the same through API 3.
    assert!(ok(&v3(&member.url(), "alice:alicepw", &["get", "/a/x"])).contains("/a/x\n1"));
    refused(&v3(&member.url(), "alice:alicepw", &["put", "/a/x", "2"]), "permission denied");
    let revoke = ["user", "revoke", "alice", "--roles", "reader"];
    assert_eq!(ok(&ctl("root:rootpw", &revoke)), "User alice updated\n");
    refused(&ctl("alice:alicepw", &["get", "/a/x"]), "The request requires user authentication");
    assert_eq!(ok(&ctl("root:rootpw", &["role", "remove", "reader"])), "Role reader removed\n");
    assert_eq!(ok(&ctl("root:rootpw", &["user", "remove", "alice"])), "User alice removed\n");
    assert_eq!(ok(&ctl("root:rootpw", &["auth", "disable"])), "Authentication Disabled\n");
    assert_eq!(ok(&ctl("", &["set", "/a/x", "3"])), "3\n");
}

/// However often somebody tries, the log says it once a minute for each user, with a count.
#[test]
fn wrong_passwords_do_not_fill_the_log() {
    let mut member = Start::new().flag("--bcrypt-cost=4").start();
    allow(&mut member);
    enable(&member.url());
    for _ in 0..40 {
        let wrong = Request::get("/v2/keys/a").header("Authorization", "Basic YWxpY2U6eA==");
        assert_eq!(member.ask(&wrong).status, 401);
    }
    let said = member.log().lines();
    let said: Vec<_> = said.iter().filter(|line| line.contains("or a wrong password")).collect();
    assert!((1..=3).contains(&said.len()), "{said:?}");
}
