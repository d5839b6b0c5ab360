//! Every flag that etcd 2.3 to 3.7 has, and what becomes of it here.
//!
//! One table serves the command line, the environment and the configuration file. No flag is
//! ignored in silence: what has no effect says so in the log, what would change the meaning of the
//! data or its safety is refused until it works.

mod clustering;
pub(crate) mod gates;
pub(crate) mod gateway;
pub(crate) mod grpc_proxy;
mod help;
mod logging;
mod member;
mod past;
mod proxy;
mod security;
mod tuning;

pub(crate) use help::help;

/// A flag: `--name` on the command line, `ETCD_NAME` in the environment, `name:` in a file.
#[derive(Debug)]
pub(crate) struct Flag {
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    /// As a user would write it.
    pub(crate) default: &'static str,
    pub(crate) fate: Fate,
}

/// What values a flag takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Text,
    /// Alone it means true; Go's words for true and false otherwise.
    Switch,
    Count,
    /// May be negative.
    Number,
    OneOf(&'static [&'static str]),
    /// URLs of members.
    Urls,
    /// URLs for clients, which may come by a socket in the file system too.
    ClientUrls,
    /// Origins of pages, as browsers send them, or `*`.
    Origins,
    /// `IP:port`, as etcd 0.4 had it.
    Address,
    /// As Go writes it: `1m30s`.
    Duration,
    /// Names of features, each with `=true` or `=false`.
    Gates,
    /// Items with commas between; given twice, both count.
    List,
}

/// What becomes of a flag that was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// Does what this help text says.
    Used(&'static str),
    /// Accepted; the reason why it changes nothing is logged.
    Idle(&'static str),
    /// Refused, unless it is given its default: what it belongs to does not exist yet.
    Later(&'static str),
    /// Renamed long ago: stands for the flag of this name.
    Renamed(&'static str),
    /// Refused, with this advice.
    Gone(&'static str),
    /// Of etcd 0.4: accepted and ignored with a warning, as etcd 2.3 does.
    Past,
}

/// Flags that belong together.
#[derive(Debug)]
pub(crate) struct Group {
    pub(crate) title: &'static str,
    pub(crate) flags: &'static [Flag],
}

pub(crate) const GROUPS: &[Group] = &[
    Group { title: "Member", flags: member::FLAGS },
    Group { title: "Clustering", flags: clustering::FLAGS },
    Group { title: "Proxy", flags: proxy::FLAGS },
    Group { title: "Logging", flags: logging::FLAGS },
    Group { title: "Security", flags: security::FLAGS },
    Group { title: "Tuning", flags: tuning::FLAGS },
    Group { title: "Of the past", flags: past::FLAGS },
];

/// The flag of that name.
pub(crate) fn find(name: &str) -> Option<&'static Flag> {
    find_in(GROUPS, name)
}

pub(crate) fn find_in(groups: &'static [Group], name: &str) -> Option<&'static Flag> {
    all_in(groups).find(|flag| flag.name == name)
}

pub(crate) fn all() -> impl Iterator<Item = &'static Flag> {
    all_in(GROUPS)
}

fn all_in(groups: &'static [Group]) -> impl Iterator<Item = &'static Flag> {
    groups.iter().flat_map(|group| group.flags)
}

/// The known name that someone who wrote `name` most likely meant.
pub(crate) fn nearest(name: &str) -> Option<&'static str> {
    nearest_in(GROUPS, name)
}

pub(crate) fn nearest_in(groups: &'static [Group], name: &str) -> Option<&'static str> {
    let close = |flag: &&Flag| !matches!(flag.fate, Fate::Past | Fate::Gone(_));
    let distances = all_in(groups).filter(close).map(|flag| (distance(name, flag.name), flag.name));
    let (distance, nearest) = distances.min()?;
    let near = distance <= (nearest.len() / 4).max(2) && distance < name.len().min(nearest.len());
    near.then_some(nearest)
}

impl Flag {
    /// `ETCD_` and the name in capitals.
    pub(crate) fn variable(&self) -> String {
        format!("ETCD_{}", self.name.to_ascii_uppercase().replace('-', "_"))
    }

    /// Whether the flag can stand alone on the command line.
    pub(crate) fn stands_alone(&self) -> bool {
        self.kind == Kind::Switch || self.fate == Fate::Past
    }
}

const fn used(name: &'static str, kind: Kind, default: &'static str, help: &'static str) -> Flag {
    Flag { name, kind, default, fate: Fate::Used(help) }
}

/// Another name for the same.
const fn renamed(name: &'static str, kind: Kind, default: &'static str, to: &'static str) -> Flag {
    Flag { name, kind, default, fate: Fate::Renamed(to) }
}

const fn idle(name: &'static str, kind: Kind, default: &'static str, reason: &'static str) -> Flag {
    Flag { name, kind, default, fate: Fate::Idle(reason) }
}

const fn later(
    name: &'static str,
    kind: Kind,
    default: &'static str,
    feature: &'static str,
) -> Flag {
    Flag { name, kind, default, fate: Fate::Later(feature) }
}

/// The least number of letters to insert, delete or replace (Levenshtein).
fn distance(from: &str, to: &str) -> usize {
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (at, given) in from.bytes().enumerate() {
        // `diagonal` is the cell up and to the left of the one being filled.
        let (mut diagonal, mut left) = (at, at + 1);
        for (cell, wanted) in row.iter_mut().skip(1).zip(to.bytes()) {
            let replaced = diagonal + usize::from(given != wanted);
            diagonal = *cell;
            left = replaced.min(*cell + 1).min(left + 1);
            *cell = left;
        }
        if let Some(first) = row.first_mut() {
            *first = at + 1;
        }
    }
    row.last().copied().unwrap_or(from.len())
}

#[cfg(test)]
mod tests;
