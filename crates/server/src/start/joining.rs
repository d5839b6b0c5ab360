//! What the members of a cluster that runs say to one that is about to start.

use std::{thread, time::Duration};

use base::{
    MemberId,
    version::{Build, Minor, THIS},
};
use member::Bootstrap;
use peer::ask::{self, Told, ToldMember, Unanswered};
use tokio::{runtime, time};
use wal::Identity;

use crate::{Config, addresses::Places};

/// How long a member that is to join looks for one that answers, and knows it.
const PATIENCE: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(500);

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
    let mut why = format!(
        "{prefix}: none of {others} answers: start one of them, or correct --initial-cluster"
    );
    let began = time::Instant::now();
    loop {
        match on_the_network(ask_all(config)).map(|told| first_accepted(config, &told))? {
            Some(Ok(identity)) => return Ok(Bootstrap { identity, members: Vec::new() }),
            // Whoever lags, or is cut off, has not heard yet that this member was added.
            Some(Err(refusal)) => why = refusal,
            None => {}
        }
        if began.elapsed() >= PATIENCE {
            return Err(why);
        }
        tracing::info!("no member of --initial-cluster knows this one yet: {why}");
        on_the_network(time::sleep(PAUSE))?;
    }
}

/// Who this member is by the first answer that its flags go with; or else why they do not go with
/// the first answer.
fn first_accepted(config: &Config, told: &[Told]) -> Option<Result<Identity, String>> {
    let accept = |told: &Told| {
        check_version(told.version)?;
        Ok(Identity { cluster: told.cluster, member: own(config, told)? })
    };
    let mut refusal = None;
    for answer in told.iter().map(accept) {
        match answer {
            Ok(identity) => return Some(Ok(identity)),
            Err(why) => refusal = refusal.or(Some(Err(why))),
        }
    }
    refusal
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
    // Not from one who has not heard of this member, if others have.
    let knows = told.iter().position(|told| own(config, told).is_ok()).unwrap_or(0);
    let members = told.into_iter().nth(knows).map(|told| told.members).unwrap_or_default();
    members.into_iter().map(|member| (member.id, member.peer_urls)).collect()
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

/// What those say at these peer URLs, within so long.
pub(super) fn ask_at(
    config: &Config,
    urls: Vec<String>,
    patience: Duration,
) -> Vec<Result<Told, Unanswered>> {
    on_the_network(ask_these(config, urls, patience)).unwrap_or_default()
}

/// What those say that answer, in the order of the flags.
async fn ask_all(config: &Config) -> Vec<Told> {
    let urls = urls_of_others(config).into_iter().map(str::to_owned).collect();
    let answers = ask_these(config, urls, config.dialer.patience()).await;
    let complain = |why: &Unanswered| tracing::debug!("a member does not answer: {why}");
    answers.into_iter().filter_map(|answer| answer.inspect_err(complain).ok()).collect()
}

async fn ask_these(
    config: &Config,
    urls: Vec<String>,
    patience: Duration,
) -> Vec<Result<Told, Unanswered>> {
    let asked: Vec<_> = urls
        .into_iter()
        .map(|url| {
            let dialer = config.dialer.clone();
            tokio::spawn(async move { ask::members(&dialer, &url, patience).await })
        })
        .collect();
    let mut answers = Vec::new();
    for answer in asked {
        answers.extend(answer.await);
    }
    answers
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
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::TcpListener,
    };

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

    /// A member of cluster 9 that so many times tells of itself alone, as before it has heard that
    /// the one at `added` was added.
    async fn lagging(added: &'static str, times: usize) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let row = |id: u64, url: &str| format!(r#"{{"id":{id},"peerURLs":["{url}"]}}"#);
        let (itself, new) = (row(1, &url), row(2, added));
        tokio::spawn(async move {
            for asked in 0.. {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    head.push(stream.read_u8().await.unwrap());
                }
                let body =
                    if asked < times { format!("[{itself}]") } else { format!("[{itself},{new}]") };
                let answer = format!(
                    "HTTP/1.1 200 OK\r\nx-etcd-cluster-id: 9\r\ncontent-length: {}\r\n\r\n{body}",
                    body.len()
                );
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
        });
        url
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_member_that_joins_asks_again_while_nobody_has_heard_of_it() {
        let own = "http://127.0.0.1:1";
        let url = lagging(own, 2).await;
        let rows = vec![row("a", &url), row("b", own)];
        let config = Config { name: "b".to_owned(), initial_cluster: rows, ..mem_config() };
        assert_eq!(bootstrap(&config).unwrap().identity.member, MemberId(2));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn of_all_answers_the_first_counts_that_knows_who_joins() {
        let told = [told(&["http://a:1"]), told(&["http://a:1", "http://b:1"])];
        let rows = vec![row("a", "http://a:1"), row("b", "http://b:1")];
        let config = Config { name: "b".to_owned(), initial_cluster: rows, ..mem_config() };
        let accepted = first_accepted(&config, &told).unwrap().unwrap();
        assert_eq!((accepted.cluster, accepted.member), (ClusterId(9), MemberId(2)));
        let refusal = first_accepted(&config, &told[..1]).unwrap().unwrap_err();
        assert!(refusal.contains("lists 2, the cluster has 1"), "{refusal}");
        assert_eq!(first_accepted(&config, &[]), None);
    }
}
