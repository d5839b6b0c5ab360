//! `/metrics` against what etcd prints and registers; the dashboard and the alerts against `/metrics`.

mod moves;
mod page;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    time::Duration,
};

use e2e::{
    Connection, Member, Request, Start, authority::Authority, binaries, cluster::Cluster,
    eventually, ports, rings, run, v3,
};
use serde_json::{Value, json};

use self::page::{Family, parse};

const PATIENCE: Duration = Duration::from_secs(30);

/// A file of the repository.
fn file(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(path)
}

fn read(path: &str) -> String {
    std::fs::read_to_string(file(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Names of etcd's that there are not, as the documentation lists them with the reason. A star at the
/// end stands for the rest.
fn left_out() -> Vec<String> {
    let text = read("docs/metrics.md");
    let (_, table) = text.split_once("## What there is not").expect("there is that section");
    let rows = table.lines().filter(|line| line.starts_with("| `"));
    let names = rows.flat_map(|row| {
        let (names, reason) = row[2..].split_once(" | ").expect("two columns");
        assert!(reason.len() > 8, "no reason: {row}");
        names.split(", ").map(|name| name.trim_matches('`').to_owned()).collect::<Vec<_>>()
    });
    names.collect()
}

fn is_left_out(list: &[String], name: &str) -> bool {
    list.iter()
        .any(|one| one.strip_suffix('*').map_or(one == name, |start| name.starts_with(start)))
}

/// Ours has this family, with that type, and with these labels as far as both have series.
fn compare(ours: &BTreeMap<String, Family>, name: &str, expected: &Family) -> Result<(), String> {
    let Some(found) = ours.get(name) else { return Err(format!("{name} is missing")) };
    if found.kind != expected.kind {
        return Err(format!("{name} is a {}, not a {}", found.kind, expected.kind));
    }
    let both = !found.labels.is_empty() && !expected.labels.is_empty();
    if both && found.labels != expected.labels {
        return Err(format!("{name} has {:?}, not {:?}", found.labels, expected.labels));
    }
    Ok(())
}

/// Holds a page against what it should have; what is left out is left out indeed.
fn hold(ours: &BTreeMap<String, Family>, expected: &BTreeMap<String, Family>) {
    let list = left_out();
    let mut wrong = Vec::new();
    for (name, family) in expected {
        let compared = compare(ours, name, family);
        match (is_left_out(&list, name), compared) {
            (true, _) if !ours.contains_key(name) => {}
            (true, _) => {
                wrong.push(format!("{name} is there, and docs/metrics.md says that it is not"));
            }
            (false, compared) => wrong.extend(compared.err()),
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

fn page(address: std::net::SocketAddr) -> BTreeMap<String, Family> {
    let mut connection = Connection::open(address).expect("it listens");
    let answer = connection.ask(&Request::get("/metrics")).expect("it answers").expect(&[200]);
    parse(&answer.text())
}

/// Does a little of everything, so that there are series.
fn use_it(member: &Member) {
    member.put("/a", "1");
    drop(member.get("/v2/keys/a").expect(&[200]));
    drop(member.get("/v2/keys/none").expect(&[404]));
    v3::put(member, "k", "v");
    v3::post(member, "kv/range", &json!({"key": v3::bytes("k")}));
    v3::post(member, "kv/deleterange", &json!({"key": v3::bytes("k")}));
    v3::post(member, "kv/txn", &json!({"success": [{"request_put": {"key": v3::bytes("t")}}]}));
    let lease = v3::post(member, "lease/grant", &json!({"TTL": 60}));
    v3::post(member, "lease/keepalive", &json!({"ID": lease["ID"]}));
    v3::post(member, "maintenance/hash", &json!({}));
    // 3.4 has no JSON for it.
    drop(member.ask(&Request::json("POST", "/v3/maintenance/hashkv", "{}")));
    v3::post(member, "maintenance/defragment", &json!({}));
    let revision = v3::revision(member);
    v3::post(member, "kv/compaction", &json!({"revision": revision, "physical": true}));
    drop(member.get("/health").expect(&[200]));
    drop(member.get("/v2/stats/self").expect(&[200]));
}

#[test]
fn what_etcd_3_4_prints_ours_prints_with_the_same_types_and_labels() {
    let original = binaries::real_etcd();
    let why_not = "/usr/bin/etcd 3.4 is not installed: apt-get install etcd-server";
    if !rings::can_run("real-etcd", original.is_some(), why_not) || binaries::is_original() {
        return;
    }
    let original =
        Start::original(original.expect("it is there")).flag("--metrics=extensive").start();
    let ours = Start::new().flag("--metrics=extensive").start();
    for member in [&original, &ours] {
        use_it(member);
    }
    let (expected, ours) = (page(original.address()), page(ours.address()));
    assert!(expected.len() > 100, "{}", expected.len());
    hold(&ours, &expected);
}

/// Of a list: name, type, labels.
fn listed(text: &str) -> BTreeMap<String, Family> {
    let rows = text.lines().filter(|row| !row.starts_with('#'));
    rows.map(|row| {
        let mut words = row.split(' ');
        let (name, kind) = (words.next().expect("a name"), words.next().expect("a type"));
        let labels = words.next().unwrap_or_default().split(',').filter(|label| !label.is_empty());
        let labels: BTreeSet<String> = labels.map(str::to_owned).collect();
        (name.to_owned(), Family { kind: kind.to_owned(), labels })
    })
    .collect()
}

#[test]
fn what_etcd_2_3_and_3_6_register_is_there() {
    let cluster = Cluster::start_with(3, &["--metrics=extensive"]);
    let member = &cluster.members[0];
    use_it(member);
    drop(member.get("/readyz").expect(&[200]));
    let ours = page(member.address());
    for list in [include_str!("etcd-3.x.txt"), include_str!("etcd-2.3.txt")] {
        hold(&ours, &listed(list));
    }
}

#[test]
fn the_basic_page_lacks_the_times_of_methods_alone() {
    let (basic, extensive) = (Member::start(), Start::new().flag("--metrics=extensive").start());
    let names = |member: &Member| page(member.address()).into_keys().collect::<BTreeSet<_>>();
    let (basic, extensive) = (names(&basic), names(&extensive));
    let more: Vec<_> = extensive.difference(&basic).collect();
    assert_eq!(more, ["grpc_server_handling_seconds"]);
    assert!(basic.is_subset(&extensive));
}

/// The value of one series that counts.
fn value(address: std::net::SocketAddr, series: &str) -> u64 {
    let mut connection = Connection::open(address).expect("it listens");
    let text = connection.ask(&Request::get("/metrics")).expect("it answers").text();
    let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("{series} is not there")).parse().expect("a count")
}

#[test]
fn all_methods_are_counted_from_the_beginning_and_move_when_they_are_called() {
    let member = Start::new().flag("--metrics=extensive").start();
    let of = |name: &str, more: &str| {
        let labels = "grpc_method=\"Put\",grpc_service=\"etcdserverpb.KV\",grpc_type=\"unary\"";
        value(member.address(), &format!("{name}{{{more}{labels}}}"))
    };
    let all = || {
        [
            of("grpc_server_started_total", ""),
            of("grpc_server_handled_total", "grpc_code=\"OK\","),
            of("grpc_server_handled_total", "grpc_code=\"InvalidArgument\","),
            of("grpc_server_msg_received_total", ""),
            of("grpc_server_msg_sent_total", ""),
            of("grpc_server_handling_seconds_count", ""),
        ]
    };
    assert_eq!(all(), [0; 6]);
    v3::put(&member, "k", "v");
    assert_eq!(all(), [1, 1, 0, 1, 1, 1]);
    let refused = Request::json("POST", "/v3/kv/put", "{}");
    drop(member.ask(&refused).expect(&[400]));
    assert_eq!(all(), [2, 1, 1, 2, 1, 2]);
}

#[test]
fn a_feature_is_told_to_be_there_if_it_is_asked_for() {
    let member = Start::new().flag("--feature-gates=CompactHashCheck=true").start();
    let of = |name: &str| {
        let series = format!("etcd_server_feature_enabled{{name=\"{name}\",stage=\"ALPHA\"}}");
        value(member.address(), &series)
    };
    assert_eq!([of("CompactHashCheck"), of("InitialCorruptCheck")], [1, 0]);
}

#[test]
fn a_compaction_and_a_lease_that_ends_are_counted() {
    let member = Member::start();
    let of = |series: &str| value(member.address(), series);
    for _ in 0..10 {
        v3::put(&member, "k", "v");
    }
    let revision = v3::revision(&member);
    v3::post(&member, "kv/compaction", &json!({"revision": revision, "physical": true}));
    eventually(PATIENCE, "the compaction is counted", || {
        (of("etcd_debugging_mvcc_db_compaction_total_duration_milliseconds_count") >= 1)
            .then_some(())
    });
    assert!(of("etcd_debugging_mvcc_db_compaction_keys_total") >= 9);
    assert!(of("etcd_debugging_mvcc_db_compaction_last") > 1_000_000_000);
    v3::post(&member, "lease/grant", &json!({"TTL": 1}));
    eventually(PATIENCE, "the end of a lease is counted", || {
        (of("etcd_debugging_server_lease_expired_total") >= 1).then_some(())
    });
    assert_eq!(of("etcd_debugging_lease_ttl_total_count"), 1);
}

/// All metrics that queries name: words that begin as ours do.
fn named(queries: &str) -> BTreeSet<String> {
    let prefixes = ["etcd_", "retcd_", "grpc_server_", "process_", "os_fd_", "promhttp_", "go_"];
    let words = queries.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_');
    let words = words.filter(|word| prefixes.iter().any(|prefix| word.starts_with(prefix)));
    words.map(str::to_owned).collect()
}

/// The queries of a dashboard, wherever they stand.
fn queries(of: &Value, found: &mut String) {
    match of {
        Value::Object(fields) => {
            for (name, field) in fields {
                match field {
                    Value::String(text)
                        if ["expr", "query", "definition"].contains(&name.as_str()) =>
                    {
                        found.push_str(text);
                        found.push('\n');
                    }
                    field => queries(field, found),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| queries(item, found)),
        _ => {}
    }
}

#[test]
fn the_dashboard_and_the_alerts_name_what_there_is() {
    let cluster = Cluster::start_with(3, &["--metrics=extensive"]);
    let member = &cluster.members[0];
    use_it(member);
    let ours = page(member.address());
    let dashboard = read("contrib/grafana/retcd.json");
    let dashboard: Value = serde_json::from_str(&dashboard).expect("the dashboard is JSON");
    let mut of_dashboard = String::new();
    queries(&dashboard, &mut of_dashboard);
    let alerts = read("contrib/prometheus/alerts.yml");
    // In comments and descriptions names are as good as in queries.
    for (what, text, least) in [("dashboard", of_dashboard, 40), ("alerts", alerts, 15)] {
        let named = named(&text);
        assert!(named.len() >= least, "{what}: {named:?}");
        let series = |name: &str| {
            let family =
                ["_bucket", "_count", "_sum"].iter().find_map(|end| name.strip_suffix(end));
            let is_histogram = |name| ours.get(name).is_some_and(|found| found.kind == "histogram");
            ours.contains_key(name) || family.is_some_and(is_histogram)
        };
        let unknown: Vec<_> = named.iter().filter(|name| !series(name)).collect();
        assert!(unknown.is_empty(), "{what}: there is no {unknown:?}");
    }
}

#[test]
fn the_alerts_have_the_names_that_users_of_etcd_know() {
    let alerts = read("contrib/prometheus/alerts.yml");
    for name in [
        "etcdMembersDown",
        "etcdInsufficientMembers",
        "etcdNoLeader",
        "etcdHighNumberOfLeaderChanges",
        "etcdHighNumberOfFailedGRPCRequests",
        "etcdGRPCRequestsSlow",
        "etcdMemberCommunicationSlow",
        "etcdHighNumberOfFailedProposals",
        "etcdHighFsyncDurations",
        "etcdHighCommitDurations",
        "etcdDatabaseQuotaLowSpace",
        "etcdExcessiveDatabaseGrowth",
        "etcdDatabaseHighFragmentationRatio",
    ] {
        assert!(alerts.contains(&format!("- alert: {name}\n")), "{name}");
    }
}

#[test]
fn a_port_of_its_own_tells_metrics_and_health_through_tls_too() {
    let [plain, secure] = [ports::free(), ports::free()];
    let dir = tempfile::tempdir().expect("/tmp can be written");
    let authority = Authority::new("ca");
    let ca = dir.path().join("ca.pem");
    std::fs::write(&ca, &authority.pem).expect("/tmp can be written");
    let (cert, key) = authority.issue(dir.path(), "server", 1);
    let mut member = Start::new()
        .flag(&format!("--listen-metrics-urls=http://127.0.0.1:{plain},https://127.0.0.1:{secure}"))
        .flag(&format!("--cert-file={}", cert.display()))
        .flag(&format!("--key-file={}", key.display()))
        .start();
    member.allow("HTTP while key/cert files are presented");
    for path in ["/metrics", "/health", "/livez", "/readyz", "/readyz/linearizable_read"] {
        for url in [format!("http://127.0.0.1:{plain}"), format!("https://127.0.0.1:{secure}")] {
            let mut curl = std::process::Command::new("curl");
            curl.args(["-sSf", "--cacert"]).arg(&ca).arg(format!("{url}{path}"));
            let output = run::run(&mut curl, "");
            assert_eq!(output.exit, Some(0), "{url}{path}: {}", output.stderr);
            assert!(!output.stdout.is_empty(), "{url}{path}");
        }
    }
}
