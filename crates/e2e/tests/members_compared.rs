//! `etcdctl member` and `/v2/members`, the same to three members of real etcd 3.4.23 and to three of
//! ours: what is printed, how it ends, what stands in the answers.

use std::{path::PathBuf, time::Duration};

use e2e::{Connection, Request, binaries, cluster::Cluster, ports, rings, run};
use serde_json::Value;

/// For so long after its start real etcd takes a cluster for unhealthy.
const WARM_UP: Duration = Duration::from_secs(6);

/// What is meant to differ, as 3.4.23 has it and as ours does. See `docs/differences.md`.
const MEANT: &[(&str, &str)] = &[
    // It says what is wrong.
    (
        "Internal Server Error",
        "etcdserver: re-configuration failed due to not enough started members",
    ),
    ("Internal Server Error", "etcdserver: unhealthy cluster"),
    // 2.3.8 has it as ours does.
    ("membership: peerURL exists", "etcdserver: peerURL exists"),
    ("URL scheme must be http, https, unix, or unixs", "URL scheme must be http or https"),
    // Of a member that was removed.
    (
        "500 Content-Type: application/json\ncluster id: true\n{\"message\":\"Internal Server Error\"}",
        "410 Content-Type: application/json\ncluster id: true\n{\"message\":\"Member permanently removed: {id3}\"}",
    ),
    (UNAVAILABLE, "Member permanently removed: {id3}"),
];

/// All that 2.3.8 says of a server error; who was asked, and what was wrong, comes behind it.
const UNAVAILABLE: &str = "client: etcd cluster is unavailable or misconfigured";

/// Words in braces stand for what differs between the two sides, and from run to run.
struct Side {
    cluster: Cluster,
    etcdctl: PathBuf,
    /// Words, and what they stand for here.
    words: Vec<(String, String)>,
}

impl Side {
    fn new(cluster: Cluster, etcdctl: PathBuf) -> Self {
        let mut words = Vec::new();
        for (at, member) in cluster.members.iter().enumerate() {
            words.push((format!("{{peer{at}}}"), member.peer_url().to_owned()));
            words.push((format!("{{client{at}}}"), member.url()));
        }
        for at in 3..8 {
            words.push((format!("{{peer{at}}}"), format!("http://127.0.0.1:{}", ports::free())));
        }
        let mut side = Self { cluster, etcdctl, words };
        side.learn();
        side
    }

    /// Remembers the ids of members, by where they are.
    fn learn(&mut self) {
        let told = self.cluster.members[0].get("/v2/members").expect(&[200]).json();
        told["members"].as_array().expect("a list").iter().for_each(|one| self.learn_of(one));
    }

    fn learn_of(&mut self, member: &Value) {
        let text = |value: &Value| value.as_str().expect("text").to_owned();
        let (id, url) = (text(&member["id"]), text(&member["peerURLs"][0]));
        let word = self.words.iter().find(|(_, stands_for)| *stands_for == url);
        let word = word.map(|(word, _)| word.replace("peer", "id")).expect("it is known");
        if !self.words.iter().any(|(_, stands_for)| *stands_for == id) {
            self.words.push((word, id));
        }
    }

    fn fill(&self, text: &str) -> String {
        let fill = |text: String, (word, stands_for): &(String, String)| {
            text.replace(word.as_str(), stands_for)
        };
        self.words.iter().fold(text.to_owned(), fill)
    }

    fn words_of(&self, text: &str) -> String {
        let mut text = self.words.iter().fold(text.to_owned(), |text, (word, stands_for)| {
            text.replace(stands_for.as_str(), word)
        });
        // Who leads is of no matter here.
        text = text.replace("isLeader=true", "isLeader=false");
        text
    }

    fn take(&mut self, step: &Step) -> String {
        match step {
            Step::Etcdctl(line) => self.etcdctl(line),
            Step::Http(request) => self.http(request),
        }
    }

