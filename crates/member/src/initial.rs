//! What the flags say of a cluster that is to be, and whether it makes sense. The texts of the
//! original come first, for those who look for them.

use std::collections::BTreeSet;

/// A member's name and its peer URLs.
pub type Row = (String, Vec<String>);

/// This member's row of the initial cluster, in which no URL is twice.
pub fn own<'a>(name: &str, initial_cluster: &'a [Row]) -> Result<&'a Row, String> {
    let Some(own) = initial_cluster.iter().find(|(listed, _)| listed == name) else {
        let listed: Vec<_> = initial_cluster.iter().map(|(name, _)| &**name).collect();
        return Err(format!(
            "couldn't find local name \"{name}\" in the initial cluster configuration: \
             --initial-cluster lists {}; set --name to one of them, or add \"{name}=<peer URL>\"",
            listed.join(", ")
        ));
    };
    let mut seen = BTreeSet::new();
    if let Some(url) = initial_cluster.iter().flat_map(|row| &row.1).find(|url| !seen.insert(*url))
    {
        return Err(format!(
            "initial cluster has duplicate url {url}: give every member of --initial-cluster its \
             own peer URLs"
        ));
    }
    Ok(own)
}

/// Whether --initial-cluster and --initial-advertise-peer-urls say the same of this member, by
/// their texts.
pub fn check_same(own: &Row, advertised: &[String]) -> Result<(), String> {
    let (name, listed) = own;
    let row = |url: &String| format!("{name}={url}");
    let advice = "give both the same URLs";
    let unadvertised: Vec<String> =
        listed.iter().filter(|url| !advertised.contains(url)).map(row).collect();
    if !unadvertised.is_empty() {
        return Err(format!(
            "--initial-cluster has {} but missing from --initial-advertise-peer-urls={}: {advice}",
            unadvertised.join(","),
            advertised.join(",")
        ));
    }
    let unlisted: Vec<&str> =
        advertised.iter().filter(|url| !listed.contains(url)).map(|url| &**url).collect();
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
