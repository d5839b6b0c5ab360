//! Names that say nothing, and files that do not say what they are for.

use super::{manifest::Crate, sources::Source};

/// Whoever looks for something would not look there.
const EMPTY_NAMES: &[&str] = &["utils", "util", "common", "helpers", "helper", "manager", "misc"];

pub(super) fn check(crates: &[Crate], sources: &[Source]) -> Vec<String> {
    let mut untidy = Vec::new();
    for one in crates.iter().filter(|one| EMPTY_NAMES.contains(&one.name.as_str())) {
        untidy.push(format!("crates/{}: name it by what it is about", one.name));
    }
    for source in sources {
        let path = &source.path;
        let mut parts = path.trim_end_matches(".rs").split('/');
        if parts.clone().any(|part| EMPTY_NAMES.contains(&part)) {
            untidy.push(format!("{path}: name it by what it is about"));
        }
        if parts.next_back() == Some("mod") {
            untidy.push(format!("{path}: put foo.rs beside foo/"));
        }
        if !source.text.starts_with("//!") {
            untidy.push(format!("{path}: say in a first `//!` line what lives here"));
        }
    }
    untidy
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn empty_names_mod_files_and_missing_headers_are_told() {
        let source =
            |path: &str, text: &str| Source { path: path.to_owned(), text: text.to_owned() };
        let untidy = check(
            &[],
            &[
                source("crates/a/src/lib.rs", "//! Fine.\n"),
                source("crates/a/src/utils.rs", "//! Which?\n"),
                source("crates/a/src/keys/mod.rs", "//! Keys.\n"),
                source("crates/a/src/b.rs", "fn b() {}\n"),
            ],
        );
        assert_eq!(
            untidy,
            [
                "crates/a/src/utils.rs: name it by what it is about",
                "crates/a/src/keys/mod.rs: put foo.rs beside foo/",
                "crates/a/src/b.rs: say in a first `//!` line what lives here",
            ]
        );
    }
}
