//! Holds a cluster to account: clients and watchers while the faults last, and then all that they
//! were told is compared.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use linearizable::{Action, Change, Operation, Outcome, Verdict};
use serde_json::{Value, json};

use super::{
    Cluster, forced,
    leases::Lessee,
    load::{Load, Record},
    watchers::{Api, Event, Watcher},
};
use crate::{Connection, Request, eventually, v3};

const CLIENTS: u32 = 12;
/// The last thing that is written: who has seen it has seen all.
const LAST: &str = "/last";

/// A cluster under load and under watch.
pub struct Account {
    pub load: Load,
    lessee: Lessee,
    watchers: Vec<Watcher>,
    /// The first index that the watchers are to tell.
    from: u64,
}

impl Account {
    /// Starts clients and watchers at all members.
    pub fn open(cluster: &Cluster) -> Self {
        let from = cluster.put("/first", "x") + 1;
        let addresses: Vec<_> = cluster.members.iter().map(crate::Member::address).collect();
        let of = |api| addresses.iter().map(move |address| Watcher::start(api, *address, from));
        let watchers = of(Api::V2).chain(of(Api::V3)).collect();
        let lessee = Lessee::start(addresses.clone());
        let account = Self { load: Load::start(addresses, CLIENTS), lessee, watchers, from };
        account.load.goes_on(50);
        account
    }

    /// Watches at one more member, from the beginning.
    pub fn watch(&mut self, member: &crate::Member) {
        for api in [Api::V2, Api::V3] {
            self.watchers.push(Watcher::start(api, member.address(), self.from));
        }
    }

    /// After the faults have stopped: lets the load go on for a bit, stops it, and checks
    /// everything.
    pub fn close(self, cluster: &Cluster) -> Record {
        self.load.goes_on(50);
        let record = self.load.stop();
        println!(
            "{} operations; the longest time without a write: {:?}",
            record.history.len(),
            record.longest_gap()
        );
        let ledger = self.lessee.stop();
        let (last, tree) = settle(cluster);
        same_bytes(cluster);
        ledger.check(&tree[5], &held(&tree));
        let [stories, stories_3] =
            [Api::V2, Api::V3].map(|api| stories(cluster, &self.watchers, api, last));
        let story = &stories[0];
        tell_the_same(story, &stories_3[0]);
        acknowledged_are_told(&record.history, story, self.from);
        assert_eq!(held(&tree), left(story), "the keys are not what the events made");
        let started = Instant::now();
        let verdict = linearizable::check(&record.history);
        println!("judged within {:?}", started.elapsed());
        assert_eq!(verdict, Verdict::Linearizable, "{verdict}");
        record
    }
}

/// Writes a last time, and waits until all members hold that and nothing later. A write whose client
/// has given up may still come after it.
fn settle(cluster: &Cluster) -> (u64, Value) {
    eventually(Duration::from_secs(30), "the last write is the last", || {
        let last = cluster.put(LAST, "x");
        let tree = cluster.agree();
        (tree[0] == last).then_some((last, tree))
    })
}

/// All members have come to the same records by the same entries, byte for byte: as they compare it
/// themselves.
fn same_bytes(cluster: &Cluster) {
    let of_cluster =
        cluster.members[0].get("/v2/members").header("X-Etcd-Cluster-Id").map(str::to_owned);
    let of_cluster = of_cluster.expect("a cluster has an id");
    let ids: Vec<_> = cluster.members.iter().map(forced::id).collect();
    // Asked as by another member: what strangers ask is not answered.
    let digest = |at: i64, asked: usize| {
        let other = (asked + 1) % ids.len();
        let request = Request::new("POST", &format!("/members/digest/{at}"))
            .header("X-Etcd-Cluster-Id", &of_cluster)
            .header("X-Raft-To", &ids[asked])
            .header("X-Server-From", &ids[other])
            .header("X-Server-Version", "3.6.14")
            .header("X-Min-Cluster-Version", "3.6.0");
        let address = cluster.members[asked].peer_url().strip_prefix("http://");
        let address = address.expect("without TLS").parse().expect("an address");
        let told = Connection::open(address).ok()?.ask(&request).ok()?.expect(&[200]).text();
        // It is not so far yet, or it was too long ago.
        told.starts_with(|first: char| first.is_ascii_digit()).then_some(told)
    };
    eventually(Duration::from_secs(30), "digests at the same entry", || {
        let status = v3::post(&cluster.members[0], "maintenance/status", &json!({}));
        let at = v3::number(&status["raftAppliedIndex"]);
        let digests: Option<Vec<_>> = (0..ids.len()).map(|asked| digest(at, asked)).collect();
        let digests = digests?;
        assert!(digests.iter().all(|one| *one == digests[0]), "at entry {at}: {digests:?}");
        Some(())
    });
}

