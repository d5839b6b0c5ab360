//! Clients that others wrote, with the tests that they ship or, where they ship none, a suite of our
//! own for all that they can ask: against three members of one cluster.
//!
//! With real etcd there (`RETCD_ETCD`, `RETCD_ETCDCTL`) they are held against it instead, which is
//! how the lists of what is left out were made: see `crates/e2e/clients/README.md`.

use std::thread;

use e2e::clients::{Surroundings, Tally, node::Node, python::Python, rust::Rust};

/// All of a suite was run, and nothing failed but what is listed. The count is written out, so that
/// a suite of which some are not found, or none, does not pass.
fn all(tally: Tally, count: usize) {
    assert!(tally.passed > 0, "{tally:?}");
    let Tally { passed, failed_as_listed, not_run, prove_nothing } = tally;
    assert_eq!(passed + failed_as_listed + not_run + prove_nothing, count, "{tally:?}");
}

#[test]
fn api_3_python_etcd3() {
    let Some(client) = Python::install("python-etcd3") else { return };
    let Some(surroundings) = Surroundings::start(&[]) else { return };
    all(client.run(&surroundings, ".", &["tests"]), 82);
}

#[test]
fn api_3_python_etcd3gw() {
    let Some(client) = Python::install("python-etcd3gw") else { return };
    let Some(surroundings) = Surroundings::start(&[]) else { return };
    all(client.run(&surroundings, ".", &["etcd3gw/tests"]), 39);
}

#[test]
fn api_3_python_aetcd() {
    let Some(client) = Python::install("python-aetcd") else { return };
    let Some(surroundings) = Surroundings::start(&[]) else { return };
    all(client.run(&surroundings, ".", &["tests", "--with-cluster"]), 93);
}

/// It starts its members itself, three for most tests. Its `tests/unit` talk to a mock alone, and some of
/// them in a form that pytest has given up.
#[test]
fn api_2_python_etcd() {
    let Some(client) = Python::install("python-etcd") else { return };
    // They sleep most of the time: side by side, each part with members of its own.
    let simple = "src/etcd/tests/integration/test_simple.py";
    let [of_cluster, of_members @ ..] =
        ["TestClusterFunctions", "TestSimple", "TestErrors", "TestWatch"]
            .map(|class| format!("{simple}::{class}"));
    let of_members = of_members.each_ref().map(String::as_str);
    let parts: [&[&str]; 3] = [
        &[&of_cluster],
        &of_members,
        &["src/etcd/tests/integration/test_ssl.py", "src/etcd/tests/test_auth.py"],
    ];
    let tally = thread::scope(|scope| {
        let run = |tests| {
            let surroundings = Surroundings::start(&[])?;
            Some(client.run(&surroundings, "src", tests))
        };
        let runs = parts.map(|tests| scope.spawn(move || run(tests)));
        runs.into_iter()
            .map(|run| run.join().expect("it says what has failed"))
            .reduce(|one, other| Some(one? + other?))
    });
    let Some(Some(tally)) = tally else { return };
    all(tally, 29);
}

#[test]
fn api_3_node_etcd3() {
    let Some(client) = Node::install("node-etcd3") else { return };
    let Some(mut surroundings) = Surroundings::start(&[]) else { return };
    // One that never started, which is refused.
    surroundings.allow("failed to promote a member");
    surroundings.allow("invalid authentication was requested");
    all(client.run(&surroundings), 33);
}

#[test]
fn api_2_node_etcd() {
    let Some(client) = Node::install("node-etcd") else { return };
    let Some(mut surroundings) = Surroundings::start(&[]) else { return };
    surroundings.allow("auth: no such user, or a wrong password");
    all(client.run(&surroundings), 12);
}

#[test]
fn api_3_rust_etcd_client() {
    let Some(client) = Rust::install() else { return };
    // One of its tests wants answers in pieces, others tokens that do not live for four seconds.
    let flags = ["--max-request-bytes=10240", "--auth-token-ttl=2"];
    let Some(mut surroundings) = Surroundings::start(&flags) else { return };
    // Until the one that it adds is there.
    surroundings.allow("failed to promote a member");
    all(client.run(&mut surroundings), 29);
}
