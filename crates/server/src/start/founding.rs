//! From the flags to a new cluster.

use std::collections::BTreeSet;

use base::MemberId;
use member::Bootstrap;
use proto::command::Member;
use state::membership::{bootstrap_cluster_id, bootstrap_member_id};
use wal::Identity;

use super::joining;
use crate::{Config, addresses::Places};

/// How this member begins, by its flags; the error is one line that says what to do. The texts of
/// the original come first, for those who look for them.
///
/// Asks the other members over the network, where there is one.
pub(super) fn bootstrap(config: &Config) -> Result<Bootstrap, String> {
    let own = check(config)?;
    if !config.new_cluster {
        return joining::bootstrap(config);
    }
    let member = |(name, urls): &(String, Vec<String>)| {
        let mut urls = urls.clone();
        urls.sort_unstable();
        let id = bootstrap_member_id(&urls, &config.initial_cluster_token);
        Member { id: id.0, name: name.clone(), peer_urls: urls, ..Member::default() }
    };
    let members: Vec<Member> = config.initial_cluster.iter().map(member).collect();
    let mut ids: Vec<MemberId> = members.iter().map(|member| MemberId(member.id)).collect();
    ids.sort_unstable();
    let identity =
        Identity { cluster: bootstrap_cluster_id(&ids), member: MemberId(member(own).id) };
    joining::check_is_new(config, identity)?;
    Ok(Bootstrap { identity, members })
}

/// Returns this member's row of the initial cluster.
fn check(config: &Config) -> Result<&(String, Vec<String>), String> {
    let name = &config.name;
    let Some(own) = config.initial_cluster.iter().find(|(listed, _)| listed == name) else {
        let listed: Vec<_> = config.initial_cluster.iter().map(|(name, _)| &**name).collect();
        return Err(format!(
            "couldn't find local name \"{name}\" in the initial cluster configuration: \
             --initial-cluster lists {}; set --name to one of them, or add \"{name}=<peer URL>\"",
            listed.join(", ")
        ));
    };
    let mut seen = BTreeSet::new();
    if let Some(url) =
        config.initial_cluster.iter().flat_map(|row| &row.1).find(|url| !seen.insert(*url))
    {
        return Err(format!(
            "initial cluster has duplicate url {url}: give every member of --initial-cluster its \
             own peer URLs"
        ));
    }
    same_urls(config, &own.1)?;
    Ok(own)
}

/// Whether --initial-cluster and --initial-advertise-peer-urls say the same of this member; where
/// their texts differ, their addresses count, as in etcd.
fn same_urls(config: &Config, listed: &[String]) -> Result<(), String> {
    let Err(difference) = same_texts(config, listed) else { return Ok(()) };
    let places = Places::of([listed, &config.peer_urls].concat());
    let Ok(places) = joining::on_the_network(places) else { return Err(difference) };
    if places.same(listed, &config.peer_urls) {
        return Ok(());
    }
    let unresolved = places.unresolved().map(|why| format!(" ({why})")).unwrap_or_default();
    Err(difference + &unresolved)
}

fn same_texts(config: &Config, listed: &[String]) -> Result<(), String> {
    let row = |url: &String| format!("{}={url}", config.name);
    let advice = "give both the same URLs";
    let unadvertised: Vec<String> =
        listed.iter().filter(|url| !config.peer_urls.contains(url)).map(row).collect();
    if !unadvertised.is_empty() {
        return Err(format!(
            "--initial-cluster has {} but missing from --initial-advertise-peer-urls={}: {advice}",
            unadvertised.join(","),
            config.peer_urls.join(",")
        ));
    }
    let unlisted: Vec<&str> =
        config.peer_urls.iter().filter(|url| !listed.contains(url)).map(|url| &**url).collect();
    if !unlisted.is_empty() {
        let rows: Vec<String> = listed.iter().map(row).collect();
        return Err(format!(
            "--initial-advertise-peer-urls has {} but missing from --initial-cluster={}: {advice}",
            unlisted.join(","),
            rows.join(",")
        ));
    }
    Ok(())
}
