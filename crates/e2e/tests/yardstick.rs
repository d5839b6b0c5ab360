//! The yardstick runs to its end and writes what it found. What it finds is no matter here: no test goes by
//! the clock.

use std::{fs, path::Path, process::Command, time::Duration};

use e2e::{binaries, rings, run};
use serde_json::Value;

/// Some thirty servers are started, one after the other, while other tests run.
const PATIENCE: Duration = Duration::from_mins(4);

/// A run of these lines, as small as can be; the JSON, once the chart and the table are there too.
fn measure(lines: &str, against: Option<&Path>) -> Value {
    let dir = tempfile::tempdir().expect("/tmp can be written");
    let out = dir.path().join("results");
    let mut command = Command::new(binaries::bench());
    command.args(["yardstick", "--quick", "--rounds", "2", "--seconds", "0.1", "--only", lines]);
    command.args(["--keys", "300", "--watchers", "40", "--watch-streams", "4", "--leases", "50"]);
    command
        .arg("--ours")
        .arg(binaries::etcd())
        .arg("--under")
        .arg(dir.path())
        .arg("--out")
        .arg(&out);
    if let Some(against) = against {
        command.arg("--against").arg(against);
    }
    let output = run::start(&mut command, "").wait(PATIENCE);
    assert_eq!(output.exit, Some(0), "{}{}", output.stdout, output.stderr);
    let read = |name: &str| fs::read_to_string(out.join(name)).expect("it was written");
    assert!(read("ratios.svg").starts_with("<svg "));
    assert!(read("table.md").contains("## Goals"));
    serde_json::from_str(&read("results.json")).expect("it is JSON")
}

/// The name of each line, with the servers of which every one of these figures was measured in all rounds.
fn measured(results: &Value, rounds: usize, figures: &[&str]) -> Vec<(String, Vec<String>)> {
    assert_eq!(results["failed_measurements"], serde_json::json!([]));
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    let list = |value: &Value| value.as_array().expect("a list").clone();
    let is_measured = |server: &Value| {
        figures.iter().all(|figure| {
            let found =
                server["figures"][figure]["rounds"].as_array().map_or(&[][..], Vec::as_slice);
            found.len() == rounds
                && found.iter().all(|one| one.as_f64().is_some_and(|one| one > 0.0))
        })
    };
    let of_line = |line: &Value| {
        let servers = list(&line["servers"]);
        let servers = servers.iter().filter(|server| is_measured(server));
        (text(&line["name"]), servers.map(|server| text(&server["name"])).collect())
    };
    list(&results["work"]).iter().map(of_line).collect()
}

#[test]
fn every_kind_of_load_reaches_ours() {
    let lines = "txn-64,range-1000,watch,keep-alive,v2-get-64,put-open,put-three-64";
    let results = measure(lines, None);
    let found = measured(&results, 2, &["rate_per_s", "p50_us", "p999_us", "resident_peak_mb"]);
    let expected = [
        ("put-open", &["ours", "no-op tonic"][..]),
        ("put-three-64", &["ours"]),
        ("v2-get-64", &["ours", "no-op hyper"]),
        ("range-1000", &["ours"]),
        ("txn-64", &["ours", "no-op tonic"]),
        ("watch", &["ours"]),
        ("keep-alive", &["ours"]),
    ];
    let owned = |(line, servers): &(&str, &[&str])| {
        ((*line).to_owned(), servers.iter().map(|name| (*name).to_owned()).collect())
    };
    assert_eq!(found, expected.iter().map(owned).collect::<Vec<_>>());
    // Without an original nothing is said of it, and the ceiling is judged.
    let judgements = |line: usize| &results["work"][line]["goals"][0]["judgement"];
    assert_eq!(judgements(4), "not measured");
    assert!(judgements(2).as_str().is_some_and(|text| text != "not measured"), "{results}");
}

#[test]
fn ours_stands_beside_the_original() {
    let real = binaries::real_etcd();
    let why_not = "/usr/bin/etcd 3.4 is not installed: apt-get install etcd-server";
    if !rings::can_run("the yardstick", real.is_some(), why_not) {
        return;
    }
    let results = measure("put-1,start", real.as_deref());
    let original =
        format!("etcd {}", results["about"]["servers"][1]["version"].as_str().expect("a text"));
    let ceilings = ["no-op tonic".to_owned(), "bare append and fdatasync".to_owned()];
    let ours = "ours".to_owned();
    // What writes all keys first has half the rounds.
    let expected = [("start".to_owned(), vec![ours.clone(), original.clone()])];
    assert_eq!(measured(&results, 1, &["start_ms", "disk_mb"])[1..], expected);
    let expected = [("put-1".to_owned(), [vec![ours, original], ceilings.to_vec()].concat())];
    assert_eq!(measured(&results, 2, &["p50_us", "rate_per_s"])[..1], expected);
    for (line, goal) in [(0, "p50 / (fdatasync + no-op tonic)"), (1, "start / etcd")] {
        let found = &results["work"][line]["goals"][0];
        assert_eq!(found["what"], goal);
        let judgement = found["judgement"].as_str().expect("a text");
        assert!(judgement == "met" || judgement.starts_with("missed: "), "{judgement}");
    }
}
