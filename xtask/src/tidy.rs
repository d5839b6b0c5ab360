//! Rules about the repository that are tests, not reviews: `cargo xtask tidy`.

mod documents;
mod layers;
mod manifest;
mod names;
mod sizes;
mod sources;

use std::path::Path;

use anyhow::{Result, bail};

/// Looks at the repository in the current directory.
pub(crate) fn check() -> Result<()> {
    let untidy = look(Path::new("."))?;
    for line in &untidy {
        eprintln!("{line}");
    }
    match untidy.len() {
        0 => Ok(()),
        1 => bail!("one untidy place"),
        count => bail!("{count} untidy places"),
    }
}

/// What is untidy below `root`, one line each.
fn look(root: &Path) -> Result<Vec<String>> {
    let crates = manifest::crates(root)?;
    let sources = sources::all(root)?;
    let mut untidy = layers::check(&crates);
    untidy.extend(names::check(&crates, &sources));
    untidy.extend(sizes::check(&sources));
    untidy.extend(documents::check(root, &crates)?);
    untidy.sort();
    Ok(untidy)
}
