//! A member moves to another machine, or to other addresses, while its cluster goes on.

use std::{fs, path::Path, time::Duration};

use e2e::{
    Member, binaries,
    cluster::{Cluster, account::Account, forced::id},
    eventually, ports, run,
};

const PATIENCE: Duration = Duration::from_secs(30);

fn etcdctl(member: &Member, arguments: &[&str]) -> String {
    let mut command = run::etcdctl(&binaries::etcdctl(), &member.url());
    let output = run::run(command.args(arguments), "");
    assert_eq!(output.exit, Some(0), "{output:?}");
    output.stdout
}

/// As `cp -r` does it.
fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("it can be made");
    for entry in fs::read_dir(from).expect("it is there").flatten() {
        let (path, to) = (entry.path(), to.join(entry.file_name()));
        if path.is_dir() {
            copy(&path, &to);
        } else {
            fs::copy(&path, &to).expect("it can be copied");
        }
    }
}

fn free_url() -> String {
    format!("http://127.0.0.1:{}", ports::free())
}

/// From its next launch on it is at these places, with this data.
fn is_elsewhere(member: &mut Member, peer: &str, data: &Path) -> String {
    let port = ports::free();
    let client = format!("http://127.0.0.1:{port}");
    member.change(|start| {
        start
            .data_dir(data)
            .client_port(port)
            .peer_url(peer)
            .with("listen-client-urls", Some(&client))
            .with("advertise-client-urls", Some(&client))
            .with("listen-peer-urls", Some(peer))
            .with("initial-advertise-peer-urls", Some(peer))
    });
    client
}

#[test]
fn a_member_moves_under_load_with_its_data_and_its_id() {
    let mut cluster = Cluster::start(3);
    let directory = tempfile::tempdir().expect("/tmp can be written");
    let mut account = Account::open(&cluster);
    // A follower first, then whoever leads.
    for (round, number) in [(1, 1), (0, 2)] {
        let at = (cluster.leader() + round) % 3;
        let other = cluster.members[(at + 1) % 3].url();
        let own = id(&cluster.members[at]);
        let member = &mut cluster.members[at];
        let (peer, data) = (free_url(), directory.path().join(format!("new{number}")));
        member.stop();
        copy(member.data_dir(), &data);
        fs::remove_dir_all(member.data_dir()).expect("the old machine is gone");
        account.load.goes_on(30);
        let client = is_elsewhere(member, &peer, &data);
        let mut update = run::etcdctl(&binaries::etcdctl(), &other);
        let output = run::run(update.args(["member", "update", &own, &peer]), "");
        assert_eq!(output.stdout, format!("Updated member with ID {own} in cluster\n"));
        member.restart();
        assert_eq!(id(member), own);
        account.watch(member);
        account.load.goes_on(30);
        let listed = etcdctl(member, &["member", "list"]);
        let expected = format!("peerURLs={peer} clientURLs={client}");
        assert!(listed.contains(&expected), "{expected} in {listed}");
    }
    // Both vote where they are: without them there would be no quorum now. (The clients only know
    // the third one, which is away.)
    let third = (0..3).find(|at| !cluster.members[*at].data_dir().starts_with(directory.path()));
    let third = third.expect("one has not moved");
    cluster.members[third].kill();
    cluster.put("/without-the-third", "x");
    cluster.members[third].restart();
    account.close(&cluster);
}

#[test]
fn a_member_that_moves_before_the_cluster_is_told_is_found_once_it_is() {
    let mut cluster = Cluster::start(3);
    let directory = tempfile::tempdir().expect("/tmp can be written");
    let at = (cluster.leader() + 1) % 3;
    let own = id(&cluster.members[at]);
    let member = &mut cluster.members[at];
    let (peer, data) = (free_url(), directory.path().join("new"));
    member.stop();
    copy(member.data_dir(), &data);
    is_elsewhere(member, &peer, &data);
    member.launch();
    eventually(PATIENCE, "it says what to do", || {
        let text = format!("etcdctl member update {own} {peer}");
        cluster.members[at].log().contains(&text).then_some(())
    });
    cluster.put("/meanwhile", "1");
    etcdctl(&cluster.members[(at + 1) % 3], &["member", "update", &own, &peer]);
    cluster.members[at].wait_until_ready();
    cluster.put("/after", "1");
    cluster.agree();
}

#[test]
fn client_urls_change_by_a_restart() {
    let mut cluster = Cluster::start(3);
    cluster.put("/a", "1");
    for at in 0..3 {
        let member = &mut cluster.members[at];
        let (peer, data) = (member.peer_url().to_owned(), member.data_dir().to_owned());
        let own = id(member);
        member.stop();
        let client = is_elsewhere(member, &peer, &data);
        member.restart();
        assert_eq!(id(member), own);
        for other in &cluster.members {
            eventually(PATIENCE, "all know of it", || {
                other.get("/v2/members").text().contains(&client).then_some(())
            });
        }
        // Whoever asks anybody finds it.
        let other = &cluster.members[(at + 1) % 3];
        let machines = other.get("/v2/machines").text();
        assert_eq!(machines.split(", ").filter(|url| *url == client).count(), 1, "{machines}");
    }
    let listed = etcdctl(&cluster.members[0], &["member", "list"]);
    for member in &cluster.members {
        assert!(listed.contains(&format!("clientURLs={}", member.url())), "{listed}");
    }
    cluster.put("/b", "1");
    cluster.agree();
}
