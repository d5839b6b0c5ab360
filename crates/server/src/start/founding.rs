//! From the flags to a new cluster.

use member::{
    Bootstrap,
    initial::{self, Row},
};

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
    let found = Bootstrap::of_all(&config.initial_cluster, own, &config.initial_cluster_token);
    joining::check_is_new(config, found.identity)?;
    Ok(found)
}

/// Returns this member's row of the initial cluster.
fn check(config: &Config) -> Result<&Row, String> {
    let own = initial::own(&config.name, &config.initial_cluster)?;
    same_urls(config, own)?;
    Ok(own)
}

/// Whether --initial-cluster and --initial-advertise-peer-urls say the same of this member; where
/// their texts differ, their addresses count, as in etcd.
fn same_urls(config: &Config, own: &Row) -> Result<(), String> {
    let Err(difference) = initial::check_same(own, &config.peer_urls) else { return Ok(()) };
    let listed = &own.1[..];
    let places = Places::of([listed, &config.peer_urls].concat());
    let Ok(places) = joining::on_the_network(places) else { return Err(difference) };
    if places.same(listed, &config.peer_urls) {
        return Ok(());
    }
    let unresolved = places.unresolved().map(|why| format!(" ({why})")).unwrap_or_default();
    Err(difference + &unresolved)
}
