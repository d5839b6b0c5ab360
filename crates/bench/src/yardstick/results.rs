//! The results as JSON.

use std::path::Path;

use anyhow::Context as _;
use serde_json::{Map, Value, json};

use super::{
    figures::{self, Quantity, Spread},
    judge::{Judged, Line, Measured},
    work::{Against, Bound},
};

/// All of a run: `about` says of what, on what, and how much.
pub(super) fn json(about: &Value, lines: &[Line], failures: &[String]) -> Value {
    json!({
        "about": about,
        "failed_measurements": failures,
        "work": lines.iter().map(of_line).collect::<Vec<_>>(),
    })
}

fn of_line(line: &Line) -> Value {
    let mut against = line.work.ceilings();
    against.insert(0, Against::Original);
    let ratios: Map<String, Value> = against
        .into_iter()
        .filter_map(|against| {
            let found = Quantity::ALL.into_iter().filter_map(|quantity| {
                Some((quantity.key().to_owned(), of_spread(line.ratio(quantity, against)?)))
            });
            let found: Map<String, Value> = found.collect();
            (!found.is_empty()).then(|| (against.title().to_owned(), found.into()))
        })
        .collect();
    json!({
        "name": line.work.name,
        "title": line.work.title,
        "unit": line.work.unit,
        "members": line.work.members,
        "servers": line.servers.iter().map(of_server).collect::<Vec<_>>(),
        "ours_to": ratios,
        "goals": line.judge().iter().map(of_goal).collect::<Vec<_>>(),
    })
}

fn of_server(server: &Measured) -> Value {
    let figures = Quantity::ALL.into_iter().filter_map(|quantity| {
        let found = figures::spread(&server.rounds, quantity)?;
        let rounds: Vec<_> = server.rounds.iter().map(|round| round.get(&quantity)).collect();
        let Spread { median, least, most } = found;
        let value = json!({ "median": median, "least": least, "most": most, "rounds": rounds });
        Some((quantity.key().to_owned(), value))
    });
    json!({ "name": server.name, "figures": figures.collect::<Map<_, _>>() })
}

fn of_spread(found: Spread) -> Value {
    json!({ "median": found.median, "least": found.least, "most": found.most })
}

fn of_goal(judged: &Judged) -> Value {
    let (bound, wanted) = match judged.goal.bound {
        Bound::AtMost(most) => ("at most", most),
        Bound::AtLeast(least) => ("at least", least),
    };
    json!({
        "what": judged.what(),
        "bound": bound,
        "wanted": wanted,
        "found": judged.found.map(of_spread),
        "judgement": judged.verdict.to_string(),
    })
}

/// What a run is worth depends on where it ran.
pub(super) fn machine(under: &Path) -> Value {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let cpuinfo = read("/proc/cpuinfo");
    let model = cpuinfo.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let cores = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
    json!({
        "processor": model.map(|(_, model)| model),
        "cores": cores,
        "kernel": read("/proc/sys/kernel/osrelease").trim(),
        "load_before": read("/proc/loadavg").split(' ').next().unwrap_or_default(),
        "data_under": under.display().to_string(),
    })
}

/// The JSON, one value below the other.
pub(super) fn text(value: &Value) -> anyhow::Result<String> {
    Ok(serde_json::to_string_pretty(value).context("write JSON")? + "\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::yardstick::judge::{
        Kind,
        tests::{line, measured},
    };

    #[test]
    fn the_json_has_every_round_and_what_the_goals_say() {
        let servers = vec![
            measured(Kind::Ours, "ours", &[(200.0, 10.0), (300.0, 10.0)]),
            measured(Kind::Original, "etcd 3.4.23", &[(100.0, 20.0), (100.0, 40.0)]),
        ];
        let found = json(&json!({ "sizes": 2 }), &[line("put-64", servers)], &["one".to_owned()]);
        let found: Value = serde_json::from_str(&text(&found).unwrap()).unwrap();
        assert_eq!(found["about"]["sizes"], 2);
        assert_eq!(found["failed_measurements"][0], "one");
        let work = &found["work"][0];
        assert_eq!((&work["name"], &work["members"]), (&json!("put-64"), &json!(1)));
        let rate = &work["servers"][0]["figures"]["rate_per_s"];
        let expected =
            json!({ "median": 250.0, "least": 200.0, "most": 300.0, "rounds": [200.0, 300.0] });
        assert_eq!(rate, &expected);
        assert_eq!(work["ours_to"]["etcd"]["p50_us"]["least"], 0.25);
        assert!(work["ours_to"].get("no-op tonic").is_none(), "it was not measured");
        let judgements: Vec<_> =
            work["goals"].as_array().unwrap().iter().map(|goal| &goal["judgement"]).collect();
        assert_eq!(judgements, ["missed: 0.42 wanted 0.40", "met", "met"]);
        assert_eq!(work["goals"][1]["found"]["least"], 2.0);
    }
}
