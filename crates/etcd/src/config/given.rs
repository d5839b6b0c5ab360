//! What was given, and where.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use super::value;
use crate::flags;

/// The flags that were given, by name, and what there is to say about them.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Given {
    values: BTreeMap<&'static str, (String, Source)>,
    warnings: Vec<String>,
}

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    Line,
    Environment,
    File(PathBuf),
}

impl Source {
    /// The name as its user wrote it.
    pub(crate) fn show(&self, name: &str) -> String {
        match self {
            Self::Line => format!("--{name}"),
            Self::Environment => {
                format!("ETCD_{}", name.to_ascii_uppercase().replace('-', "_"))
            }
            Self::File(path) => format!("{name} (in {})", path.display()),
        }
    }
}

impl Given {
    pub(crate) fn set(&mut self, name: &'static str, value: String, source: Source) {
        self.values.insert(name, (value, source));
    }

    pub(crate) fn warn(&mut self, warning: String) {
        self.warnings.push(warning);
    }

    pub(crate) fn take_warnings(&mut self) -> Vec<String> {
        std::mem::take(&mut self.warnings)
    }

    pub(crate) fn is_set(&self, name: &str) -> bool {
        self.values.contains_key(name)
    }

    pub(crate) fn get(&self, name: &str) -> Option<&(String, Source)> {
        self.values.get(name)
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = &'static str> {
        self.values.keys().copied()
    }

    /// Copies, so that the owner can be changed meanwhile.
    pub(crate) fn all(&self) -> Vec<(&'static str, String, Source)> {
        let copy = |(name, (value, source)): (&&'static str, &(String, Source))| {
            (*name, value.clone(), source.clone())
        };
        self.values.iter().map(copy).collect()
    }

    /// The value, or the default.
    pub(crate) fn text(&self, name: &str) -> &str {
        match self.values.get(name) {
            Some((value, _)) => value,
            None => flags::find(name).map_or("", |flag| flag.default),
        }
    }

    /// The flag as its user wrote it, for messages.
    pub(crate) fn show(&self, name: &str) -> String {
        self.values.get(name).map_or_else(|| format!("--{name}"), |(_, source)| source.show(name))
    }

    /// Values are checked when they are set, so the fallbacks of these are never taken.
    pub(crate) fn switch(&self, name: &str) -> bool {
        value::switch(self.text(name)).unwrap_or(false)
    }

    pub(crate) fn count(&self, name: &str) -> u64 {
        self.text(name).parse().unwrap_or(0)
    }

    pub(crate) fn duration(&self, name: &str) -> Duration {
        base::duration::parse(self.text(name)).unwrap_or_default()
    }

    pub(crate) fn number(&self, name: &str) -> i64 {
        self.text(name).parse().unwrap_or(0)
    }
}
