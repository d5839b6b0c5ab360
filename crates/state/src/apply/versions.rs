//! The cluster's version: raised when all members can do more, lowered when an operator says so.
//!
//! All of it follows from the entries so far: which builds members have is told by themselves, in
//! the log.

use backend::Applied;
use base::{
    Index, Refused,
    version::{Build, FIRST, Minor},
};
use bytes::Bytes;
use mvcc::{ReadError, Writer};
use proto::command::{ClusterVersion, Downgrade};

use super::{Fatal, Response, State, damaged, meta, undecodable};

/// What the cluster agrees to speak.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Versions {
    /// What all members can do; `None` before agreement.
    pub cluster: Option<Minor>,
    /// To which older builds may take the members' places; the cluster's version is not raised
    /// meanwhile.
    pub downgrade: Option<Minor>,
    lowered: Option<Lowered>,
}

/// That the version was lowered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Lowered {
    /// The highest version from which it ever was: commands of that one may still come, late.
    from: Minor,
    /// By this entry, the last time.
    at: Index,
}

impl Lowered {
    fn read(row: &str) -> Option<Self> {
        let (from, at) = row.split_once(' ')?;
        Some(Self { from: Minor::parse(from)?, at: Index(at.parse().ok()?) })
    }

    fn row(self) -> String {
        format!("{} {}", self.from.in_full(), self.at)
    }
}

/// Why the cluster's version is not lowered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    #[error("{}", Refused::ClusterVersionUnavailable)]
    NoClusterVersion,
    #[error("{}", Refused::InvalidDowngradeTargetVersion)]
    Target,
    #[error("{}", Refused::DowngradeInProcess)]
    InProgress,
    #[error(
        "etcdserver: members are of versions {0} to {1}, or have not told theirs: all must be of \
         the cluster's version before it is lowered"
    )]
    Mixed(Minor, Minor),
    #[error("etcdserver: the keyspace holds {what}, which version {target} cannot read")]
    Holds { what: &'static str, target: Minor },
}

/// Rows of `Meta` that a version has brought. A lowering below it removes them, or is refused if
/// they say what they are.
struct Newer {
    since: Minor,
    row: &'static str,
    keeps: Option<&'static str>,
}

#[cfg(not(feature = "next-version"))]
const NEWER: &[Newer] = &[];

#[cfg(feature = "next-version")]
const NEWER: &[Newer] = &[
    Newer { since: super::next::SINCE, row: super::next::COUNT, keeps: None },
    Newer { since: super::next::SINCE, row: super::next::NOTE, keeps: Some("a note") },
];

impl Versions {
    pub(super) fn read(writer: &Writer) -> Result<Self, Fatal> {
        Ok(Self {
            cluster: read(writer, meta::CLUSTER_VERSION, Minor::parse)?,
            downgrade: read(writer, meta::DOWNGRADE, Minor::parse)?,
            lowered: read(writer, meta::LOWERED, Lowered::read)?,
        })
    }

    /// The last entry that lowered the version. What stands before it in the log is perhaps not for
    /// every build that may be a member now: whoever needs it is to be sent a snapshot.
    pub fn lowered_at(self) -> Index {
        self.lowered.map_or(Index(0), |lowered| lowered.at)
    }

    /// Whether this build may be a member of such a cluster.
    pub(super) fn check(self, build: &Build) -> Result<Self, Fatal> {
        let (server, can, oldest) = (build.server, build.cluster, build.oldest);
        match self.cluster {
            Some(cluster) if can < cluster => Err(Fatal::TooOld { cluster, server }),
            Some(cluster) if cluster < oldest => Err(Fatal::TooNew { cluster, server, oldest }),
            _ => Ok(self),
        }
    }

    /// Whether a command of this format may be carried out. One that may not does nothing, on any
    /// member; one that this build does not know, and that is not late, stops it.
    pub(super) fn permit(self, at: Index, format: u32, build: &Build) -> Result<bool, Fatal> {
        if format <= build.format_permitted(self.cluster) {
            return Ok(true);
        }
        let known = build.format_permitted(Some(build.cluster));
        let may_be_late = self.lowered.is_some_and(|lowered| build.cluster < lowered.from);
        if known < format && !may_be_late {
            return Err(Fatal::UnknownFormat { index: at.0, format, known });
        }
        Ok(false)
    }
}

fn read<T>(
    writer: &Writer,
    name: &'static str,
    parse: impl Fn(&str) -> Option<T>,
) -> Result<Option<T>, Fatal> {
    let Some(row) = writer.meta(name.as_bytes())? else { return Ok(None) };
    let text = String::from_utf8_lossy(&row);
    parse(&text).map(Some).ok_or_else(|| damaged(name, &text))
}

