//! The flags of commands that make the data directory of a member of a new cluster.

use std::{ffi::OsString, path::PathBuf};

use base::url;
use clap::Args;
use member::{Bootstrap, Place, initial};

const NAME: &str = "default";
const PEER_URL: &str = "http://localhost:2380";

/// What becomes of the data: a member of which cluster, and where.
#[derive(Args, Debug)]
pub struct Founding {
    /// Where to; missing or empty [default: NAME.etcd]
    #[arg(long, value_name = "DIR", default_value = "", hide_default_value = true)]
    data_dir: OsString,
    /// Where the member's log is to be [default: within the data directory]
    #[arg(long, value_name = "DIR", default_value = "", hide_default_value = true)]
    wal_dir: OsString,
    /// The name of the member
    #[arg(long, value_name = "NAME", default_value = NAME)]
    name: String,
    /// Names and peer URLs of all members of the new cluster
    #[arg(long, value_name = "NAME=URL,...", default_value = "default=http://localhost:2380")]
    initial_cluster: String,
    /// What the ids of the new cluster and its members are computed from, besides
    #[arg(long, value_name = "TEXT", default_value = "etcd-cluster")]
    initial_cluster_token: String,
    /// Where the others reach this member
    #[arg(long, value_name = "URL,...", default_value = PEER_URL)]
    initial_advertise_peer_urls: String,
}

impl Founding {
    /// Of which cluster the member is to be, and who in it.
    pub fn as_whom(&self) -> Result<Bootstrap, String> {
        let advertised = url::texts(&url::parse_list(&self.initial_advertise_peer_urls)?);
        let all = url::parse_members(&self.initial_cluster)?;
        let own = initial::own(&self.name, &all)?;
        initial::check_same(own, &advertised)?;
        Ok(Bootstrap::of_all(&all, own, &self.initial_cluster_token))
    }

    /// Where its data is to be.
    pub fn place(&self) -> Place {
        let given = |dir: &OsString| Some(PathBuf::from(dir)).filter(|_| !dir.is_empty());
        let data_dir = given(&self.data_dir);
        let data_dir = data_dir.unwrap_or_else(|| PathBuf::from(format!("{}.etcd", self.name)));
        Place { data_dir, wal_dir: given(&self.wal_dir) }
    }
}
