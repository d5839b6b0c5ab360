//! What `etcdctl` and `etcdutl` have for shells and manuals is read by those whom it is for.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use e2e::{
    binaries, rings,
    run::{self, Output},
};
use tempfile::TempDir;

fn tools() -> [(&'static str, PathBuf); 2] {
    [("etcdctl", binaries::etcdctl()), ("etcdutl", binaries::etcdutl())]
}

/// What an installed program says; none where there is no such program.
fn ask(program: &str, arguments: &[&str]) -> Option<Output> {
    let found = Command::new("sh")
        .args(["-c", "command -v \"$0\"", program])
        .stdout(Stdio::null())
        .status()
        .is_ok_and(|status| status.success());
    let why_not = format!("apt-get install {program}");
    let can = rings::can_run(program, found, &why_not);
    can.then(|| run::run(Command::new(program).args(arguments), ""))
}

/// The script of a tool for a shell, as a file.
fn script(dir: &Path, (name, tool): &(&str, PathBuf), shell: &str) -> String {
    let mut command = run::bare_etcdctl(tool, "3");
    let output = run::run(command.args(["completion", shell]), "");
    assert_eq!((output.exit, output.stderr.as_str()), (Some(0), ""), "{output:?}");
    let path = dir.join(format!("{name}.{shell}"));
    fs::write(&path, output.stdout).expect("/tmp can be written");
    path.display().to_string()
}

/// A beginning of a line, and words that must be among those that it is completed by.
const COMPLETED: &[(&str, &[&str])] = &[
    ("etcdctl pu", &["put"]),
    ("etcdctl ", &["get", "put", "watch", "lease", "tree", "help"]),
    ("etcdctl member a", &["add"]),
    ("etcdctl get --pre", &["--prefix"]),
    ("etcdctl endpoint status --clu", &["--cluster"]),
    ("etcdctl snapshot ", &["save"]),
    ("etcdutl snap", &["snapshot"]),
    ("etcdutl snapshot restore --bump", &["--bump-revision"]),
];

/// Holds what a shell completes against the table; what is hidden must not be offered.
fn judge(complete: impl Fn(&str, &str) -> Option<Output>) {
    for (line, expected) in COMPLETED {
        let program = line.split(' ').next().expect("it has one");
        let Some(output) = complete(program, line) else { return };
        assert_eq!((output.exit, output.stderr.as_str()), (Some(0), ""), "{line}: {output:?}");
        let offered: Vec<_> =
            output.stdout.lines().filter_map(|row| row.split_whitespace().next()).collect();
        for word in *expected {
            assert!(offered.contains(word), "{line}: no {word} in {offered:?}");
        }
        let typed = line.rsplit(' ').next().expect("a last word");
        assert!(offered.iter().all(|word| word.starts_with(typed)), "{line}: {offered:?}");
        assert!(!offered.contains(&"man-pages"), "{line}: {offered:?}");
    }
}

#[test]
fn bash_completes_commands_and_flags() {
    let dir = TempDir::new().unwrap();
    for tool in tools() {
        let path = script(dir.path(), &tool, "bash");
        let Some(read) = ask("bash", &["-n", &path]) else { return };
        assert_eq!((read.exit, read.stderr.as_str()), (Some(0), ""));
    }
    // As its completion calls it, whatever the script has made of that.
    let complete = "source \"$1\"\n\
        IFS=' ' read -ra COMP_WORDS <<< \"$2\"\n\
        [[ $2 == *' ' ]] && COMP_WORDS+=('')\n\
        COMP_CWORD=$((${#COMP_WORDS[@]} - 1)) COMP_LINE=$2 COMP_POINT=${#2}\n\
        spec=$(complete -p \"${COMP_WORDS[0]}\"); spec=${spec#*-F }\n\
        ${spec%% *} \"${COMP_WORDS[0]}\" \"${COMP_WORDS[COMP_CWORD]}\" \
            \"${COMP_WORDS[COMP_CWORD-1]}\"\n\
        printf '%s\\n' \"${COMPREPLY[@]}\"";
    judge(|program, line| {
        let path = dir.path().join(format!("{program}.bash")).display().to_string();
        ask("bash", &["--norc", "-c", complete, "bash", &path, line])
    });
}

#[test]
fn fish_completes_commands_and_flags() {
    let dir = TempDir::new().unwrap();
    for tool in tools() {
        let path = script(dir.path(), &tool, "fish");
        let Some(read) = ask("fish", &["-n", &path]) else { return };
        assert_eq!((read.exit, read.stderr.as_str()), (Some(0), ""));
    }
    judge(|program, line| {
        let path = dir.path().join(format!("{program}.fish")).display().to_string();
        let complete = format!("source '{path}'; complete -C '{line}'");
        ask("fish", &["--no-config", "-c", &complete])
    });
}

#[test]
fn zsh_reads_its_script() {
    let dir = TempDir::new().unwrap();
    for tool in tools() {
        let path = script(dir.path(), &tool, "zsh");
        let Some(read) = ask("zsh", &["-n", &path]) else { return };
        assert_eq!((read.exit, read.stderr.as_str()), (Some(0), ""));
        // And the system of completion takes it, from where it looks for it.
        let name = format!("_{}", tool.0);
        fs::rename(&path, dir.path().join(&name)).expect("/tmp can be written");
        let load = format!(
            "fpath=({} $fpath); autoload -Uz compinit; compinit -u -D; print $_comps[{}]",
            dir.path().display(),
            tool.0
        );
        let loaded = ask("zsh", &["-f", "-c", &load]).expect("it is there");
        assert_eq!((loaded.stdout.trim(), loaded.stderr.as_str()), (name.as_str(), ""));
    }
}

#[test]
fn manuals_have_a_page_for_each_command_without_a_flaw() {
    let dir = TempDir::new().unwrap();
    for (name, tool) in tools() {
        let own = dir.path().join(name);
        fs::create_dir(&own).unwrap();
        let mut command = run::bare_etcdctl(&tool, "3");
        let written = run::run(command.arg("man-pages").arg(&own), "");
        assert_eq!(written.exit, Some(0), "{written:?}");
        let pages: Vec<_> =
            fs::read_dir(&own).unwrap().map(|entry| entry.unwrap().path()).collect();
        let said = format!("{} pages in {}\n", pages.len(), own.display());
        assert_eq!((written.stdout.as_str(), written.stderr.as_str()), (said.as_str(), ""));
        for page in pages {
            let file = page.display().to_string();
            let options = ["--warnings", "--encoding=UTF-8", "--pager=cat", "-l", &file];
            let Some(shown) = ask("man", &options) else { return };
            assert_eq!((shown.exit, shown.stderr.as_str()), (Some(0), ""), "{file}");
            let command = page.file_stem().unwrap().to_string_lossy().replace("-v2", "");
            let text = &shown.stdout;
            for part in ["NAME", "SYNOPSIS", command.split('-').next().expect("a first word")] {
                assert!(text.contains(part), "{file}: no {part} in {text}");
            }
        }
    }
    let has = |page: &str| dir.path().join(page).exists();
    for page in ["etcdctl/etcdctl.1", "etcdctl/etcdctl-member-add.1", "etcdutl/etcdutl-defrag.1"] {
        assert!(has(page), "{page}");
    }
}