    /// What `etcdctl member …` printed and how it ended; lines in order, since ids differ.
    fn etcdctl(&mut self, line: &str) -> String {
        let mut command = run::etcdctl(&self.etcdctl, &self.cluster.members[0].url());
        let arguments = line.split_whitespace().map(|word| self.fill(word));
        let mut output = run::run(command.args(arguments.collect::<Vec<_>>()), "");
        self.learn();
        if let Some(at) = output.stderr.find(UNAVAILABLE) {
            output.stderr.truncate(at + UNAVAILABLE.len());
        }
        let sorted = |text: &str| {
            let text = self.words_of(text);
            // Where its documentation is is its own matter.
            let is_ours = |line: &&str| !line.starts_with("For more details, read");
            let mut lines: Vec<_> = text.lines().filter(is_ours).map(sorted_rows).collect();
            lines.retain(|line| !line.is_empty());
            lines.sort_unstable();
            lines.join("\n")
        };
        let (stdout, stderr) = (sorted(&output.stdout), sorted(&output.stderr));
        format!("exit {:?}\n{stdout}\nstderr:\n{stderr}", output.exit.expect("no signal ended it"))
    }

    fn http(&mut self, request: &Request) -> String {
        let mut request = request.clone();
        request.target = self.fill(&request.target);
        request.body = request
            .body
            .map(|body| self.fill(std::str::from_utf8(&body).expect("text")).into_bytes());
        let mut connection =
            Connection::open(self.cluster.members[1].address()).expect("it accepts");
        let answer = connection.ask(&request).expect("it answers");
        if answer.status == 201 {
            self.learn_of(&answer.json());
        }
        let told = ["Content-Type", "Allow"].map(|name| {
            answer.header(name).map(|value| format!("{name}: {value}\n")).unwrap_or_default()
        });
        let is_told = answer.header("X-Etcd-Cluster-Id").is_some();
        let body = self.words_of(&answer.text());
        format!("{} {}cluster id: {is_told}\n{}", answer.status, told.concat(), in_order(&body))
    }
}

/// The rows of `ETCD_INITIAL_CLUSTER` come in order of ids.
fn sorted_rows(line: &str) -> String {
    let Some(rows) = line.strip_prefix("ETCD_INITIAL_CLUSTER=") else { return line.to_owned() };
    let mut rows: Vec<_> = rows.trim_matches('"').split(',').collect();
    rows.sort_unstable();
    format!("ETCD_INITIAL_CLUSTER=\"{}\"", rows.join(","))
}

/// A list of members comes in order of ids.
fn in_order(body: &str) -> String {
    let Ok(mut told) = serde_json::from_str::<Value>(body) else { return body.to_owned() };
    if let Some(members) = told["members"].as_array_mut() {
        members.sort_by_key(Value::to_string);
        return format!("{told}\n");
    }
    body.to_owned()
}

fn is_meant(theirs: &str, ours: &str) -> bool {
    MEANT.iter().any(|(they, we)| theirs.contains(they) && theirs.replace(they, we) == ours)
}

fn members(method: &str, rest: &str) -> Request {
    Request::new(method, &format!("/v2/members{rest}"))
}

fn peers(method: &str, rest: &str, urls: &str) -> Request {
    Request::json(method, &format!("/v2/members{rest}"), &format!("{{\"peerURLs\":[{urls}]}}"))
}

