//! Where lines go: standard error, standard output, files.

use std::{
    fs::{File, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
};

use tracing_subscriber::fmt::MakeWriter;

use super::rotation::{Rotated, Rotation};

/// One target of `--log-outputs`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Output {
    Stderr,
    Stdout,
    File(PathBuf),
    /// One that is set aside when it is full.
    Rotated(PathBuf, Rotation),
}

/// The original's words, or paths. The journal reads standard error by itself.
pub(super) fn parse(text: &str) -> Vec<Output> {
    let mut outputs = Vec::new();
    for word in text.split(',').map(str::trim).filter(|word| !word.is_empty()) {
        let output = match word {
            "default" | "stderr" | "systemd/journal" => Output::Stderr,
            "stdout" => Output::Stdout,
            path => Output::File(PathBuf::from(path)),
        };
        if !outputs.contains(&output) {
            outputs.push(output);
        }
    }
    if outputs.is_empty() {
        outputs.push(Output::Stderr);
    }
    outputs
}

/// Open outputs. Each line is written with one call, so that lines of several threads stay whole.
#[derive(Debug)]
pub(super) struct Outputs {
    stderr: bool,
    stdout: bool,
    files: Vec<File>,
    rotated: Vec<Rotated>,
}

impl Outputs {
    /// Opens the files, each for appending.
    pub(super) fn open(outputs: &[Output]) -> Result<Self, String> {
        let mut opened =
            Self { stderr: false, stdout: false, files: Vec::new(), rotated: Vec::new() };
        for output in outputs {
            match output {
                Output::Stderr => opened.stderr = true,
                Output::Stdout => opened.stdout = true,
                Output::File(path) => {
                    let file = OpenOptions::new().append(true).create(true).open(path);
                    opened.files.push(file.map_err(|error| cannot_open(path, &error))?);
                }
                Output::Rotated(path, rotation) => {
                    let rotated = Rotated::open(path, rotation.clone());
                    opened.rotated.push(rotated.map_err(|error| cannot_open(path, &error))?);
                }
            }
        }
        Ok(opened)
    }
}

fn cannot_open(path: &Path, error: &io::Error) -> String {
    format!(
        "open --log-outputs {}: {error}: give stderr, stdout or a file that can be written",
        path.display()
    )
}

impl<'a> MakeWriter<'a> for Outputs {
    type Writer = Lines<'a>;

    fn make_writer(&'a self) -> Self::Writer {
        Lines(self)
    }
}

/// Writes lines to all outputs.
#[derive(Debug)]
pub(super) struct Lines<'a>(&'a Outputs);

impl Write for Lines<'_> {
    /// A full disk or a closed pipe must not stop a member: what one output refuses, the others
    /// still get.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if self.0.stderr {
            drop(io::stderr().lock().write_all(line));
        }
        if self.0.stdout {
            let mut stdout = io::stdout().lock();
            drop(stdout.write_all(line).and_then(|()| stdout.flush()));
        }
        for mut file in &self.0.files {
            drop(file.write_all(line));
        }
        for rotated in &self.0.rotated {
            drop(rotated.write(line));
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outputs_go_by_the_originals_words() {
        let check = |text: &str, expected: &[Output]| assert_eq!(parse(text), expected, "{text}");
        check("default", &[Output::Stderr]);
        check("", &[Output::Stderr]);
        check("stderr,systemd/journal", &[Output::Stderr]);
        check("stdout, /var/log/etcd", &[Output::Stdout, Output::File("/var/log/etcd".into())]);
    }

    #[test]
    fn a_file_is_appended_to() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        for line in ["one\n", "two\n"] {
            let outputs = Outputs::open(&[Output::File(path.clone())]).unwrap();
            outputs.make_writer().write_all(line.as_bytes()).unwrap();
        }
        assert_eq!(std::fs::read_to_string(path).unwrap(), "one\ntwo\n");
    }

    #[test]
    fn a_file_that_cannot_be_opened_is_named() {
        let error = Outputs::open(&[Output::File("/no/such/dir/log".into())]).unwrap_err();
        assert!(error.contains("/no/such/dir/log"), "{error}");
    }
}
