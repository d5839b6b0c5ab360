//! Several members on loopback that make one cluster.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::{Answer, Connection, Member, Request, Start, ports};

/// How long anything may take that a cluster does by itself; generous, since tests share the
/// machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// What members say while others come and go.
const COMPLAINTS: [&str; 7] = [
    "could not send a snapshot",
    "cannot talk to a peer",
    "peer became inactive",
    "no leader",
    "refused a stream of a peer",
    "drop a peer's message",
    "stepped down to follower since quorum is not active",
];

/// Several members on loopback that make one cluster.
pub struct Cluster {
    pub members: Vec<Member>,
    /// Where each serves clients with TLS, if it does.
    pub https: Vec<String>,
    /// `name=URL` of each, for those that join.
    rows: Vec<String>,
    flags: Vec<String>,
}

impl Cluster {
    /// A cluster of so many, founded and serving.
    pub fn start(count: usize) -> Self {
        Self::start_with(count, &[])
    }

    /// The same, each member with these flags.
    pub fn start_with(count: usize, flags: &[&str]) -> Self {
        Self::found(count, flags, "http")
    }

    /// The same with TLS between members, who serve clients with TLS beside plain HTTP, and
    /// advertise the former.
    pub fn start_with_tls(count: usize, flags: &[&str]) -> Self {
        Self::found(count, flags, "https")
    }

    fn found(count: usize, flags: &[&str], scheme: &str) -> Self {
        let flags: Vec<String> = flags.iter().map(|flag| (*flag).to_owned()).collect();
        let urls: Vec<_> =
            (0..count).map(|_| format!("{scheme}://127.0.0.1:{}", ports::free())).collect();
        let secure = |_| format!("https://127.0.0.1:{}", ports::free());
        let https: Vec<_> = (0..count).filter(|_| scheme == "https").map(secure).collect();
        let rows: Vec<_> =
            urls.iter().enumerate().map(|(at, url)| format!("m{at}={url}")).collect();
        let row = rows.join(",");
        let start = |(at, url): (usize, &String)| {
            let secure = https.get(at).map(String::as_str);
            member((&format!("m{at}"), url, secure), (&row, "new"), &flags)
        };
        let members = urls.iter().enumerate().map(start).collect();
        let mut cluster = Self { members, https, rows, flags };
        cluster.members.iter_mut().for_each(Member::wait_until_ready);
        cluster
    }

    /// Adds a member through one that serves, and starts it.
    pub fn add(&mut self) -> &mut Member {
        let name = format!("m{}", self.rows.len());
        let url = format!("http://127.0.0.1:{}", ports::free());
        let body = format!("{{\"peerURLs\":[\"{url}\"]}}");
        let added = self.members[0].ask(&Request::json("POST", "/v2/members", &body));
        assert_eq!(added.status, 201, "{}", added.text());
        self.rows.push(format!("{name}={url}"));
        let mut joined =
            member((&name, &url, None), (&self.rows.join(","), "existing"), &self.flags);
        joined.wait_until_ready();
        self.members.push(joined);
        self.members.last_mut().expect("it was pushed just now")
    }

    /// Forgets a member that is no longer one, for those that join later.
    pub fn forget(&mut self, at: usize) -> Member {
        if at < self.rows.len() {
            self.rows.remove(at);
        }
        self.members.remove(at)
    }

    /// Where in `members` the leader is; waits until there is one that all who run agree on.
    pub fn leader(&mut self) -> usize {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let leaders: Vec<_> = (0..self.members.len()).filter(|at| self.leads(*at)).collect();
            if let [leader] = leaders[..] {
                return leader;
            }
            assert!(Instant::now() < deadline, "leaders: {leaders:?}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn leads(&mut self, at: usize) -> bool {
        state(&self.members[at]).is_some_and(|state| state == "StateLeader")
    }

    /// Writes through whichever member takes it, until one does.
    pub fn put(&self, key: &str, value: &str) -> u64 {
        let deadline = Instant::now() + PATIENCE;
        let request = Request::put(&format!("/v2/keys{key}"), value);
        loop {
            for member in &self.members {
                if let Some(answer) = try_ask(member, &request)
                    && [200, 201].contains(&answer.status)
                {
                    return answer.index();
                }
            }
            assert!(Instant::now() < deadline, "nobody takes a write to {key}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Waits until all members hold the same keys and values, with the same indexes; returns them.
    pub fn agree(&self) -> Value {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let trees: Vec<_> = self.members.iter().map(tree).collect();
            if let Some(first) = trees[0].clone()
                && trees.iter().all(|tree| tree.as_ref() == Some(&first))
            {
                return first;
            }
            assert!(Instant::now() < deadline, "they do not agree: {trees:#?}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// A member of that name, with a peer URL, and perhaps one for clients with TLS.
fn member(
    (name, peer_url, https): (&str, &str, Option<&str>),
    (row, state): (&str, &str),
    flags: &[String],
) -> Member {
    let port = ports::free();
    let client = format!("http://127.0.0.1:{port}");
    let advertised = https.unwrap_or(&client);
    let listens = https.map_or_else(|| client.clone(), |https| format!("{client},{https}"));
    let start = flags.iter().fold(Start::new(), |start, flag| start.flag(flag));
    let mut member = start
        .bare()
        .client_port(port)
        .peer_url(peer_url)
        .flag(&format!("--name={name}"))
        .flag(&format!("--listen-client-urls={listens}"))
        .flag(&format!("--advertise-client-urls={advertised}"))
        .flag(&format!("--listen-peer-urls={peer_url}"))
        .flag(&format!("--initial-advertise-peer-urls={peer_url}"))
        .flag(&format!("--initial-cluster={row}"))
        .flag(&format!("--initial-cluster-state={state}"))
        .spawn();
    for complaint in COMPLAINTS {
        member.allow(complaint);
    }
    member
}

fn try_ask(member: &Member, request: &Request) -> Option<Answer> {
    Connection::open(member.address()).ok()?.ask(request).ok()
}

fn state(member: &Member) -> Option<String> {
    let answer = try_ask(member, &Request::get("/v2/stats/self"))?;
    Some(answer.json()["state"].as_str()?.to_owned())
}

/// All keys of this member as it has them, and its index.
fn tree(member: &Member) -> Option<Value> {
    let answer = try_ask(member, &Request::get("/v2/keys/?recursive=true&sorted=true"))?;
    Some(serde_json::json!([answer.index(), answer.json()["node"]]))
}
