//! A page in the text format of Prometheus: what there is, and of which type.

use std::collections::{BTreeMap, BTreeSet};

/// What a name stands for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Family {
    pub(crate) kind: String,
    /// Of all its series together, but for those that a histogram needs.
    pub(crate) labels: BTreeSet<String>,
}

/// Fails on whatever Prometheus would not take.
pub(crate) fn parse(text: &str) -> BTreeMap<String, Family> {
    let mut families: BTreeMap<String, Family> = BTreeMap::new();
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').expect("a type");
            let family = Family { kind: kind.to_owned(), ..Family::default() };
            assert!(families.insert(name.to_owned(), family).is_none(), "{name} comes twice");
        } else if !line.starts_with('#') && !line.is_empty() {
            let (series, value) = line.rsplit_once(' ').expect("a value");
            assert!(value.parse::<f64>().is_ok(), "{line}");
            let (name, labels) = series.split_once('{').unwrap_or((series, ""));
            let mut both = [name].into_iter().chain(of_histogram(name));
            let family = both.rfind(|name| families.contains_key(*name));
            let family = family.unwrap_or_else(|| panic!("{name} has no type"));
            let family = families.get_mut(family).expect("it is there");
            let names = labels.split("\",").filter_map(|label| label.split_once('='));
            let names =
                names.map(|(name, _)| name).filter(|name| !["le", "quantile"].contains(name));
            family.labels.extend(names.map(str::to_owned));
        }
    }
    families
}

fn of_histogram(name: &str) -> Option<&str> {
    ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end))
}
