//! The flags that say whom to believe, and how to speak TLS: who is allowed connects, who is not is
//! refused with a line in the log.

use std::{path::Path, process::Command, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use e2e::{
    Connection, Member, Request, Start,
    authority::{Authority, put},
    binaries,
    cluster::Cluster,
    eventually, proxies, rings, run,
};
use tempfile::TempDir;

const PATIENCE: Duration = Duration::from_secs(30);
const DAYS_OF_A_YEAR: i64 = 365;

/// What members say of who is turned away, and of the plain port of the harness.
const COMPLAINTS: [&str; 2] = ["rejected connection", "The scheme of client url"];

/// Certificates of one authority: `member` and `client`, which are as they should be, and others.
struct Files {
    dir: TempDir,
}

impl Files {
    fn new() -> Self {
        let (dir, authority) = (TempDir::new().unwrap(), Authority::new("of all"));
        put(dir.path(), "ca.pem", &authority.pem);
        let loopback = ["127.0.0.1", "localhost"];
        let issue = |name: &str, more: &[&str], serial| {
            let hosts = [&loopback[..], more].concat();
            authority.issue_for(&hosts, dir.path(), name, serial);
        };
        issue("member", &["members.test"], 1);
        issue("client", &["clients.test"], 2);
        issue("stranger", &[], 3);
        // Of a machine that is elsewhere.
        authority.issue_for(&["10.9.9.9"], dir.path(), "roaming", 4);
        Self { dir }
    }

    fn path(&self, name: &str) -> String {
        self.dir.path().join(name).display().to_string()
    }

    /// Flags by which a side shows this certificate.
    fn shows(&self, side: &str, name: &str) -> [(String, String); 2] {
        [("cert-file", "pem"), ("key-file", "key")]
            .map(|(flag, kind)| (format!("{side}{flag}"), self.path(&format!("{name}.{kind}"))))
    }

    /// A cluster in which both sides show the certificate `member`, with these flags besides.
    fn cluster(&self, count: usize, flags: &[String]) -> Cluster {
        let identity = ["", "peer-"].iter().flat_map(|side| self.shows(side, "member"));
        let identity = identity.map(|(name, value)| format!("--{name}={value}"));
        let all: Vec<String> = identity.chain(flags.iter().cloned()).collect();
        let all: Vec<&str> = all.iter().map(String::as_str).collect();
        let mut cluster = Cluster::start_with_tls(count, &all);
        for member in &mut cluster.members {
            for complaint in COMPLAINTS {
                member.allow(complaint);
            }
        }
        cluster
    }

    /// One of three whose members show certificates to one another.
    fn peers(&self, flags: &[&str]) -> Cluster {
        let ca = format!("--peer-trusted-ca-file={}", self.path("ca.pem"));
        let flags = flags.iter().map(|flag| (*flag).to_owned());
        let cluster = self
            .cluster(3, &flags.chain([ca, "--peer-client-cert-auth".into()]).collect::<Vec<_>>());
        cluster.put("/before", "1");
        cluster.agree();
        cluster
    }

    /// One that asks its clients for certificates.
    fn asking(&self, flags: &[&str]) -> Cluster {
        let ca = format!("--trusted-ca-file={}", self.path("ca.pem"));
        let flags = flags.iter().map(|flag| (*flag).to_owned());
        self.cluster(1, &flags.chain([ca, "--client-cert-auth".into()]).collect::<Vec<_>>())
    }

    /// Whether a write succeeds by a client with this certificate.
    fn sets(&self, cluster: &Cluster, who: &str) -> bool {
        let mut command = run::etcdctl(&binaries::etcdctl(), &cluster.https[0]);
        command.args(["--ca-file", &self.path("ca.pem")]);
        for (name, value) in self.shows("", who) {
            command.args([format!("--{name}"), value]);
        }
        run::run(command.args(["set", "/a", who]), "").exit == Some(0)
    }
}

/// Starts a member anew with other flags, and waits for nothing.
fn change(member: &mut Member, change: impl FnOnce(Start) -> Start) {
    member.kill();
    member.change(change);
    member.launch();
}

fn with(start: Start, flags: &[(String, String)]) -> Start {
    flags.iter().fold(start, |start, (name, value)| start.with(name, Some(value)))
}

/// Waits until a member has said all of this in one line.
fn says(member: &Member, parts: &[&str]) {
    eventually(PATIENCE, &format!("{parts:?} in the log of {}", member.url()), || {
        let lines = member.log().lines();
        lines.iter().any(|line| parts.iter().all(|part| line.contains(part))).then_some(())
    });
}

/// One of the three is not believed any more, until it shows the certificate again that it had.
fn a_stranger_is_refused(files: &Files, mut cluster: Cluster) {
    change(&mut cluster.members[2], |start| with(start, &files.shows("peer-", "stranger")));
    let why = "client certificate authentication failed: its CN \"stranger\"";
    for member in &cluster.members[..2] {
        // As one who comes, and as one who is gone to.
        says(member, &["rejected connection from", why, "not allowed"]);
        says(member, &["cannot talk to a peer", why, "not allowed"]);
    }
    let others = [0, 1].map(|at| cluster.members[at].peer_url().to_owned());
    for url in &others {
        says(&cluster.members[2], &["cannot talk to a peer", url]);
    }
    change(&mut cluster.members[2], |start| with(start, &files.shows("peer-", "member")));
    cluster.members[2].wait_until_ready();
    cluster.put("/after", "1");
    cluster.agree();
}

#[test]
fn a_peer_must_have_a_common_name_that_is_allowed() {
    let files = Files::new();
    let cluster = files.peers(&["--peer-cert-allowed-cn=another,member"]);
    a_stranger_is_refused(&files, cluster);
}

#[test]
fn a_peer_must_be_good_for_a_host_name_that_is_allowed() {
    let files = Files::new();
    let cluster = files.peers(&["--peer-cert-allowed-hostname=members.test"]);
    a_stranger_is_refused(&files, cluster);
}

#[test]
fn a_client_must_be_good_for_a_host_name_that_is_allowed() {
    let files = Files::new();
    let cluster = files.asking(&["--client-cert-allowed-hostname=clients.test"]);
    assert!(files.sets(&cluster, "client"));
    assert!(!files.sets(&cluster, "stranger"));
    let why = "client certificate authentication failed: its CN \"stranger\"";
    says(&cluster.members[0], &["rejected connection from", why, "not allowed"]);
    assert_eq!(cluster.members[0].get("/v2/keys/a").json()["node"]["value"], "client");
}

#[test]
fn a_peer_must_come_from_where_its_certificate_says_unless_nobody_is_to_look() {
    let files = Files::new();
    let mut cluster = files.peers(&[]);
    let roaming = files.shows("peer-client-", "roaming");
    change(&mut cluster.members[2], |start| with(start, &roaming));
    for member in &cluster.members[..2] {
        says(
            member,
            &["rejected connection from", "certificate is valid for [10.9.9.9], not 127.0.0.1"],
        );
    }
    for member in &mut cluster.members[..2] {
        change(member, |start| start.with("peer-skip-client-san-verification", None));
    }
    cluster.members.iter_mut().for_each(Member::wait_until_ready);
    cluster.put("/after", "1");
    cluster.agree();
}

/// A proxy shows it to members.
#[test]
fn a_certificate_of_its_own_is_shown_where_a_server_is_a_client() {
    let files = Files::new();
    let cluster = files.asking(&[]);
    let ca = files.path("ca.pem");
    let trust = [format!("--trusted-ca-file={ca}"), format!("--peer-trusted-ca-file={ca}")];
    let proxy = |flags: &[String]| {
        let flags: Vec<&str> = trust.iter().chain(flags).map(String::as_str).collect();
        proxies::spawn(Start::new(), &[cluster.members[0].peer_url()], &flags)
    };
    let put = |proxy: &Member| {
        let mut connection = Connection::open(proxy.address()).ok()?;
        Some(connection.ask(&Request::put("/v2/keys/a", "by a proxy")).ok()?.status)
    };
    let bare = proxy(&[]);
    let status = eventually(PATIENCE, "it answers", || put(&bare));
    assert!(status >= 500, "{status}");
    says(&cluster.members[0], &["rejected connection from", "sent no certificates"]);
    assert_eq!(cluster.members[0].get("/v2/keys/a").status, 404);
    let shows = files.shows("client-", "client").map(|(name, value)| format!("--{name}={value}"));
    let known = proxy(&shows);
    eventually(PATIENCE, "it writes", || put(&known).filter(|status| *status == 201));
    assert_eq!(cluster.members[0].get("/v2/keys/a").json()["node"]["value"], "by a proxy");
}

#[test]
fn certificates_that_members_make_are_good_for_as_many_years_as_is_said() {
    let flags = ["--auto-tls", "--peer-auto-tls", "--self-signed-cert-validity=3"];
    let mut cluster = Cluster::start_with_tls(1, &flags);
    cluster.members[0].allow("The scheme of client url");
    for side in ["client", "peer"] {
        let path = cluster.members[0].data_dir().join(format!("fixtures/{side}/cert.pem"));
        assert_eq!(days_of(&path), 3 * DAYS_OF_A_YEAR, "{side}");
    }
}

/// For how many days a certificate is good: from the one time in it to the other.
fn days_of(path: &Path) -> i64 {
    let text = std::fs::read_to_string(path).expect("it was made");
    let inner: String = text.lines().filter(|line| !line.starts_with("-----")).collect();
    let der = STANDARD.decode(inner).expect("PEM");
    // `UTCTime`, thirteen bytes of it: `261127091500Z`.
    let times = der.windows(15).filter(|bytes| bytes.starts_with(&[0x17, 13]) && bytes[14] == b'Z');
    let days: Vec<i64> = times.map(|bytes| day(&bytes[2..8])).collect();
    assert_eq!(days.len(), 2, "{text}");
    days[1] - days[0]
}

/// The number of a day, `yymmdd`, from the year 2000 on.
fn day(digits: &[u8]) -> i64 {
    let text = std::str::from_utf8(digits).expect("digits");
    let part = |at: usize| text[at..at + 2].parse::<i64>().expect("digits");
    let (year, month, day) = (part(0), part(2), part(4));
    let leap = i64::from(year % 4 == 0);
    let months = [31, 28 + leap, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let before = usize::try_from(month - 1).expect("a month");
    year * DAYS_OF_A_YEAR + (year + 3) / 4 + months[..before].iter().sum::<i64>() + day
}

#[test]
fn clients_speak_the_versions_and_ciphers_that_are_given_or_nothing() {
    let found = Command::new("curl").arg("--version").output();
    if !rings::can_run("curl", found.is_ok(), "curl is not installed: apt-get install curl") {
        return;
    }
    let files = Files::new();
    let at_most_1_2 = ["--tls-max", "1.2"];
    let aes = ["--tls-max", "1.2", "--ciphers", "ECDHE-ECDSA-AES128-GCM-SHA256"];
    let chacha = ["--tls-max", "1.2", "--ciphers", "ECDHE-ECDSA-CHACHA20-POLY1305"];
    let suites = "--cipher-suites=TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256";
    for (flags, good, bad) in [
        (&["--tls-min-version=TLS1.3"][..], &["--tlsv1.3"][..], &at_most_1_2[..]),
        (&["--tls-max-version=TLS1.2"], &at_most_1_2, &["--tlsv1.3"]),
        (&[suites], &aes, &chacha),
    ] {
        let flags: Vec<String> = flags.iter().map(|flag| (*flag).to_owned()).collect();
        let cluster = files.cluster(1, &flags);
        let curl = |how: &[&str]| {
            let mut curl = Command::new("curl");
            curl.args(["-sS", "--cacert", &files.path("ca.pem")]).args(how);
            run::run(curl.arg(format!("{}/version", cluster.https[0])), "")
        };
        let refused = curl(bad);
        assert!(refused.exit == Some(35) && refused.stdout.is_empty(), "{flags:?}: {refused:?}");
        says(&cluster.members[0], &["rejected connection from", "TLS handshake failed: "]);
        let answered = curl(good);
        assert!(answered.stdout.contains("etcdserver"), "{flags:?}: {answered:?}");
    }
}

#[test]
fn peers_that_have_no_version_or_cipher_in_common_part_and_both_say_so() {
    let files = Files::new();
    let aes = "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256";
    let chacha = "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256";
    let own = |suite| format!("--cipher-suites={suite}");
    for (flags, other) in [
        (
            vec!["--tls-min-version=TLS1.3".to_owned()],
            ("tls-min-version", "tls-max-version", "TLS1.2"),
        ),
        (
            vec!["--tls-max-version=TLS1.2".to_owned(), own(aes)],
            ("cipher-suites", "cipher-suites", chacha),
        ),
    ] {
        let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
        let mut cluster = files.peers(&flags);
        let (without, name, value) = other;
        change(&mut cluster.members[2], |start| start.without(without).with(name, Some(value)));
        for (at, one) in cluster.members.iter().enumerate() {
            says(one, &["rejected connection from", "TLS handshake failed: "]);
            for url in (0..3).filter(|other| (*other == 2) != (at == 2)) {
                says(one, &["cannot talk to a peer", cluster.members[url].peer_url()]);
            }
        }
        cluster.put("/meanwhile", "1");
        let given = flags.last().and_then(|flag| flag.split_once('=')).expect("a flag");
        let back = given.0.trim_start_matches("--");
        change(&mut cluster.members[2], |start| start.without(name).with(back, Some(given.1)));
        cluster.members[2].wait_until_ready();
        cluster.agree();
    }
}
