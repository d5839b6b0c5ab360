//! What the crates' manifests say of dependencies.

use std::{fs, path::Path};

use anyhow::{Context as _, Result};

/// A crate and what it names in its manifest.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Crate {
    pub(super) name: String,
    /// For the product, and for building it.
    pub(super) dependencies: Vec<String>,
    /// For its tests.
    pub(super) dev_dependencies: Vec<String>,
}

/// All crates under `crates/`, by name.
pub(super) fn crates(root: &Path) -> Result<Vec<Crate>> {
    let dir = root.join("crates");
    let mut crates = Vec::new();
    for entry in fs::read_dir(&dir).with_context(|| format!("list {}", dir.display()))? {
        let path = entry.context("list the crates")?.path();
        let manifest = path.join("Cargo.toml");
        if !manifest.exists() {
            continue;
        }
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let text = fs::read_to_string(&manifest)
            .with_context(|| format!("read {}", manifest.display()))?;
        crates.push(parse(name, &text));
    }
    crates.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(crates)
}

/// Reads the few forms of TOML that manifests use: sections, and keys at the start of a line.
pub(super) fn parse(name: String, text: &str) -> Crate {
    let mut found = Crate { name, dependencies: Vec::new(), dev_dependencies: Vec::new() };
    // Whether we are inside a section that lists dependencies, and which list it adds to.
    let mut listing: Option<bool> = None;
    for line in text.lines().map(str::trim_end) {
        if let Some(section) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            let (kind, single) = section_kind(section);
            listing = kind;
            if let (Some(dev), Some(single)) = (kind, single) {
                found.add(dev, single);
                // What follows are keys of this one dependency.
                listing = None;
            }
        } else if let Some(dev) = listing
            && line.starts_with(|first: char| first.is_ascii_alphanumeric() || first == '_')
            && let Some(key) = line.split(['.', ' ', '=']).next()
        {
            found.add(dev, key);
        }
    }
    found
}

/// `dependencies`, `dev-dependencies`, `target.'cfg(unix)'.dependencies`, `dependencies.foo`:
/// whether it is for tests only (none: no dependencies), and the one dependency it is about.
fn section_kind(section: &str) -> (Option<bool>, Option<&str>) {
    for (kind, dev) in
        [("dev-dependencies", true), ("build-dependencies", false), ("dependencies", false)]
    {
        if section == kind || section.ends_with(&format!(".{kind}")) {
            return (Some(dev), None);
        }
        let at = section.find(&format!("{kind}.")).filter(|at| {
            let before = section.get(..*at).unwrap_or_default();
            before.is_empty() || before.ends_with('.')
        });
        if let Some(single) = at.and_then(|at| section.get(at + kind.len() + 1..)) {
            return (Some(dev), Some(single));
        }
    }
    (None, None)
}

impl Crate {
    fn add(&mut self, dev: bool, name: &str) {
        let list = if dev { &mut self.dev_dependencies } else { &mut self.dependencies };
        list.push(name.to_owned());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dependencies_are_found_in_all_forms() {
        let text = "[package]\nname = \"x\"\nversion.workspace = true\n\n[dependencies]\n\
            base.workspace = true\n# a comment\nbytes = { version = \"1\", features = [\n    \
            \"serde\",\n] }\nlibc=\"0.2\"\n\n[dev-dependencies]\nproptest = \"1\"\n\n\
            [target.'cfg(unix)'.dependencies]\nrustix = \"1\"\n\n[dependencies.redb]\n\
            version = \"4\"\n\n[build-dependencies]\nprotox = \"1\"\n\n[lints]\nworkspace = true\n";
        let found = parse("x".to_owned(), text);
        assert_eq!(found.dependencies, ["base", "bytes", "libc", "rustix", "redb", "protox"]);
        assert_eq!(found.dev_dependencies, ["proptest"]);
    }
}
