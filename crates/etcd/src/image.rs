//! What a container's command line may begin with.
//!
//! The image has an entry point, as etcd's had up to 2.3: what follows its name are flags. Commands
//! written for the images of etcd 3 name the program first: `etcd --name x`, `etcdctl member list`.

use std::{ffi::OsString, io, os::unix::process::CommandExt as _, path::Path, process::Command};

/// The flags of this program; an error if another one of the image is meant and cannot be run.
pub(crate) fn flags(arguments: Vec<OsString>) -> Result<Vec<OsString>, String> {
    let Some((first, rest)) = arguments.split_first() else { return Ok(arguments) };
    match program(first) {
        Some("etcd") => Ok(rest.to_vec()),
        // It takes the place of this one, unless there is none.
        Some(other) => Err(format!("run {other}: {}", become_another(other, rest))),
        None => Ok(arguments),
    }
}

/// Which program of the image this word names, by itself or with its place.
fn program(word: &OsString) -> Option<&'static str> {
    let name = Path::new(word).file_name()?;
    ["etcd", "etcdctl", "etcdutl"].into_iter().find(|known| name == *known)
}

fn become_another(name: &str, arguments: &[OsString]) -> io::Error {
    let here = match std::env::current_exe() {
        Ok(here) => here,
        Err(error) => return error,
    };
    Command::new(here.with_file_name(name)).args(arguments).exec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_first_word_that_names_this_program_is_no_flag() {
        let check = |line: &str, expected: &str| {
            let words = |text: &str| text.split_whitespace().map(OsString::from).collect();
            assert_eq!(flags(words(line)), Ok(words(expected)), "{line}");
        };
        check("", "");
        check("--name=a", "--name=a");
        check("etcd --name a", "--name a");
        check("/usr/local/bin/etcd -name a", "-name a");
        check("etcd etcd", "etcd");
        check("gateway start", "gateway start");
        check("etcdx", "etcdx");
    }

    #[test]
    fn a_program_that_is_not_there_is_told() {
        for name in ["etcdctl", "etcdutl"] {
            let failed = flags(vec![format!("/anywhere/{name}").into(), "ls".into()]).unwrap_err();
            assert!(failed.starts_with(&format!("run {name}: No such file")), "{failed}");
        }
    }
}
