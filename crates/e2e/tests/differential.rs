//! Random requests, the same to real etcd 3.4.23 and to ours: what the records miss, this finds.
//!
//! `RETCD_SEED` repeats a run, `RETCD_SCENARIOS` makes it longer. A scenario ends at its first
//! difference, which is printed with the requests that led there.

#[path = "differential/generate.rs"]
mod generate;
#[path = "differential/relative.rs"]
mod relative;

use std::{fmt::Write as _, time::Duration};

use e2e::{Answer, Connection, Member, Request, Start, binaries, http::escape, rings};
use generate::{Asked, Generator};

const STEPS: usize = 40;
/// How long a watch must say nothing to be taken for one that blocks.
const SILENCE: Duration = Duration::from_millis(30);
/// Differences shown before a run gives up.
const SHOWN_MAX: usize = 12;

#[test]
fn random_requests_are_answered_as_by_real_etcd() {
    let original = binaries::real_etcd();
    let why_not = "/usr/bin/etcd 3.4 is not installed: apt-get install etcd-server";
    if !rings::can_run("real-etcd", original.is_some(), why_not) {
        return;
    }
    let original = Start::original(original.expect("it is installed")).start();
    let ours = Member::start();
    let seed = e2e::count("RETCD_SEED", fastrand::u64(..1 << 32));
    let scenarios = e2e::count("RETCD_SCENARIOS", 60);
    println!("RETCD_SEED={seed} RETCD_SCENARIOS={scenarios}");
    // Beyond the numbers that keys and values are made of, so that an index is known as one.
    for member in [&original, &ours] {
        let mut connection = member.connect();
        for _ in 0..relative::WARM_UP {
            connection.ask(&Request::put("/v2/keys/warm", "x")).expect("an answer comes");
        }
    }
    let mut differences = Vec::new();
    let (mut steps, mut known) = (0, 0);
    for scenario in 0..scenarios {
        let mut play = Scenario::begin(&original, &ours, seed + scenario);
        let difference = play.play();
        steps += play.steps;
        known += play.known;
        differences.extend(difference);
        if SHOWN_MAX <= differences.len() {
            break;
        }
    }
    println!("{steps} steps compared, {known} of them differ in a way that is meant");
    let count = differences.len();
    assert!(differences.is_empty(), "{count} scenarios differ:\n{}", differences.join("\n\n"));
}

struct Scenario<'a> {
    seed: u64,
    generator: Generator,
    sides: [Side<'a>; 2],
    told: Vec<String>,
    steps: usize,
    known: usize,
}

/// One server, and where its indexes stood when the scenario began.
struct Side<'a> {
    member: &'a Member,
    connection: Connection,
    base: u64,
}

/// What came back, made comparable.
#[derive(Clone, Debug, PartialEq)]
enum Outcome {
    Blocks,
    Answered(relative::Relative),
    Failed(String),
}

impl<'a> Scenario<'a> {
    fn begin(original: &'a Member, ours: &'a Member, seed: u64) -> Self {
        let root = format!("/s{seed}");
        let sides = [original, ours].map(|member| {
            // Some keys lie outside of the scenario's root: what earlier ones left there goes.
            let mut connection = member.connect();
            for name in generate::names() {
                let target = format!("/v2/keys/{}", escape(name, ""));
                let all = [("dir", "true"), ("recursive", "true")];
                let gone = connection.ask(&Request::new("DELETE", &target).query(&all));
                assert!([200, 404].contains(&gone.expect("an answer comes").status));
            }
            let request = Request::new("PUT", &format!("/v2/keys{root}")).query(&[("dir", "true")]);
            let base = member.ask(&request).expect(&[201]).index();
            Side { member, connection, base }
        });
        let generator = Generator::new(root, seed);
        Self { seed, generator, sides, told: Vec::new(), steps: 0, known: 0 }
    }

    /// The first difference, if there is one.
    fn play(&mut self) -> Option<String> {
        for _ in 0..STEPS {
            self.steps += 1;
            let asked = self.generator.next();
            let [theirs, ours] = [0, 1].map(|side| self.sides[side].ask(&asked));
            self.told.push(format!("{asked}\n      {theirs:?}"));
            if theirs == ours {
                self.generator.learn(asked.writes_at_most);
            } else if is_meant(&asked, &theirs, &ours) {
                self.known += 1;
            } else {
                return Some(self.tell(&ours));
            }
        }
        None
    }

    fn tell(&self, ours: &Outcome) -> String {
        let mut text = format!("RETCD_SEED={} RETCD_SCENARIOS=1", self.seed);
        let from = self.told.len().saturating_sub(8);
        for (step, line) in self.told.iter().enumerate().skip(from) {
            write!(text, "\n  {step}: {line}").expect("a string takes text");
        }
        write!(text, "\n ours {ours:?}").expect("a string takes text");
        text
    }
}

impl Side<'_> {
    fn ask(&mut self, asked: &Asked) -> Outcome {
        match self.try_ask(asked) {
            Ok(outcome) => outcome,
            Err(problem) => {
                self.connection = self.member.connect();
                Outcome::Failed(problem.kind().to_string())
            }
        }
    }

    fn try_ask(&mut self, asked: &Asked) -> std::io::Result<Outcome> {
        let request = asked.request(self.base);
        self.connection.send(&request)?;
        let head = self.connection.receive_head()?;
        let is_chunked = head.header("Transfer-Encoding").is_some();
        if asked.may_block && is_chunked && self.connection.is_silent(SILENCE) {
            self.connection = self.member.connect();
            return Ok(Outcome::Blocks);
        }
        let answer: Answer = self.connection.receive_rest(head)?;
        if answer.header("Connection") == Some("close") {
            self.connection = self.member.connect();
        }
        Ok(Outcome::Answered(relative::relative(&answer, self.base, asked.sorted)))
    }
}

/// Whether two outcomes differ as `docs/differences.md` says they do.
///
/// The original does not tell of a deleted directory to who waits below it, if he asks history; live,
/// it does. Ours tells both alike. And from history the original tells of a deletion of `/a` whoever waits
/// at `/a-b`, whom it does not concern.
fn is_meant(asked: &Asked, theirs: &Outcome, ours: &Outcome) -> bool {
    if !asked.may_block || theirs == ours {
        return false;
    }
    let watched = asked.key.trim_end_matches('/');
    let key = |outcome: &Outcome| match outcome {
        Outcome::Answered(answer) => answer.key(),
        Outcome::Blocks | Outcome::Failed(_) => None,
    };
    let is_above = |key: &str| watched.starts_with(&format!("{key}/"));
    let is_beside = |key: &str| watched.starts_with(key) && !is_above(key) && watched != key;
    let gone = match theirs {
        Outcome::Answered(answer) => answer.key_gone(),
        Outcome::Blocks | Outcome::Failed(_) => None,
    };
    key(ours).as_deref().is_some_and(is_above) || gone.as_deref().is_some_and(is_beside)
}
