//! What the members of a cluster that runs say to one that is about to start.

use std::{thread, time::Duration};

use base::{
    MemberId,
    version::{Build, Minor, THIS},
};
use member::Bootstrap;
use peer::ask::{self, Told, ToldMember};
use tokio::{runtime, time};
use wal::Identity;

use crate::{Config, addresses::Places};

/// How long a member that is to join looks for one that answers.
const PATIENCE: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(500);
/// How long one may take to answer.
const ANSWER_PATIENCE: Duration = Duration::from_secs(2);

/// A member that joins takes the ids that the cluster has given out.
pub(super) fn bootstrap(config: &Config) -> Result<Bootstrap, String> {
    let others = urls_of_others(config).join(", ");
    let prefix = "cannot fetch cluster info from peer urls";
    if others.is_empty() {
        return Err(format!(
            "{prefix}: --initial-cluster lists no other member, which this one could join: add \
             name=URL of the members that run"
        ));
    }
    let told = on_the_network(ask_until_told(config))?.ok_or_else(|| {
        format!(
            "{prefix}: none of {others} answers: start one of them, or correct --initial-cluster"
        )
    })?;
    check_version(told.version)?;
    let member = own(config, &told)?;
    Ok(Bootstrap { identity: Identity { cluster: told.cluster, member }, members: Vec::new() })
}

/// The cluster's version must be one that this build can be a member of.
fn check_version(cluster: Option<Minor>) -> Result<(), String> {
    let Build { server, cluster: can, oldest, .. } = THIS;
    let prefix = "incompatible with current running cluster";
    match cluster {
        Some(cluster) if can < cluster => Err(format!(
            "{prefix}: it is at version {cluster}, this build is {server}: join it with one of \
             {cluster}"
        )),
        Some(cluster) if cluster < oldest => Err(format!(
            "{prefix}: it is at version {cluster}, this build ({server}) can be a member from \
             {oldest} on: upgrade the cluster first"
        )),
        _ => Ok(()),
    }
}

/// Where the members of a cluster are that this one joins, before its own log says so.
pub(super) fn others(config: &Config) -> Vec<(MemberId, Vec<String>)> {
    let told = on_the_network(ask_all(config)).unwrap_or_default();
    let members = told.into_iter().take(1).flat_map(|told| told.members);
    members.map(|member| (member.id, member.peer_urls)).collect()
}

/// A member of a new cluster that others know already has lost its data: it must not begin anew
/// under its old id.
pub(super) fn check_is_new(config: &Config, identity: Identity) -> Result<(), String> {
    if config.initial_cluster.len() == 1 {
        return Ok(());
    }
    // Those who are founded at the same time turn the question away; whoever is silent runs, or will
    // in a moment, and may know.
    let told = on_the_network(ask_all(config))?;
    let has_started =
        |member: &ToldMember| member.id == identity.member && !member.client_urls.is_empty();
    let knows =
        |told: &Told| told.cluster == identity.cluster && told.members.iter().any(has_started);
    if !told.iter().any(knows) {
        return Ok(());
    }
    let id = identity.member;
    Err(format!(
        "member {id} has already been bootstrapped: its cluster runs and knows it, but its data \
         directory is empty. Put its data back; or remove the member (etcdctl member remove {id}), \
         add it again, and start it with --initial-cluster-state existing"
    ))
}

/// The id under which the cluster knows this member, where both lists agree (etcd's
/// `ValidateClusterAndAssignIDs`).
fn own(config: &Config, told: &Told) -> Result<MemberId, String> {
    let prefix = "error validating peerURLs";
    let advice = "give --initial-cluster the members that 'etcdctl member list' shows";
    let (listed, known) = (config.initial_cluster.len(), told.members.len());
    if listed != known {
        return Err(format!(
            "{prefix}: member count is unequal: --initial-cluster lists {listed}, the cluster has \
             {known}: {advice}"
        ));
    }
    let mut own = None;
    for ((name, urls), found) in config.initial_cluster.iter().zip(matched(config, told)) {
        let urls = urls.join(", ");
        let Some(member) = found else {
            return Err(format!(
                "{prefix}: unmatched member while checking PeerURLs: the cluster has none at {urls} \
                 ({name}): add it first (etcdctl member add {name} {urls}), or {advice}"
            ));
        };
        if *name == config.name {
            own = Some(member.id);
        }
    }
    own.ok_or_else(|| format!("{prefix}: {advice}"))
}

