//! `etcdctl cluster-health` of a cluster that is not well: by ours, and by Debian's where it is there.

use std::{path::PathBuf, time::Duration};

use e2e::{
    Member, binaries,
    cluster::{Cluster, forced::id},
    eventually, rings, run,
};

const PATIENCE: Duration = Duration::from_secs(30);

/// How the last line and the exit code are, of ours and of 3.4.23's.
struct End {
    ours: (&'static str, i32),
    theirs: (&'static str, i32),
}

/// Asks for the health at this member, by both; the lines must be these, and the end as each has it.
fn check(cluster: &Cluster, at: usize, lines: &[String], end: &End) {
    let original = binaries::real_etcdctl();
    let why_not = "Debian's etcdctl is not installed: apt-get install etcd-client";
    let has_original = rings::can_run("real-etcdctl", original.is_some(), why_not);
    let tools: [(Option<PathBuf>, _); 2] =
        [(Some(binaries::etcdctl()), end.ours), (original.filter(|_| has_original), end.theirs)];
    for (tool, (last, exit)) in tools {
        let Some(tool) = tool else { continue };
        let mut command = run::etcdctl(&tool, &cluster.members[at].url());
        let output = run::run(command.arg("cluster-health"), "");
        let expected: String = lines.iter().flat_map(|line| [line, "\n"]).collect();
        assert_eq!(output.stdout, format!("{expected}{last}\n"), "{}", tool.display());
        assert_eq!((output.stderr.as_str(), output.exit), ("", Some(exit)), "{}", tool.display());
    }
}

/// What is said of each member, in the order in which members are listed.
fn lines(
    cluster: &Cluster,
    of: impl Fn(&Member, usize, &str) -> Vec<String>,
    ids: &[String],
) -> Vec<String> {
    let mut all: Vec<_> =
        (0..3).map(|at| (&ids[at], of(&cluster.members[at], at, &ids[at]))).collect();
    all.sort_by_key(|(id, _)| u64::from_str_radix(id, 16).expect("a number"));
    all.into_iter().flat_map(|(_, lines)| lines).collect()
}

fn healthy(member: &Member, id: &str) -> Vec<String> {
    vec![format!("member {id} is healthy: got healthy result from {}", member.url())]
}

fn unreachable(member: &Member, id: &str) -> Vec<String> {
    let (url, address) = (member.url(), member.address());
    vec![
        format!(
            "failed to check the health of member {id} on {url}: Get \"{url}/health\": dial tcp \
             {address}: connect: connection refused"
        ),
        format!("member {id} is unreachable: [{url}] are all unreachable"),
    ]
}

#[test]
fn a_cluster_that_has_lost_members_is_described_member_by_member() {
    let mut cluster = Cluster::start(3);
    cluster.put("/a", "1");
    cluster.agree();
    let ids: Vec<_> = cluster.members.iter().map(id).collect();
    let all = lines(&cluster, |member, _, id| healthy(member, id), &ids);
    let end = End { ours: ("cluster is healthy", 0), theirs: ("cluster is healthy", 0) };
    check(&cluster, 0, &all, &end);

    // It serves: 2.3.8, and ours, call it healthy.
    let leader = cluster.leader();
    let (down, stays) = ((leader + 1) % 3, (leader + 2) % 3);
    cluster.members[down].kill();
    let of = |member: &Member, at: usize, id: &str| {
        if at == down { unreachable(member, id) } else { healthy(member, id) }
    };
    let end = End { ours: ("cluster is healthy", 0), theirs: ("cluster is degraded", 5) };
    check(&cluster, stays, &lines(&cluster, of, &ids), &end);

    cluster.members[leader].kill();
    eventually(PATIENCE, "it misses its leader", || {
        (cluster.members[stays].get("/health").status == 503).then_some(())
    });
    let of = |member: &Member, at: usize, id: &str| {
        if at != stays {
            return unreachable(member, id);
        }
        let url = member.url();
        vec![format!("member {id} is unhealthy: got unhealthy result from {url}")]
    };
    let end = End { ours: ("cluster is unhealthy", 5), theirs: ("cluster is unavailable", 5) };
    check(&cluster, stays, &lines(&cluster, of, &ids), &end);
}
