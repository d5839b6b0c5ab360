//! Flags as Go takes them: `-ttl 5`, `--ttl=5`, before and after the arguments alike.
//!
//! [`arrange`] knows every flag from the grammar and puts what it reads into one order: global
//! flags, the command, its flags as `--name=value`, `--`, the arguments. Then nothing is left for
//! clap to guess, and a value may begin with a dash.

use std::{
    ffi::{OsStr, OsString},
    os::unix::ffi::{OsStrExt as _, OsStringExt as _},
};

use clap::{Arg, Command};

/// Its arguments are another program's from the second one on.
const RUNS_A_PROGRAM: &str = "exec-watch";

/// Arguments in an order that clap cannot misread.
pub(crate) struct Arranged {
    /// The program's name first.
    pub(crate) words: Vec<OsString>,
    /// The command's name, known or not.
    pub(crate) command: Option<OsString>,
}

/// Arranges arguments, the program's name first, by a grammar that has been built.
///
/// A flag that nobody knows stays in place, so that clap can name it.
pub(crate) fn arrange(grammar: &Command, arguments: Vec<OsString>) -> Arranged {
    let mut words = arguments.into_iter();
    let mut line = Line::new(grammar, words.next());
    while let Some(word) = words.next() {
        if line.runs_a_program() {
            line.operands.push(word);
        } else if word == "--" {
            line.operands.extend(words.by_ref());
        } else if looks_like_flag(&word) {
            line.take_flag(&word, &mut words);
        } else if !line.enter(&word) {
            line.operands.push(word);
            if line.lacks_command() {
                // An unknown command's words mean nothing to us.
                line.operands.extend(words.by_ref());
            }
        }
    }
    line.finish()
}

struct Line<'g> {
    root: &'g Command,
    /// The commands that have been entered, outermost first.
    path: Vec<&'g Command>,
    /// The program's name and the flags that every command has.
    globals: Vec<OsString>,
    flags: Vec<OsString>,
    operands: Vec<OsString>,
}

impl<'g> Line<'g> {
    fn new(root: &'g Command, program: Option<OsString>) -> Self {
        let globals = program.into_iter().collect();
        Self { root, path: Vec::new(), globals, flags: Vec::new(), operands: Vec::new() }
    }

    fn innermost(&self) -> &'g Command {
        self.path.last().copied().unwrap_or(self.root)
    }

    fn lacks_command(&self) -> bool {
        self.innermost().has_subcommands()
    }

    fn runs_a_program(&self) -> bool {
        self.innermost().get_name() == RUNS_A_PROGRAM && self.operands.len() > 1
    }

    /// Takes the word as a command's name, if it is one here.
    fn enter(&mut self, word: &OsStr) -> bool {
        let entered = self.innermost().find_subcommand(word);
        self.path.extend(entered);
        entered.is_some()
    }

    fn take_flag(&mut self, word: &OsStr, words: &mut impl Iterator<Item = OsString>) {
        let (name, value) = split_flag(word);
        let found = self.path.iter().rev().find_map(|command| find_flag(command, name));
        let (flag, target) = match (found, find_flag(self.root, name)) {
            (Some(flag), _) => (flag, &mut self.flags),
            (None, Some(flag)) => (flag, &mut self.globals),
            (None, None) => return self.flags.push(unknown_flag(word, name)),
        };
        let may_stand_alone = flag.get_num_args().is_some_and(|range| range.min_values() == 0);
        if flag.get_action().takes_values() && may_stand_alone {
            target.push(spell(flag, value));
            return;
        }
        if flag.get_action().takes_values() {
            let value = value.map(OsStr::to_owned).or_else(|| words.next());
            target.push(spell(flag, value.as_deref()));
            return;
        }
        match value.map(parse_bool) {
            None | Some(Some(true)) => target.push(spell(flag, None)),
            Some(Some(false)) => {}
            // Not a boolean: clap says so.
            Some(None) => target.push(spell(flag, value)),
        }
    }

    fn finish(self) -> Arranged {
        let command = self.path.first().map(|command| command.get_name().into());
        let complete = !self.lacks_command();
        let command = command.or_else(|| self.operands.first().cloned());
        let mut words = self.globals;
        words.extend(self.path.iter().map(|command| command.get_name().into()));
        words.extend(self.flags);
        if complete && !self.operands.is_empty() {
            words.push("--".into());
        }
        words.extend(self.operands);
        Arranged { words, command }
    }
}

/// `-x`, `--x`, but neither `-` nor a negative number.
fn looks_like_flag(word: &OsStr) -> bool {
    match word.as_bytes() {
        [b'-', second, ..] => !second.is_ascii_digit(),
        _ => false,
    }
}

/// With two dashes if it has a long name, so that clap names it whole.
fn unknown_flag(word: &OsStr, name: &[u8]) -> OsString {
    let mut spelled = OsString::new();
    if name.len() > 1 && !word.as_bytes().starts_with(b"--") {
        spelled.push("-");
    }
    spelled.push(word);
    spelled
}

/// `--name=value` as its name and value.
fn split_flag(word: &OsStr) -> (&[u8], Option<&OsStr>) {
    let bytes = word.as_bytes();
    let bytes = bytes.strip_prefix(b"--").or_else(|| bytes.strip_prefix(b"-")).unwrap_or(bytes);
    let mut parts = bytes.splitn(2, |&byte| byte == b'=');
    (parts.next().unwrap_or_default(), parts.next().map(OsStr::from_bytes))
}

fn find_flag<'g>(command: &'g Command, name: &[u8]) -> Option<&'g Arg> {
    let name = std::str::from_utf8(name).ok()?;
    command.get_arguments().filter(|arg| !arg.is_positional()).find(|arg| {
        let short = arg.get_short().map(String::from);
        arg.get_long() == Some(name) || short.as_deref() == Some(name)
    })
}

