//! What version this is, and to whom; what builds of neighbouring versions owe one another.
//!
//! A cluster has a version, which is replicated: what all of its members can do. It is raised once all
//! of them have told that they can do more, and lowered when an operator says so, before older
//! builds take their places. New behaviour of apply goes by it and by nothing else, so that it
//! starts at one entry of the log, on all members.

use std::fmt;

/// The version of etcd that clients test for: Patroni refuses below 3.0.4, Kubernetes wants 3.5.13
/// or later for consistent lists.
pub const SERVER: &str = THIS.server;

/// The product's own.
pub const PRODUCT: &str = env!("CARGO_PKG_VERSION");

/// What this build says of itself.
#[cfg(not(feature = "next-version"))]
pub const THIS: Build =
    Build { server: "3.6.14", cluster: Minor::new(3, 6), oldest: FIRST, formats: &[(1, FIRST)] };

/// What this build says of itself: it is a version on, to try upgrades with.
#[cfg(feature = "next-version")]
pub const THIS: Build = NEXT;

/// A build that is a version on.
pub const NEXT: Build = Build {
    server: "3.7.0",
    cluster: Minor::new(3, 7),
    oldest: FIRST,
    formats: &[(1, FIRST), (2, Minor::new(3, 7))],
};

/// The first version of ours: no cluster goes below it. The same in every build for ever, since all
/// members must come to the same when one is asked for.
pub const FIRST: Minor = Minor::new(3, 6);

/// What a build says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Build {
    /// The version of etcd that it stands for.
    pub server: &'static str,
    /// What it can do, and so the version of a cluster of such builds.
    pub cluster: Minor,
    /// The oldest build that it talks to, and the oldest cluster that it can be a member of.
    pub oldest: Minor,
    /// The formats of commands that it knows, oldest first, each with the version that a cluster
    /// must have for it. Never empty.
    pub formats: &'static [(u32, Minor)],
}

impl Build {
    /// The newest format of commands that a cluster of this version permits; `None` is one that has
    /// not agreed on its version yet.
    ///
    /// Builds of different versions come to the same, as long as both may be members: what the older
    /// one does not know, the cluster's version does not permit.
    pub fn format_permitted(&self, cluster: Option<Minor>) -> u32 {
        let permitted = |(_, since): &&(u32, Minor)| cluster.is_some_and(|minor| *since <= minor);
        let newest = self.formats.iter().rfind(permitted).or(self.formats.first());
        newest.map_or(0, |(format, _)| *format)
    }
}

/// A version as far as members must agree on it: major and minor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Minor {
    pub major: u32,
    pub minor: u32,
}

impl Minor {
    pub const fn new(major: u32, minor: u32) -> Self {
        Self { major, minor }
    }

    /// Of `3.6`, `3.6.14` or `3.6.0-rc.1`; `None` if it is none of them.
    pub fn parse(text: &str) -> Option<Self> {
        let mut numbers = text.split('.');
        let mut number = || numbers.next()?.parse().ok();
        Some(Self::new(number()?, number()?))
    }

    /// The one before; `None` before the first of a major version.
    pub fn previous(self) -> Option<Self> {
        Some(Self::new(self.major, self.minor.checked_sub(1)?))
    }

    /// As `/version` shows it: `3.6.0`.
    pub fn in_full(self) -> String {
        format!("{self}.0")
    }
}

impl fmt::Display for Minor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_minor_version_is_read_from_any_way_to_write_it() {
        let read = |text: &str| Minor::parse(text);
        for text in ["3.6", "3.6.0", "3.6.14", "3.6.0-rc.1"] {
            assert_eq!(read(text), Some(FIRST), "{text}");
        }
        for text in ["", "3", "3.", "v3.6", "3.x.1", "-1.2", "3.99999999999"] {
            assert_eq!(read(text), None, "{text}");
        }
        assert_eq!((FIRST.to_string(), FIRST.in_full()), ("3.6".into(), "3.6.0".into()));
        assert_eq!((NEXT.cluster.previous(), Minor::new(4, 0).previous()), (Some(FIRST), None));
    }

    #[test]
    fn neighbouring_builds_permit_the_same_formats() {
        let older = Build { formats: &[(1, FIRST)], cluster: FIRST, ..NEXT };
        for cluster in [None, Some(FIRST)] {
            assert_eq!(older.format_permitted(cluster), 1);
            assert_eq!(NEXT.format_permitted(cluster), 1);
        }
        assert_eq!(NEXT.format_permitted(Some(NEXT.cluster)), 2);
        assert_eq!(NEXT.format_permitted(Some(Minor::new(3, 9))), 2);
    }

    #[test]
    fn what_a_build_says_of_itself_fits_together() {
        for build in [THIS, NEXT] {
            assert_eq!(Minor::parse(build.server), Some(build.cluster));
            // It takes the place of the one before.
            assert!(build.oldest <= build.cluster.previous().unwrap_or(FIRST).max(FIRST));
            assert!(build.formats.is_sorted());
            assert!(build.formats.iter().all(|(_, since)| *since <= build.cluster));
        }
    }
}
