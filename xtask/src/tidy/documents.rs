//! Documents that point to what is there, and a map that has every crate.

use std::{fs, path::Path};

use anyhow::{Context as _, Result};

use super::manifest::Crate;

const MAP: &str = "ARCHITECTURE.md";
const MAP_LINES_MAX: usize = 400;
/// The table of contents of the book that `docs/` is.
const SUMMARY: &str = "SUMMARY.md";

pub(super) fn check(root: &Path, crates: &[Crate]) -> Result<Vec<String>> {
    let mut untidy = Vec::new();
    let map = read(&root.join(MAP))?;
    for name in crates.iter().map(|one| &one.name) {
        if !map.contains(&format!("`{name}`")) {
            untidy.push(format!("{MAP}: the code map lacks `{name}`"));
        }
    }
    let lines = map.lines().count();
    if lines >= MAP_LINES_MAX {
        untidy.push(format!("{MAP}: {lines} lines, fewer than {MAP_LINES_MAX} wanted"));
    }
    for document in all(root)? {
        let text = read(&root.join(&document))?;
        let dir = Path::new(&document).parent().unwrap_or(Path::new(""));
        for (link, part) in links(&text) {
            let target =
                if link.is_empty() { root.join(&document) } else { root.join(dir).join(link) };
            if !target.exists() {
                untidy.push(format!("{document}: links to {link}, which is not there"));
            } else if !part.is_empty() && !headings(&read(&target)?).any(|heading| heading == part)
            {
                untidy.push(format!(
                    "{document}: links to {link}#{part}, where nothing is called so"
                ));
            }
        }
        untidy.extend(dead_mentions(root, &document, &text));
    }
    untidy.extend(missing_pages(root)?);
    for settings in ["Cargo.toml", ".cargo/config.toml", "clippy.toml", "rustfmt.toml"] {
        if root.join(settings).exists() {
            untidy.extend(dead_mentions(root, settings, &read(&root.join(settings))?));
        }
    }
    Ok(untidy)
}

/// What is below `docs/` and not in the book's table of contents.
fn missing_pages(root: &Path) -> Result<Vec<String>> {
    let summary = Path::new("docs").join(SUMMARY);
    if !root.join(&summary).exists() {
        return Ok(Vec::new());
    }
    let contents = read(&root.join(&summary))?;
    let pages =
        all(root)?.into_iter().filter_map(|one| one.strip_prefix("docs/").map(str::to_owned));
    let is_missing = |page: &String| page != SUMMARY && !contents.contains(&format!("]({page})"));
    let missing = pages.filter(is_missing);
    Ok(missing.map(|page| format!("{}: lacks {page}", summary.display())).collect())
}

/// As links name them.
fn headings(text: &str) -> impl Iterator<Item = String> {
    let headings = text.lines().filter(|line| line.starts_with('#'));
    headings.map(|line| {
        let name = line.trim_start_matches('#').trim().to_lowercase();
        let kept = name.chars().filter(|one| one.is_alphanumeric() || " -_".contains(*one));
        kept.map(|one| if one == ' ' { '-' } else { one }).collect()
    })
}

/// Documents that a text names by their path from the root, without a link.
fn dead_mentions(root: &Path, file: &str, text: &str) -> Vec<String> {
    let is_part = |part: char| part.is_alphanumeric() || "/-_.".contains(part);
    let words = text.split(|letter| !is_part(letter)).map(|word| word.trim_end_matches('.'));
    let is_path = |word: &&str| {
        word.starts_with("docs/") && Path::new(word).extension().is_some_and(|ext| ext == "md")
    };
    let dead = words.filter(is_path).filter(|path| !root.join(path).exists());
    dead.map(|path| format!("{file}: names {path}, which is not there")).collect()
}

/// The documents at the root and below `docs/`.
fn all(root: &Path) -> Result<Vec<String>> {
    let mut found = Vec::new();
    for dir in ["", "docs", "docs/decisions", "docs/performance"] {
        let listed = root.join(dir);
        if !listed.exists() {
            continue;
        }
        for entry in fs::read_dir(&listed).with_context(|| format!("list {dir}"))? {
            let path = entry.with_context(|| format!("list {dir}"))?.path();
            if path.extension().is_some_and(|extension| extension == "md") {
                found.push(path.strip_prefix(root).unwrap_or(&path).display().to_string());
            }
        }
    }
    found.sort();
    Ok(found)
}

/// Targets of `[text](target#part)` that are files of ours.
fn links(text: &str) -> impl Iterator<Item = (&str, &str)> {
    let targets = text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    let targets = targets.filter(|target| !target.is_empty() && !target.contains(':'));
    targets.map(|target| target.split_once('#').unwrap_or((target, "")))
}

fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("read {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(name: &str) -> Crate {
        Crate { name: name.to_owned(), dependencies: Vec::new(), dev_dependencies: Vec::new() }
    }

    #[test]
    fn dead_links_and_missing_crates_are_told() {
        let root = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| fs::write(root.path().join(name), text).unwrap();
        fs::create_dir_all(root.path().join("docs/decisions")).unwrap();
        write(MAP, "`wal`: the log. [why](docs/decisions/why.md) [x](docs/gone.md#part)\n");
        write("docs/decisions/why.md", "[up](../../ARCHITECTURE.md) [web](https://example.com)\n");
        write("Cargo.toml", "# docs/decisions/why.md, and a tenth: docs/never.md.\n");
        let untidy = check(root.path(), &[one("wal"), one("mvcc")]).unwrap();
        assert_eq!(
            untidy,
            [
                "ARCHITECTURE.md: the code map lacks `mvcc`",
                "ARCHITECTURE.md: links to docs/gone.md, which is not there",
                "ARCHITECTURE.md: names docs/gone.md, which is not there",
                "Cargo.toml: names docs/never.md, which is not there",
            ]
        );
    }

    #[test]
    fn parts_that_are_not_there_and_pages_that_nobody_finds_are_told() {
        let root = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| fs::write(root.path().join(name), text).unwrap();
        fs::create_dir_all(root.path().join("docs")).unwrap();
        write(MAP, "[x](docs/a.md#what-is-it) [y](docs/a.md#what-was-it) [z](#here)\n# Here\n");
        write("docs/a.md", "## What is it?\n");
        write("docs/b.md", "\n");
        write("docs/SUMMARY.md", "- [A](a.md)\n");
        let untidy = check(root.path(), &[]).unwrap();
        assert_eq!(
            untidy,
            [
                "ARCHITECTURE.md: links to docs/a.md#what-was-it, where nothing is called so",
                "docs/SUMMARY.md: lacks b.md",
            ]
        );
    }

    #[test]
    fn a_map_too_long_to_read_is_told() {
        let root = tempfile::tempdir().unwrap();
        fs::write(root.path().join(MAP), "line\n".repeat(400)).unwrap();
        assert!(check(root.path(), &[]).unwrap()[0].contains("400 lines"));
    }
}