/// What the watchers at the members told up to the last write, which must be the same everywhere.
fn stories(cluster: &Cluster, watchers: &[Watcher], api: Api, last: u64) -> Vec<Vec<Event>> {
    let is_member = |watcher: &&Watcher| {
        cluster.members.iter().any(|member| member.address() == watcher.address)
    };
    let watchers = watchers.iter().filter(|watcher| watcher.api == api);
    let (members, removed): (Vec<_>, Vec<_>) = watchers.partition(is_member);
    let told = |watcher: &&Watcher| {
        let what = format!("the watcher of {api:?} at {} is told all", watcher.address);
        eventually(Duration::from_secs(30), &what, || {
            let mut story = watcher.story();
            let end = story.iter().position(|event| event.index == last)?;
            story.truncate(end + 1);
            Some(story)
        })
    };
    let stories: Vec<_> = members.iter().map(told).collect();
    for (story, watcher) in stories.iter().zip(&members) {
        same(&stories[0], story, watcher);
        assert!(story.is_sorted_by(|one, next| one.index < next.index), "events out of order");
    }
    // Who is no member any more has told the beginning.
    for watcher in removed {
        let mut story = watcher.story();
        story.retain(|event| event.index <= last);
        same(&stories[0][..story.len()], &story, watcher);
    }
    stories
}

/// Either API tells of the same changes.
fn tell_the_same(story: &[Event], story_3: &[Event]) {
    let both =
        |event: &Event| (event.index, event.key.clone(), event.value.clone(), event.replaced);
    let different = story.iter().zip(story_3).find(|(one, other)| both(one) != both(other));
    assert_eq!(different, None, "the two APIs tell something else");
    assert_eq!(story.len(), story_3.len(), "one API tells more than the other");
}

fn same(expected: &[Event], story: &[Event], watcher: &Watcher) {
    let different = expected.iter().zip(story).find(|(one, other)| one != other);
    assert_eq!(
        different, None,
        "the watcher of {:?} at {} was told something else",
        watcher.api, watcher.address
    );
    assert_eq!(
        expected.len(),
        story.len(),
        "the watcher of {:?} at {} missed some",
        watcher.api,
        watcher.address
    );
}

/// Every acknowledged change is an event, with its index.
fn acknowledged_are_told(history: &[Operation], story: &[Event], from: u64) {
    let events: BTreeMap<_, _> = story.iter().map(|event| (event.index, event)).collect();
    for operation in history {
        let Action::Change(change, Outcome::Done { index, .. }) = &operation.action else {
            continue;
        };
        let index = index.expect("etcd tells the index of a write");
        assert!(from <= index, "{operation} has an index from before");
        let event = events.get(&index);
        let event = event.unwrap_or_else(|| panic!("lost: {} {operation}", operation.key));
        let value = match change {
            Change::Write(value) | Change::Create(value) | Change::Swap(_, value) => Some(value),
            Change::Delete | Change::DeleteIf(_) => None,
        };
        let told = (&event.key, event.value.as_ref());
        assert_eq!(told, (&operation.key, value), "event of {operation}");
    }
}

/// Keys, values and indexes that the events of a story leave.
fn left(story: &[Event]) -> BTreeMap<String, (String, u64)> {
    let mut left = BTreeMap::new();
    for event in story {
        match &event.value {
            Some(value) => left.insert(event.key.clone(), (value.clone(), event.index)),
            None => left.remove(&event.key),
        };
    }
    left
}

/// Those that a tree holds, but for what was there before the watchers.
fn held(tree: &Value) -> BTreeMap<String, (String, u64)> {
    let mut held = BTreeMap::new();
    gather(&tree[1], &mut held);
    held.remove("/first");
    held
}

fn gather(node: &Value, held: &mut BTreeMap<String, (String, u64)>) {
    if let (Some(key), Some(value)) = (node["key"].as_str(), node["value"].as_str()) {
        let index = node["modifiedIndex"].as_u64().expect("a node has an index");
        held.insert(key.to_owned(), (value.to_owned(), index));
    }
    node["nodes"].as_array().into_iter().flatten().for_each(|node| gather(node, held));
}
