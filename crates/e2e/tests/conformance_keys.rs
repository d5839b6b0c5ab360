//! The 2,400 recorded steps of the v2 keys API.

use std::{io, time::Duration};

use e2e::{
    Member, Request, Start,
    records::{self, Scenario, text},
};
use serde_json::Value;

/// How long a watch that has nothing to say must keep silent.
const SILENCE: Duration = Duration::from_millis(100);
/// Scenarios are independent; a server has one writer at a time, so each hand takes a server.
const SERVERS: usize = 3;

#[test]
fn every_recorded_step_of_the_keys_api_is_answered_as_by_etcd() {
    play_all(Start::new);
}

#[test]
fn every_recorded_step_of_the_keys_api_is_answered_by_a_follower_as_by_etcd() {
    play_all(|| Start::new().follower());
}

fn play_all(start: fn() -> Start) {
    let scenarios = records::lines("v2-keys.jsonl");
    let steps: usize = scenarios.iter().map(|s| steps(s).len()).sum();
    assert_eq!(steps, 2400, "a record is missing");
    let share = scenarios.len().div_ceil(SERVERS);
    let failures: Vec<String> = std::thread::scope(|scope| {
        let hands: Vec<_> =
            scenarios.chunks(share).map(|part| scope.spawn(|| play(part, start))).collect();
        hands.into_iter().flat_map(|hand| hand.join().expect("a hand does not panic")).collect()
    });
    let shown: Vec<_> = failures.iter().take(20).map(String::as_str).collect();
    assert!(failures.is_empty(), "{} steps differ:\n{}", failures.len(), shown.join("\n"));
}

fn play(scenarios: &[Value], start: fn() -> Start) -> Vec<String> {
    let member = start().start();
    let failures = scenarios.iter().flat_map(|scenario| play_scenario(&member, scenario)).collect();
    member.expect_role();
    failures
}

fn play_scenario(member: &Member, recorded: &Value) -> Vec<String> {
    let number = &recorded["scenario"];
    let root = format!("/scenario{number}");
    let directory = Request::new("PUT", &format!("/v2/keys{root}")).query(&[("dir", "true")]);
    let base = member.ask(&directory).expect(&[201]).index();
    let scenario = Scenario { root, base };
    let steps = steps(recorded).iter().enumerate();
    let played = steps.filter_map(|(at, step)| {
        let problem = play_step(member, &scenario, step).err()?;
        let request = scenario.request(step);
        let form =
            String::from_utf8_lossy(request.body.as_deref().unwrap_or_default()).into_owned();
        let asked = format!("{} {} {form}", text(&step["method"]), request.target);
        Some(format!("scenario {number} step {at}: {asked}\n    {problem}"))
    });
    played.collect()
}

fn play_step(member: &Member, scenario: &Scenario, step: &Value) -> Result<(), String> {
    let mut connection = member.connect();
    let problem = |problem: io::Error| problem.to_string();
    connection.send(&scenario.request(step)).map_err(problem)?;
    if step["expect"]["blocks"] == true {
        let head = connection.receive_head().map_err(problem)?;
        if head.status != 200 || !connection.is_silent(SILENCE) {
            return Err(format!("a watch with nothing to say answered: {head:?}"));
        }
        return Ok(());
    }
    let answer = connection.receive().map_err(problem)?;
    let compared = scenario.compare(step, &answer);
    compared.map_err(|problem| format!("{problem}\n    in {} {}", answer.status, answer.text()))
}

fn steps(scenario: &Value) -> &[Value] {
    scenario["steps"].as_array().expect("a scenario has steps")
}