/// Which of the cluster's members each row of --initial-cluster is: who has the same URLs, or else
/// URLs that lead to the same addresses.
fn matched<'a>(config: &Config, told: &'a Told) -> Vec<Option<&'a ToldMember>> {
    let sorted = |urls: &[String]| {
        let mut urls = urls.to_vec();
        urls.sort_unstable();
        urls
    };
    let find = |same: &dyn Fn(&[String], &[String]) -> bool| -> Vec<Option<&'a ToldMember>> {
        let of = |(_, urls): &(String, Vec<String>)| {
            told.members.iter().find(|member| same(&member.peer_urls, urls))
        };
        config.initial_cluster.iter().map(of).collect()
    };
    let by_text = find(&|one, other| sorted(one) == sorted(other));
    if by_text.iter().all(Option::is_some) {
        return by_text;
    }
    let listed = config.initial_cluster.iter().flat_map(|(_, urls)| urls);
    let urls = told.members.iter().flat_map(|member| &member.peer_urls).chain(listed);
    match on_the_network(Places::of(urls.cloned().collect())) {
        Ok(places) => find(&|one, other| places.same(one, other)),
        Err(_) => by_text,
    }
}

fn urls_of_others(config: &Config) -> Vec<&str> {
    let others = config.initial_cluster.iter().filter(|(name, _)| *name != config.name);
    others.flat_map(|(_, urls)| urls).map(String::as_str).collect()
}

async fn ask_until_told(config: &Config) -> Option<Told> {
    let deadline = time::Instant::now() + PATIENCE;
    loop {
        if let Some(told) = ask_all(config).await.into_iter().next() {
            return Some(told);
        }
        if time::Instant::now() >= deadline {
            return None;
        }
        tracing::info!("no member of --initial-cluster answers yet");
        time::sleep(PAUSE).await;
    }
}

/// What those say at these peer URLs that answer.
pub(super) fn ask_at(config: &Config, urls: Vec<String>) -> Vec<Told> {
    on_the_network(ask_these(config, urls)).unwrap_or_default()
}

/// What those say that answer, in the order of the flags.
async fn ask_all(config: &Config) -> Vec<Told> {
    let urls = urls_of_others(config).into_iter().map(str::to_owned).collect();
    ask_these(config, urls).await
}

async fn ask_these(config: &Config, urls: Vec<String>) -> Vec<Told> {
    let asked: Vec<_> = urls
        .into_iter()
        .map(|url| {
            let dialer = config.dialer.clone();
            tokio::spawn(async move { ask::members(&dialer, &url, ANSWER_PATIENCE).await })
        })
        .collect();
    let mut told = Vec::new();
    for answer in asked {
        match answer.await {
            Ok(Ok(answer)) => told.push(answer),
            Ok(Err(why)) => tracing::debug!("a member does not answer: {why}"),
            Err(_) => {}
        }
    }
    told
}

/// Waits on a thread of its own: the caller's may be one of the network's.
pub(super) fn on_the_network<T: Send>(task: impl Future<Output = T> + Send) -> Result<T, String> {
    let runtime = runtime::Handle::try_current();
    let runtime =
        runtime.map_err(|_| "there is no network to ask other members over".to_owned())?;
    let asked = thread::scope(|scope| scope.spawn(|| runtime.block_on(task)).join());
    asked.map_err(|_| "asking other members failed".to_owned())
}

#[cfg(test)]
mod tests {
    use base::ClusterId;

    use super::*;
    use crate::tests::mem_config;

    fn row(name: &str, url: &str) -> (String, Vec<String>) {
        (name.to_owned(), vec![url.to_owned()])
    }

    fn told(urls: &[&str]) -> Told {
        let member = |(url, id): (&&str, u64)| ToldMember {
            id: MemberId(id),
            peer_urls: vec![(*url).to_owned()],
            name: String::new(),
            client_urls: Vec::new(),
        };
        let members = urls.iter().zip(1..).map(member).collect();
        Told { cluster: ClusterId(9), version: None, leader: None, members }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_member_that_joins_is_known_by_its_urls_or_by_where_they_lead() {
        let check = |urls: &[&str], listed: &[&str], expected: Result<u64, &str>| {
            let names = ["a", "b"].iter();
            let rows = names.zip(listed).map(|(name, url)| row(name, url)).collect();
            let config = Config { name: "b".to_owned(), initial_cluster: rows, ..mem_config() };
            match (own(&config, &told(urls)), expected) {
                (Ok(id), Ok(expected)) => assert_eq!(id.0, expected),
                (Err(why), Err(expected)) => assert!(why.contains(expected), "{why}"),
                (got, _) => panic!("{got:?} instead of {expected:?}"),
            }
        };
        let (one, two) = ("http://127.0.0.1:1", "http://127.0.0.1:2");
        check(&[one, two], &[one, two], Ok(2));
        check(&[two, one], &[one, two], Ok(1));
        check(&[one, two], &[one, "http://localhost:2"], Ok(2));
        check(&[one, "http://localhost:2"], &[one, two], Ok(2));
        check(&[one, two], &[one, "http://localhost:3"], Err("none at http://localhost:3 (b)"));
        check(&[one], &[one, two], Err("lists 2, the cluster has 1"));
    }
}
