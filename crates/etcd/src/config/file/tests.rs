//! Claims about the configuration file.

use super::*;

fn parsed(text: &str) -> Given {
    parse(text, Path::new("etcd.yml")).unwrap_or_else(|refusal| panic!("{text}: {refusal}"))
}

#[test]
fn keys_are_flags_and_values_are_written_as_yaml_has_them() {
    let given = parsed(
        "# a comment\nname: infra0\ndata-dir:\nsnapshot-count: 5000\ndebug: yes\n\
         log-outputs: [stderr, /var/log/etcd]\ncors: \"\"\n\
         listen-client-urls: http://10.0.0.1:2379,http://127.0.0.1:2379\n",
    );
    assert_eq!(given.text("name"), "infra0");
    assert!(!given.is_set("data-dir") && !given.is_set("cors"));
    assert_eq!(given.count("snapshot-count"), 5000);
    assert!(given.switch("debug"));
    assert_eq!(given.text("log-outputs"), "stderr,/var/log/etcd");
    assert_eq!(given.text("listen-client-urls"), "http://10.0.0.1:2379,http://127.0.0.1:2379");
}

#[test]
fn sections_stand_for_flags() {
    let given = parsed(
        "client-transport-security:\n  cert-file: a\n  client-cert-auth: true\n\
         peer-transport-security:\n  cert-file: b\n  allowed-cn: [x, y]\n",
    );
    assert_eq!(given.text("cert-file"), "a");
    assert!(given.switch("client-cert-auth"));
    assert_eq!(given.text("peer-cert-file"), "b");
    assert_eq!(given.text("peer-cert-allowed-cn"), "x,y");
    for (_, keys) in SECTIONS {
        for (_, flag) in *keys {
            assert!(flags::find(flag).is_some(), "{flag}");
        }
    }
}

#[test]
fn an_unknown_key_is_told_and_skipped() {
    let text = "nmae: x\nadta-dir:\nclient-transport-security: {colour: red}\n";
    let mut given = parsed(text);
    assert_eq!(
        given.take_warnings(),
        [
            "unrecognized key adta-dir in etcd.yml: did you mean data-dir?",
            "unrecognized key client-transport-security.colour in etcd.yml",
            "unrecognized key nmae in etcd.yml: did you mean name?"
        ]
    );
}

#[test]
fn what_cannot_be_taken_is_refused_in_one_line_that_names_the_file() {
    let check = |text: &str, part: &str| {
        let refusal = parse(text, Path::new("etcd.yml")).unwrap_err().to_string();
        assert!(refusal.contains("etcd.yml") && refusal.contains(part), "{refusal}");
        assert!(!refusal.contains('\n'), "{refusal}");
    };
    check("name: [\n", "read --config-file");
    for text in ["- name\n", "- name: x\n", "- name\n- x\n", "name\n", "7\n"] {
        check(text, "no mapping: write lines of the form");
    }
    check("name: a\nname: b\n", "duplicate");
    check("election-timeout: 1s\n", "\"1s\" is no value for it: give a number");
    check("name: {a: b}\n", "give one value");
    check("peer-transport-security: yes please\n", "give keys and values");
}

#[test]
fn an_empty_file_gives_the_defaults() {
    for text in ["", "# nothing\n", "---\n"] {
        assert_eq!(parsed(text), Given::default(), "{text:?}");
    }
}
