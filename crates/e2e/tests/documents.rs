//! What the documents for operators say is so: the flags that they name are there, and whoever makes
//! users as the page says shuts everybody else out.

use std::{collections::BTreeSet, fs, path::Path, process::Command};

use e2e::{
    Member, Request, Start, binaries,
    run::{self, Output},
};

/// Of programs of others, in the commands that are shown.
const OF_OTHERS: [&str; 6] = ["detach", "now", "release", "rm", "stop-timeout", "volumes"];

/// `--name` for each that a text has.
fn flags(text: &str) -> BTreeSet<String> {
    let parts = text.split("--").skip(1);
    let name = |part: &str| {
        let is_part = |one: &char| one.is_ascii_lowercase() || one.is_ascii_digit() || *one == '-';
        part.chars().take_while(is_part).collect::<String>()
    };
    // A family of them: `--initial-…`.
    let names = parts.map(name).filter(|name| name.len() > 1 && !name.ends_with('-'));
    names.collect()
}

fn text_of(page: &str) -> String {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs");
    fs::read_to_string(docs.join(page).with_extension("md")).expect("a page")
}

/// The commands of the blocks below a heading of second rank.
fn commands_below(text: &str, heading: &str) -> Vec<Vec<String>> {
    let (_, section) = text.split_once(&format!("\n## {heading}\n")).expect("the heading");
    let section = section.split("\n## ").next().unwrap_or_default();
    let blocks = section.split("```console\n").skip(1);
    let blocks = blocks.map(|block| block.split("```").next().unwrap_or_default());
    let words = |line: &str| {
        line.split_whitespace().map(|word| word.trim_matches('\'').to_owned()).collect()
    };
    let commands = |block: &str| -> Vec<Vec<String>> {
        block.lines().filter_map(|line| line.strip_prefix("$ ")).map(words).collect()
    };
    blocks.flat_map(commands).collect()
}

/// Plays a command for etcdctl against a member. Whose password is asked for has his name, with `pw`.
fn play(member: &Member, api: &str, words: &[String]) -> Output {
    let mut command = run::bare_etcdctl(&binaries::etcdctl(), api);
    command.args(["--endpoints", &member.url()]);
    let is_new = words.starts_with(&["user".to_owned(), "add".to_owned()]);
    let mut before = "";
    for word in words {
        // As a test has no terminal.
        if ["--user", "--username"].contains(&before) || (is_new && before == "add") {
            command.arg(format!("{word}:{word}pw"));
        } else {
            command.arg(word);
        }
        before = word;
    }
    run::run(&mut command, "")
}

/// Who copies the page line by line into a fresh shell.
#[test]
fn making_users_as_the_page_says_shuts_everybody_else_out() {
    let member = Start::new().flag("--bcrypt-cost=4").start();
    let anonymous = |request: &Request| member.ask(request).status;
    let (put, get) = (Request::put("/v2/keys/config/port", "1"), Request::get("/v2/keys/config"));
    assert_eq!(anonymous(&put), 201, "nobody is asked yet");
    let (mut api, mut has_begun, mut played) = ("2".to_owned(), false, Vec::new());
    for words in commands_below(&text_of("secure"), "Users") {
        match &words[0][..] {
            "export" => {
                let set = words[1].strip_prefix("ETCDCTL_API=");
                set.expect("another variable").clone_into(&mut api);
            }
            "etcdctl" if !has_begun || api == "3" => {
                played.push((words.clone(), play(&member, &api, &words[1..])));
                has_begun |= words[1..] == ["auth", "enable"];
            }
            // Afterwards: how to shut out whom API 2 has let in, and how tokens are made.
            _ => {}
        }
        if has_begun {
            assert_eq!((anonymous(&put), anonymous(&get)), (401, 401), "after {words:?}");
        }
    }
    // Who copies sees this later than he is shut out.
    for (words, output) in &played {
        assert_eq!(output.exit, Some(0), "{words:?}: {output:?}");
    }
    assert!(has_begun && played.len() > 6, "{played:?}");
}

fn output(command: &mut Command) -> String {
    let output = run::run(command, "");
    assert_eq!(output.exit, Some(0), "{output:?}");
    output.stdout
}

#[test]
fn every_flag_that_a_page_for_operators_names_is_there() {
    let mut known = output(Command::new(binaries::etcd()).arg("--help"));
    let etcdctl = || Command::new(binaries::etcdctl());
    known += &output(etcdctl().env("ETCDCTL_API", "3").args(["completion", "bash"]));
    // Of API 2 there are no completions.
    for command in [&[][..], &["backup"], &["role", "revoke"]] {
        known += &output(etcdctl().env("ETCDCTL_API", "2").args(command).arg("--help"));
    }
    known += &output(Command::new(binaries::etcdutl()).args(["completion", "bash"]));
    let known = flags(&known);
    assert!(known.len() > 200, "{known:?}");
    let mut named = 0;
    for page in ["install", "configure", "secure", "operate", "recover", "move-from-etcd"] {
        for flag in flags(&text_of(page)) {
            named += 1;
            let is_known = known.contains(&flag) || OF_OTHERS.contains(&&flag[..]);
            assert!(is_known, "{page}.md names --{flag}, which nobody has");
        }
    }
    assert!(named > 60, "{named} flags are named");
}
