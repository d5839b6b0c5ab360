//! `--force-new-cluster`: where there is something to go on with, nobody else goes on, and once.
//!
//! The flag stays in unit files and scripts. Carried out again after the cluster has grown, it would
//! part this member from the others, and what they alone have would be lost. So a file beside the
//! data tells that it was carried out, until a start without it.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use base::{Disk, Open};
use member::{Identity, Options, Paths};

use super::{cannot, joining, opening};
use crate::{Config, StartError};

/// Refuses to found a cluster where one was to be saved.
pub(super) fn refuse_without_data(config: &Config) -> Result<(), StartError> {
    if !config.force_new_cluster {
        return Ok(());
    }
    Err(StartError::Other(format!(
        "--force-new-cluster: there is no member in {} to make a new cluster of: check --data-dir{}",
        config.data_dir.display(),
        if config.wal_dir.is_some() { " and --wal-dir" } else { "" }
    )))
}

pub(super) struct Alone<'a> {
    disk: &'a Arc<dyn Disk>,
    config: &'a Config,
    home: &'a Path,
    /// There once the flag was carried out.
    mark: PathBuf,
}

impl<'a> Alone<'a> {
    pub(super) fn new(disk: &'a Arc<dyn Disk>, home: &'a Path, config: &'a Config) -> Self {
        Self { disk, config, home, mark: home.join("forced") }
    }

    /// Whether the flag is to be carried out now. Refused while the others go on.
    pub(super) fn is_due(&self, paths: &Paths, options: &Options) -> Result<bool, StartError> {
        if !self.config.force_new_cluster {
            return Ok(false);
        }
        if self.is_marked()? {
            tracing::warn!(
                "--force-new-cluster was carried out at an earlier start and is ignored now: leave \
                 it out. If the other members are lost again, start once without it, then with it \
                 (or remove {})",
                self.mark.display()
            );
            return Ok(false);
        }
        let known = member::others(self.disk, paths, options);
        let known = known.map_err(|error| opening(&error, self.config))?;
        let Some((identity, urls)) = known else { return Ok(true) };
        for told in joining::ask_at(self.config, urls) {
            let leader = told.leader.filter(|leader| *leader != identity.member);
            if let Some(leader) = leader.filter(|_| told.cluster == identity.cluster) {
                return Err(StartError::Other(format!(
                    "--force-new-cluster: the cluster goes on, led by member {leader}: leave the \
                     flag out; or stop the other members first, if it is this one's data that is to \
                     count"
                )));
            }
        }
        Ok(true)
    }

    /// The member is open. Where this fails, the flag might be carried out again.
    pub(super) fn done(&self, forced: bool, identity: Identity) -> Result<(), StartError> {
        if forced {
            let Identity { member, cluster } = identity;
            tracing::info!("forcing restart of member {member} in cluster {cluster}, alone");
        }
        let is_marked = self.is_marked()?;
        let marked = if forced && !is_marked {
            self.disk.open(&self.mark, Open::Create).map(drop)
        } else if is_marked && !self.config.force_new_cluster {
            self.disk.remove(&self.mark)
        } else {
            return Ok(());
        };
        marked.and_then(|()| self.disk.sync_dir(self.home)).map_err(|error| self.cannot(&error))
    }

    fn is_marked(&self) -> Result<bool, StartError> {
        self.disk.exists(&self.mark).map_err(|error| self.cannot(&error))
    }

    fn cannot(&self, error: &io::Error) -> StartError {
        cannot("note in", self.home, "--data-dir", error)
    }
}