fn spell(flag: &Arg, value: Option<&OsStr>) -> OsString {
    let mut word = match (flag.get_long(), flag.get_short()) {
        (Some(long), _) => format!("--{long}").into_bytes(),
        (None, Some(short)) => format!("-{short}").into_bytes(),
        (None, None) => Vec::new(),
    };
    if let Some(value) = value {
        word.push(b'=');
        word.extend_from_slice(value.as_bytes());
    }
    OsString::from_vec(word)
}

/// Go's booleans.
pub(crate) fn parse_bool(text: &OsStr) -> Option<bool> {
    match text.as_bytes() {
        b"1" | b"t" | b"T" | b"true" | b"TRUE" | b"True" => Some(true),
        b"0" | b"f" | b"F" | b"false" | b"FALSE" | b"False" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arranged(line: &str) -> String {
        let words = line.split_whitespace().map(OsString::from).collect();
        let words = arrange(&crate::cli::grammar(), words).words;
        words.iter().map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn flags_go_where_they_belong() {
        for (given, wanted) in [
            ("etcdctl", "etcdctl"),
            ("etcdctl ls", "etcdctl ls"),
            ("etcdctl set k v -ttl 5", "etcdctl set --ttl=5 -- k v"),
            ("etcdctl set -ttl=5 k v", "etcdctl set --ttl=5 -- k v"),
            ("etcdctl set k --ttl 5 v", "etcdctl set --ttl=5 -- k v"),
            ("etcdctl get k -o json", "etcdctl --output=json get -- k"),
            ("etcdctl -output json get k", "etcdctl --output=json get -- k"),
            ("etcdctl get k --debug -C http://a:1", "etcdctl --debug --peers=http://a:1 get -- k"),
            ("etcdctl ls -p / --p", "etcdctl ls -p -p -- /"),
            ("etcdctl ls -recursive=true -sort=false /", "etcdctl ls --recursive -- /"),
            ("etcdctl ls --sort=maybe", "etcdctl ls --sort=maybe"),
            ("etcdctl --insecure-discovery ls /", "etcdctl --insecure-discovery ls -- /"),
            ("etcdctl ls -insecure-discovery=0", "etcdctl --insecure-discovery=0 ls"),
            ("etcdctl member list -C a", "etcdctl --peers=a member list"),
            ("etcdctl -help", "etcdctl --help"),
            ("etcdctl -v", "etcdctl --version"),
            ("etcdctl get -h", "etcdctl get --help"),
            ("etcdctl help get", "etcdctl help get"),
        ] {
            assert_eq!(arranged(given), wanted, "{given}");
        }
    }

    #[test]
    fn values_may_begin_with_a_dash() {
        for (given, wanted) in [
            ("etcdctl set k -- -v", "etcdctl set -- k -v"),
            ("etcdctl set -- k -v", "etcdctl set -- k -v"),
            ("etcdctl set k -5", "etcdctl set -- k -5"),
            ("etcdctl set k -", "etcdctl set -- k -"),
            ("etcdctl set k v --swap-with-value -x", "etcdctl set --swap-with-value=-x -- k v"),
            ("etcdctl set k -- -- x", "etcdctl set -- k -- x"),
        ] {
            assert_eq!(arranged(given), wanted, "{given}");
        }
    }

    #[test]
    fn the_program_of_exec_watch_keeps_its_own_flags() {
        for given in [
            "etcdctl exec-watch /k -recursive -- sh -c x --recursive",
            "etcdctl exec-watch -recursive /k sh -c x --recursive",
            "etcdctl exec-watch -recursive -- /k sh -c x --recursive",
        ] {
            let wanted = "etcdctl exec-watch --recursive -- /k sh -c x --recursive";
            assert_eq!(arranged(given), wanted, "{given}");
        }
        assert_eq!(arranged("etcdctl exec-watch /k sh -- x"), "etcdctl exec-watch -- /k sh -- x");
    }

    #[test]
    fn what_nobody_knows_is_left_for_clap_to_name() {
        for (given, wanted) in [
            ("etcdctl get -nonsense k", "etcdctl get --nonsense -- k"),
            ("etcdctl nonsense -a b", "etcdctl nonsense -a b"),
            ("etcdctl member nonsense -x y", "etcdctl member nonsense -x y"),
            ("etcdctl set k v --ttl", "etcdctl set --ttl -- k v"),
        ] {
            assert_eq!(arranged(given), wanted, "{given}");
        }
    }

    #[test]
    fn bytes_that_are_not_utf8_pass() {
        let odd = OsString::from_vec(vec![b'v', 0xff]);
        let mut flag = OsString::from("-swap-with-value=");
        flag.push(&odd);
        let words = vec!["etcdctl".into(), "set".into(), "k".into(), odd.clone(), flag];
        let words = arrange(&crate::cli::grammar(), words).words;
        let mut wanted = OsString::from("--swap-with-value=");
        wanted.push(&odd);
        assert_eq!(words, ["etcdctl".into(), "set".into(), wanted, "--".into(), "k".into(), odd]);
    }

    #[test]
    fn the_command_is_found_behind_the_flags() {
        let command = |line: &str| {
            let words = line.split_whitespace().map(OsString::from).collect();
            arrange(&crate::cli::grammar(), words).command
        };
        assert_eq!(command("etcdctl --endpoints get put a b"), Some("put".into()));
        assert_eq!(command("etcdctl member list"), Some("member".into()));
        assert_eq!(command("etcdctl --debug"), None);
    }
}
