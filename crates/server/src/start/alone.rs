//! `--force-new-cluster`: where there is something to go on with, nobody else goes on, and once.
//!
//! The flag stays in unit files and scripts. Carried out again after the cluster has grown, it would
//! part this member from the others, and what they alone have would be lost. So a file beside the
//! data tells that it was carried out, until a start without it.

use std::{
    cmp::Ordering,
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use base::{Disk, Index, Open, Term};
use member::{Identity, Options, Others, Paths};
use peer::ask::{Forcing, Told, Unanswered};

use super::{cannot, joining, opening};
use crate::{Config, StartError};

/// How long others may take to say what they do: longer than any takes that is only busy.
const PATIENCE: Duration = Duration::from_secs(5);

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
        let Some(others) = known else { return Ok(true) };
        self.look_at(&others).map_err(StartError::Other)?;
        Ok(true)
    }

    /// Refuses where others go on, or are about to.
    ///
    /// Of two that are started with the flag one at most gets through, since each tells that it is,
    /// from before it asks until it leads: if both got through, each would have asked before the other
    /// told. Which one that is to be the operator must say: an entry that was acknowledged may be in
    /// the log of one of them alone.
    fn look_at(&self, others: &Others) -> Result<(), String> {
        let Identity { cluster, member } = others.identity;
        let identity = peer::Identity { cluster, member };
        self.config.forcing.send_replace(Some(Forcing { identity, last: others.last }));
        let patience = PATIENCE.max(self.config.dialer.patience());
        for answer in joining::ask_at(self.config, others.peer_urls.clone(), patience) {
            match answer {
                Ok(Told { cluster: theirs, leader: Some(leader), .. })
                    if theirs == cluster && leader != member =>
                {
                    return Err(format!(
                        "--force-new-cluster: the cluster goes on, led by member {leader}: leave the \
                         flag out; or stop the other members first, if it is this one's data that is \
                         to count"
                    ));
                }
                Err(Unanswered::Forcing { url, forcing })
                    if forcing.identity.cluster == cluster && forcing.identity.member != member =>
                {
                    return Err(both(&url, &forcing, others.last));
                }
                // It may be one that hangs: what it has acknowledged without this member is lost.
                Err(Unanswered::Silent { url }) => tracing::warn!(
                    "--force-new-cluster: somebody listens at {url} and does not answer: if it is a \
                     member that hangs, stop it, or there will be two clusters when it goes on"
                ),
                Ok(_) => {}
                Err(why) => tracing::debug!("a member does not answer: {why}"),
            }
        }
        Ok(())
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

/// Two are started with the flag.
fn both(url: &str, theirs: &Forcing, own: (Term, Index)) -> String {
    let other = theirs.identity.member;
    let place = |(term, index): (Term, Index)| format!("entry {index} of term {term}");
    let which = match theirs.last.cmp(&own) {
        Ordering::Greater => format!("member {other}, which has what this one has, and more"),
        Ordering::Less => "this one, which has what the other has, and more".to_owned(),
        Ordering::Equal => "either of the two, which have the same".to_owned(),
    };
    format!(
        "--force-new-cluster: member {other} at {url} is started with it too, and two clusters would \
         come of one: start one member with the flag, and none of the others. The log of that one \
         ends with {}, the log of this one with {}: choose {which}",
        place(theirs.last),
        place(own)
    )
}