#[derive(Debug)]
enum Step {
    Etcdctl(&'static str),
    Http(Request),
}

fn steps() -> Vec<Step> {
    let etcdctl = [
        "member list",
        "member list more",
        "member add",
        "member add n3",
        "member add n3 {peer3} {peer4}",
        "member add n3 nonsense",
        "member add n3 ftp://127.0.0.1:1",
        "member add n3 http://127.0.0.1",
        "member add n3 http://127.0.0.1:1/path",
        "member add n3 {peer1}",
        "member add n3 {peer3},{peer4}",
        "member update",
        "member update {id0}",
        "member update {id1} nonsense",
        "member update {id1} {peer0}",
        "member update {id1} {peer1}",
        "member update 1 {peer5}",
        "member update zz {peer5}",
        "member remove",
        "member remove 1",
        "member remove zz",
        "member remove {id0} {id1}",
        "member remove m1",
        "member add n3 {peer3}",
        "member list",
        "member update {id3} {peer4},{peer3}",
        "member list",
        "member update {id3} {peer3}",
        // The third is not in touch.
        "member add n5 {peer5}",
        "member remove {id3}",
        "member remove {id3}",
        "member update {id3} {peer5}",
        "member list",
        "cluster-health",
    ];
    let http = [
        members("GET", ""),
        members("GET", "/"),
        members("GET", "/leader/"),
        members("GET", "/{id0}"),
        members("GET", "/none"),
        members("HEAD", ""),
        members("PATCH", ""),
        members("DELETE", ""),
        members("DELETE", "/"),
        members("DELETE", "/1"),
        members("DELETE", "/zz"),
        members("DELETE", "/{id3}"),
        members("POST", ""),
        members("POST", "").header("Content-Type", "application/json"),
        members("POST", "").header("Content-Type", "text/plain").body("{}"),
        members("PUT", "/{id1}").header("Content-Type", "text/plain").body("{}"),
        Request::json("POST", "/v2/members", "{}"),
        Request::json("POST", "/v2/members", "{\"peerURLs\":null}"),
        peers("POST", "", "\"{peer1}\""),
        peers("POST", "", "\"nonsense\""),
        peers("POST", "", ""),
        peers("POST", "/{id1}", "\"{peer1}\""),
        peers("PUT", "", "\"{peer1}\""),
        peers("PUT", "/", "\"{peer1}\""),
        peers("PUT", "/1", "\"{peer7}\""),
        peers("PUT", "/zz", "\"{peer7}\""),
        peers("PUT", "/{id3}", "\"{peer7}\""),
        peers("PUT", "/{id1}", "\"{peer0}\""),
        peers("PUT", "/{id1}", "\"{peer1}\""),
        peers("PUT", "/{id1}", ""),
        Request::json("POST", "/v2/members", "{\"peerURLs\":[\"{peer6}\"],\"name\":\"x\"}"),
        members("GET", ""),
        members("DELETE", "/{id6}"),
        members("DELETE", "/{id6}"),
        members("GET", ""),
    ];
    etcdctl.into_iter().map(Step::Etcdctl).chain(http.into_iter().map(Step::Http)).collect()
}

#[test]
fn members_are_listed_added_moved_and_removed_as_by_real_etcd() {
    let found = binaries::real_etcd().zip(binaries::real_etcdctl());
    let why_not = "etcd 3.4 is not installed: apt-get install etcd-server etcd-client";
    if !rings::can_run("real-etcd", found.is_some(), why_not) {
        return;
    }
    let (etcd, etcdctl) = found.expect("it is installed");
    let mut original = Side::new(Cluster::start_original(etcd, 3), etcdctl);
    std::thread::sleep(WARM_UP);
    let mut ours = Side::new(Cluster::start(3), binaries::etcdctl());
    compare(&mut original, &mut ours, steps());
}

#[test]
fn too_few_that_have_started_are_told_as_by_real_etcd() {
    let found = binaries::real_etcd().zip(binaries::real_etcdctl());
    let why_not = "etcd 3.4 is not installed: apt-get install etcd-server etcd-client";
    if !rings::can_run("real-etcd", found.is_some(), why_not) {
        return;
    }
    let (etcd, etcdctl) = found.expect("it is installed");
    let mut original = Side::new(Cluster::start_original(etcd, 1), etcdctl);
    let mut ours = Side::new(Cluster::start(1), binaries::etcdctl());
    let steps = [
        "member list",
        "member add n3 {peer3}",
        // Now two must run, and one does.
        "member add n4 {peer4}",
        "member remove {id0}",
    ];
    compare(&mut original, &mut ours, steps.map(Step::Etcdctl).into_iter().collect());
}

fn compare(original: &mut Side, ours: &mut Side, steps: Vec<Step>) {
    let mut differences = Vec::new();
    for step in steps {
        let mut theirs = original.take(&step);
        let ours = ours.take(&step);
        // On a busy machine its changes take too long now and then.
        for _ in 0..3 {
            if theirs == ours || is_meant(&theirs, &ours) || !is_busy(&theirs) {
                break;
            }
            std::thread::sleep(Duration::from_secs(1));
            theirs = original.take(&step);
        }
        if theirs != ours && !is_meant(&theirs, &ours) {
            differences.push(format!("{step:?}\n--- theirs\n{theirs}\n--- ours\n{ours}\n"));
        }
    }
    assert!(differences.is_empty(), "{} differ:\n{}", differences.len(), differences.join("\n"));
}

fn is_busy(outcome: &str) -> bool {
    outcome.contains("Internal Server Error") || outcome.contains(UNAVAILABLE)
}
