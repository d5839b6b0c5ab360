//! Claims about whole lines and about changing the level at run time.

use std::path::Path;

use serde_json::Value;
use tracing::{debug, error, info, subscriber::with_default, warn};

use super::*;

/// What `say` logs in the given form, without the times.
fn logged(format: Format, levels: &Levels, say: impl FnOnce()) -> Vec<String> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log");
    with_default(subscriber(format, levels, &path), say);
    std::fs::read_to_string(path).unwrap().lines().map(str::to_owned).collect()
}

fn subscriber(format: Format, levels: &Levels, path: &Path) -> impl tracing::Subscriber {
    let outputs = Outputs::open(&[Output::File(path.to_owned())]).unwrap();
    let lines = tracing_subscriber::fmt::layer().event_format(format).with_writer(outputs);
    Registry::default().with(levels.targets()).with(lines)
}

fn say() {
    info!(target: "etcdserver", "set the initial cluster version to 3.6");
    warn!(target: "server::threads::log", took_ms = 70, path = "a b", "slow\nsync");
    debug!(target: "etcdserver", "unheard");
}

#[test]
fn lines_of_capnslog_look_as_in_etcd_2() {
    let lines = logged(Format::Capnslog, &Levels::all("info").unwrap(), say);
    assert_eq!(lines.len(), 2, "{lines:?}");
    let (time, rest) = lines[0].split_at("2026-11-23 12:00:00.123456".len());
    assert_eq!(rest, " I | etcdserver: set the initial cluster version to 3.6");
    let shape: String = time.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
    assert_eq!(shape, "0000-00-00 00:00:00.000000");
    assert_eq!(&lines[1][26..], " W | server/threads/log: slow\\nsync took_ms=70 path=a b");
}

#[test]
fn lines_of_zap_are_objects_with_the_originals_keys_first() {
    let lines = logged(Format::Json, &Levels::all("info").unwrap(), say);
    let parsed: Value = serde_json::from_str(&lines[1]).unwrap();
    assert_eq!(parsed["level"], "warn");
    assert_eq!(parsed["msg"], "slow\nsync");
    assert_eq!(parsed["took_ms"], 70);
    assert!(parsed["caller"].as_str().unwrap().starts_with("etcd/logging/tests.rs:"));
    assert!(lines[1].starts_with("{\"level\":\"warn\",\"ts\":\"20"), "{}", lines[1]);
}

#[test]
fn a_list_of_texts_is_one_for_zap_too() {
    let say = || info!(endpoints = ?["a:1", "b\"2"], numbers = ?[1, 2], "[\"ready\"]");
    let lines = logged(Format::Json, &Levels::all("info").unwrap(), say);
    let parsed: Value = serde_json::from_str(&lines[0]).unwrap();
    assert_eq!(parsed["endpoints"], serde_json::json!(["a:1", "b\"2"]));
    assert_eq!((&parsed["numbers"], &parsed["msg"]), (&"[1, 2]".into(), &"[\"ready\"]".into()));
}

#[test]
fn lines_of_zap_for_a_console_have_tabs_between() {
    let lines = logged(Format::Console, &Levels::all("info").unwrap(), say);
    let fields: Vec<&str> = lines[1].split('\t').collect();
    assert_eq!(fields[1], "warn");
    assert_eq!(&fields[3..], ["slow\\nsync", "{\"took_ms\":70,\"path\":\"a b\"}"]);
    assert_eq!(lines[0].split('\t').count(), 4);
}

#[test]
fn the_level_changes_at_run_time_and_an_unknown_one_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log");
    let outputs = Outputs::open(&[Output::File(path.clone())]).unwrap();
    let (filter, handle) = reload::Layer::new(Levels::all("info").unwrap().targets());
    let lines =
        tracing_subscriber::fmt::layer().event_format(Format::Capnslog).with_writer(outputs);
    with_default(Registry::default().with(filter).with(lines), || {
        debug!(target: "server", "1");
        assert!(set(&handle, "DEBUG"));
        debug!(target: "server", "2");
        assert!(!set(&handle, "LOUD"));
        debug!(target: "server", "3");
        assert!(set(&handle, "error"));
        info!(target: "server", "4");
        error!(target: "server", "5");
    });
    let text = std::fs::read_to_string(path).unwrap();
    let said: Vec<&str> = text.lines().filter_map(|line| line.rsplit(' ').next()).collect();
    assert_eq!(said, ["2", "3", "5"]);
}
