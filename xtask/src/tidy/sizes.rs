//! Files and functions stay readable; what was long when the check came may only shrink.

use super::sources::Source;

const FILE_LINES_MAX: usize = 600;
const FUNCTION_LINES_MAX: usize = 70;

/// Files allowed over the limit, and the length they may not pass.
const LONG: &[(&str, usize)] = &[];

pub(super) fn check(sources: &[Source]) -> Vec<String> {
    let mut untidy = Vec::new();
    for source in sources.iter().filter(|source| !source.is_test()) {
        let path = &source.path;
        let max = LONG.iter().find(|(long, _)| long == path).map_or(FILE_LINES_MAX, |long| long.1);
        let lines = source.text.lines().count();
        if lines > max {
            untidy.push(format!("{path}: {lines} lines, at most {max}"));
        }
        for (at, lines) in functions(&source.text) {
            if lines > FUNCTION_LINES_MAX {
                untidy.push(format!(
                    "{path}:{at}: a function of {lines} lines, at most {FUNCTION_LINES_MAX}"
                ));
            }
        }
    }
    untidy
}

/// Where each outermost function begins, and its length.
///
/// rustfmt begins a function's last line with a brace at the indent of its first, so that no
/// parser is needed.
fn functions(text: &str) -> Vec<(usize, usize)> {
    let mut found = Vec::new();
    let mut open: Option<(usize, usize)> = None;
    for (at, line) in text.lines().enumerate() {
        let indent = line.len() - line.trim_start().len();
        match open {
            None if begins_function(line.trim_start()) => {
                // `fn f() {}` and `fn f();` end where they begin.
                let ends = line.ends_with(['}', ';']);
                open = (!ends).then_some((at, indent));
            }
            Some((from, depth)) if indent == depth => {
                let closes = line.trim_start().starts_with('}');
                // The signature of a trait's method, over several lines.
                let is_declared_only = line.ends_with(';') && !closes;
                if closes {
                    found.push((from + 1, at - from + 1));
                }
                if closes || is_declared_only {
                    open = None;
                }
            }
            None | Some(_) => {}
        }
    }
    found
}

fn begins_function(line: &str) -> bool {
    let mut words = line.split_whitespace();
    let modifiers = ["const", "async", "unsafe", "extern", "\"C\"", "default"];
    let first = words.find(|word| !word.starts_with("pub") && !modifiers.contains(word));
    first == Some("fn")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_are_measured_from_signature_to_brace() {
        let text = "fn short() {}\n\
                    trait T {\n    fn declared(\n        &self,\n    ) -> bool;\n}\n\
                    pub(crate) async fn long<T>(\n    a: T,\n) -> T\nwhere\n    T: Copy,\n{\n    \
                    fn inner() {\n    }\n    a\n}\n\
                    impl X {\n    pub const fn method(&self) {\n        x();\n    }\n}\n";
        assert_eq!(functions(text), [(7, 10), (18, 3)]);
    }

    #[test]
    fn what_is_too_long_is_told_and_tests_are_free() {
        let body = "    x();\n".repeat(70);
        let text = format!("//! Long.\nfn long() {{\n{body}}}\n");
        let source = |path: &str, text: String| Source { path: path.to_owned(), text };
        let sources = [
            source("crates/a/src/a.rs", text.clone()),
            source("crates/a/src/tests.rs", text.clone()),
            source("crates/a/tests/whole.rs", text),
            source("crates/a/src/b.rs", "//\n".repeat(601)),
        ];
        assert_eq!(
            check(&sources),
            [
                "crates/a/src/a.rs:2: a function of 72 lines, at most 70",
                "crates/a/src/b.rs: 601 lines, at most 600",
            ]
        );
    }
}