impl State {
    /// What the leader proposes when it finds that all members can do more. Those who have changed
    /// their builds meanwhile have said so in the log: then it does nothing.
    pub(super) fn apply_version(
        &mut self,
        at: Applied,
        command: &ClusterVersion,
    ) -> Result<Response, Fatal> {
        let wanted = Minor::parse(&command.version)
            .ok_or_else(|| undecodable(at, "its version is none that this build knows"))?;
        let before = self.reader.versions();
        if let Some(cluster) = before.cluster {
            let lowest = self.reader.members().versions().map(|(lowest, _)| lowest);
            let all_can = lowest.is_some_and(|lowest| wanted <= lowest);
            if wanted <= cluster || before.downgrade.is_some() || !all_can {
                return Ok(Response::Done);
            }
        }
        self.set_versions(at, Versions { cluster: Some(wanted), ..before })?;
        self.writer.restart_digest();
        #[cfg(feature = "next-version")]
        self.begin_next(wanted);
        Ok(Response::Done)
    }

    pub(super) fn apply_downgrade(
        &mut self,
        at: Applied,
        command: &Downgrade,
    ) -> Result<Response, Fatal> {
        let before = self.reader.versions();
        if command.target.is_empty() {
            self.set_versions(at, Versions { downgrade: None, ..before })?;
            return Ok(Response::Downgrade(Ok(())));
        }
        let target = Minor::parse(&command.target)
            .ok_or_else(|| undecodable(at, "its version is none that this build knows"))?;
        if let Err(unfit) = self.reader.fits(target)? {
            return Ok(Response::Downgrade(Err(unfit)));
        }
        for newer in NEWER.iter().filter(|newer| target < newer.since) {
            self.writer.set_meta(newer.row, None);
        }
        #[cfg(feature = "next-version")]
        self.end_next();
        let from = before.lowered.map(|lowered| lowered.from).max(before.cluster);
        let lowered = from.map(|from| Lowered { from, at: at.index });
        let versions = Versions { cluster: Some(target), downgrade: Some(target), lowered };
        self.set_versions(at, versions)?;
        self.writer.restart_digest();
        Ok(Response::Downgrade(Ok(())))
    }

    /// No entry comes late any more, and nobody waits for older builds.
    pub(super) fn forget_lowering(&mut self, at: Applied) -> Result<(), Fatal> {
        let before = self.reader.versions();
        self.set_versions(at, Versions { downgrade: None, lowered: None, ..before })
    }

    /// What is stored, then what readers see; a build that cannot go on with it stops here.
    fn set_versions(&mut self, at: Applied, now: Versions) -> Result<(), Fatal> {
        let before = self.reader.versions();
        now.check(&self.build)?;
        let rows = |versions: Versions| {
            [
                (meta::CLUSTER_VERSION, versions.cluster.map(Minor::in_full)),
                (meta::DOWNGRADE, versions.downgrade.map(Minor::in_full)),
                (meta::LOWERED, versions.lowered.map(Lowered::row)),
            ]
        };
        for ((name, row), before) in rows(now).into_iter().zip(rows(before)) {
            if row != before.1 {
                self.writer.set_meta(name, row.map(Bytes::from));
            }
        }
        self.reader.set_versions(now, at.index, self.backend.durable().index);
        tell(before, now);
        Ok(())
    }
}

impl super::Reader {
    /// Whether the cluster's version may be lowered to this.
    pub fn fits(&self, target: Minor) -> Result<Result<(), Unfit>, ReadError> {
        if let Err(unfit) = self.versions_fit(target) {
            return Ok(Err(unfit));
        }
        for newer in NEWER.iter().filter(|newer| target < newer.since) {
            if let Some(what) = newer.keeps
                && self.store().meta(newer.row)?.is_some()
            {
                return Ok(Err(Unfit::Holds { what, target }));
            }
        }
        Ok(Ok(()))
    }

    fn versions_fit(&self, target: Minor) -> Result<(), Unfit> {
        let now = self.versions();
        let cluster = now.cluster.ok_or(Unfit::NoClusterVersion)?;
        if cluster.previous() != Some(target) || target < FIRST {
            return Err(Unfit::Target);
        }
        if now.downgrade.is_some() {
            return Err(Unfit::InProgress);
        }
        match self.members().versions() {
            Some((lowest, highest)) if lowest == cluster && highest == cluster => Ok(()),
            told => {
                let (lowest, highest) = told.unwrap_or((cluster, cluster));
                Err(Unfit::Mixed(lowest, highest))
            }
        }
    }
}

/// In the words of the original, where it has some.
fn tell(before: Versions, now: Versions) {
    match (before.cluster, now.cluster) {
        (Some(from), Some(to)) if from != to => {
            tracing::info!(target: "etcdserver", "updated the cluster version from {from} to {to}");
            tracing::info!(target: "etcdserver/api", "enabled capabilities for version {to}");
        }
        _ => {}
    }
    match (before.downgrade, now.downgrade) {
        (None, Some(to)) => tracing::info!(
            target: "etcdserver",
            "the cluster is downgrading to {to}: builds of {to} may take the members' places, one \
             at a time, each once its /version shows storage {to}.0"
        ),
        (Some(to), None) => tracing::info!(
            target: "etcdserver",
            "the downgrade of the cluster to {to} has ended"
        ),
        _ => {}
    }
}
