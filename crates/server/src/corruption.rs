//! Whether members have the same: the leader compares them when one has started, now and then, and
//! after each compaction. Who differs answers no client any more, and takes a snapshot if asked to.
//!
//! What is compared is the digest of all that entries have written, at the same entry, which costs
//! nothing ([`mvcc::Digest`]); and where the operator asks for it, etcd's hash of all that is there.

mod hashes;
mod verdict;

use std::time::Duration;

use base::{Index, MemberId};
use bytes::Bytes;
use mvcc::{Digest, DigestAt};
use peer::Question;
use proto::{
    command::Op,
    etcdserverpb::{AlarmRequest, AlarmType, alarm_request::AlarmAction},
};
use state::membership::Member;
use tokio::{task::JoinSet, time};

pub use self::hashes::HASH_PATH;
use self::verdict::{Verdict, Voice, decide};
use crate::{Handle, Status};

/// Where a peer is asked for its digest; the entry's index follows.
pub const DIGEST_PATH: &str = "/members/digest/";
/// Where the leader is asked to compare the members now.
pub const COMPARE_PATH: &str = "/members/compare";

/// Answers are a line.
const ANSWER_BYTES_MAX: usize = 1 << 10;
/// Between two looks whether something is to be done.
const LOOK: Duration = Duration::from_secs(1);
/// How long a member may take until it has applied what the leader has.
const PATIENCE: Duration = Duration::from_secs(5);
/// Between two questions to a member that has not.
const AGAIN: Duration = Duration::from_millis(50);
/// Until those are asked again whose silence leaves open who is right.
const OPEN_AGAIN: Duration = Duration::from_secs(10);
/// Between two requests for a snapshot, of which the first may be lost with a leader.
const REBUILD_AGAIN: Duration = Duration::from_secs(10);

/// When members are compared, and what follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CorruptionChecks {
    /// Between two looks at digests.
    pub every: Duration,
    /// Between two looks at etcd's hashes, which read all there is (`--corrupt-check-time`); zero:
    /// never.
    pub hash_every: Duration,
    /// A member that starts has its hash compared (`--initial-corrupt-check`).
    pub hash_at_start: bool,
    /// Each compaction is hashed, and the hashes are compared (`--compact-hash-check-enabled`), at this
    /// interval.
    pub hash_compactions: Option<Duration>,
    /// This member takes a snapshot if it is found to differ (`--rebuild-corrupt`).
    pub rebuild: bool,
}

impl Default for CorruptionChecks {
    fn default() -> Self {
        Self {
            every: Duration::from_mins(1),
            hash_every: Duration::ZERO,
            hash_at_start: false,
            hash_compactions: None,
            rebuild: false,
        }
    }
}

/// What is compared.
#[derive(Clone, Copy, Debug)]
enum Of {
    Digest { at: Index, since: u64 },
    Hash { revision: i64, compacted: i64 },
}

impl Handle {
    /// Whether this member was found to differ from the others: it answers no client.
    pub fn is_fenced(&self) -> bool {
        *self.shared.fenced.borrow()
    }

    /// Resolves when it is.
    pub async fn fenced(&self) {
        drop(self.shared.fenced.subscribe().wait_for(|fenced| *fenced).await);
    }

    /// The answer to a peer that asks for the digest at this entry, as a line.
    pub fn tell_digest(&self, at: Index) -> String {
        match self.reader().store().digest(at.0) {
            DigestAt::Known(Digest { since, value }) => format!("{since} {value}\n"),
            DigestAt::Ahead => "ahead\n".to_owned(),
            DigestAt::Forgotten => "forgotten\n".to_owned(),
        }
    }

    /// Compares the members at the next look, if this one leads.
    pub fn compare_soon(&self, hashes: bool) {
        let wanted = &self.shared.compare;
        wanted.send_modify(|wanted| *wanted = Some(hashes || wanted.unwrap_or_default()));
    }
}

/// Compares until the member stops.
pub(crate) async fn run(handle: Handle) {
    let mut stopped = handle.shared.stopped.subscribe();
    tokio::select! {
        () = watch_over(&handle) => {}
        _ = stopped.wait_for(|stopped| *stopped) => {}
    }
}

/// What is due when, by the clock that never goes back.
struct Due {
    digests: Duration,
    hashes: Duration,
    /// Up to where history was compacted when members were last compared.
    compacted: i64,
    /// The hashes that compactions have left, and up to which revision they have been compared.
    compactions: Duration,
    compared: i64,
    rebuild: Duration,
    /// How often this member has tried to hand the lead over, being fenced off.
    heirs: usize,
    /// Snapshots taken over when this member asked for one.
    asked: Option<u64>,
}

async fn watch_over(handle: &Handle) {
    let shared = &handle.shared;
    let checks = shared.config.corruption;
    handle.ready().await;
    ask_to_compare(handle, checks.hash_at_start).await;
    let now = shared.now();
    let mut due = Due {
        digests: now + checks.every,
        hashes: now + checks.hash_every,
        compacted: shared.reader.store().compacted(),
        compactions: now,
        compared: 0,
        rebuild: now,
        heirs: 0,
        asked: None,
    };
    let mut wanted = shared.compare.subscribe();
    loop {
        // A wish that came meanwhile is seen at once.
        drop(time::timeout(LOOK, wanted.wait_for(Option::is_some)).await);
        if handle.is_fenced() {
            mend(handle, &mut due).await;
        } else {
            due.asked = None;
        }
        let wish = shared.compare.send_replace(None);
        if handle.status().is_leader {
            look(handle, &mut due, wish).await;
        }
    }
}

async fn look(handle: &Handle, due: &mut Due, wish: Option<bool>) {
    let shared = &handle.shared;
    let checks = shared.config.corruption;
    let (now, compacted) = (shared.now(), shared.reader.store().compacted());
    if wish.is_some() || now >= due.digests || compacted != due.compacted {
        (due.digests, due.compacted) = (now + checks.every, compacted);
        if compare_digests(handle).await == Verdict::Open {
            due.digests = now + OPEN_AGAIN;
        }
    }
    let by_clock = !checks.hash_every.is_zero() && now >= due.hashes;
    if by_clock || wish == Some(true) {
        due.hashes = now + checks.hash_every;
        hashes::compare(handle).await;
    }
    if let Some(every) = checks.hash_compactions
        && now >= due.compactions
    {
        due.compactions = now + every;
        due.compared = hashes::compare_compactions(handle, due.compared).await;
    }
}

/// The leader is to look at this member, which has just started. If nobody leads now, the next leader
/// looks at all by the clock.
async fn ask_to_compare(handle: &Handle, hashes: bool) {
    let Status { leader: Some(leader), is_leader, .. } = handle.status() else { return };
    if is_leader {
        handle.compare_soon(hashes);
        return;
    }
    let Some(peers) = handle.peers() else { return };
    let body = if hashes { Bytes::from_static(b"hashes") } else { Bytes::new() };
    let question =
        Question { path: COMPARE_PATH.to_owned(), body, answer_bytes_max: ANSWER_BYTES_MAX };
    match time::timeout(PATIENCE, peers.ask(leader, question)).await {
        Ok(Ok(answer)) if answer.status.is_success() => {}
        other => tracing::debug!(?other, "the leader was not asked to compare this member"),
    }
}

async fn compare_digests(handle: &Handle) -> Verdict {
    let at = handle.status().applied;
    let DigestAt::Known(own) = handle.reader().store().digest(at.0) else { return Verdict::Same };
    let of = Of::Digest { at, since: own.since };
    let voices = ask_all(handle, of, own.value).await;
    conclude(handle, of, &voices).await
}

/// What all members say, this one first.
async fn ask_all(handle: &Handle, of: Of, own: u64) -> Vec<Voice> {
    let members = handle.reader().members();
    let voice = |member: &Member, said| Voice { member: member.id, votes: !member.learner, said };
    let mut asking = JoinSet::new();
    let mut voices = Vec::new();
    for member in members.members.values() {
        if member.id == handle.member_id() {
            voices.push(voice(member, Some(own)));
            continue;
        }
        let (handle, voice) = (handle.clone(), voice(member, None));
        asking.spawn(async move {
            let said = match of {
                Of::Digest { at, since } => ask_digest(&handle, voice.member, at, since).await,
                Of::Hash { revision, compacted } => {
                    hashes::ask(&handle, voice.member, revision, compacted).await
                }
            };
            Voice { said, ..voice }
        });
    }
    while let Some(told) = asking.join_next().await {
        voices.extend(told);
    }
    voices.sort_by_key(|voice| voice.member);
    voices
}

/// `None`: it does not answer, or with nothing that can be compared.
async fn ask_digest(handle: &Handle, member: MemberId, at: Index, since: u64) -> Option<u64> {
    let asking = async {
        loop {
            let line = ask(handle, member, format!("{DIGEST_PATH}{at}")).await?;
            if line.trim_end() != "ahead" {
                let (began, value) = line.trim_end().split_once(' ')?;
                let is_same = began.parse::<u64>().ok()? == since;
                return value.parse().ok().filter(|_| is_same);
            }
            time::sleep(AGAIN).await;
        }
    };
    time::timeout(PATIENCE, asking).await.ok().flatten()
}

async fn ask(handle: &Handle, member: MemberId, path: String) -> Option<String> {
    let question = Question { path, body: Bytes::new(), answer_bytes_max: ANSWER_BYTES_MAX };
    let answer = handle.peers()?.ask(member, question).await.ok()?;
    answer.status.is_success().then(|| String::from_utf8_lossy(&answer.body).into_owned())
}

/// Tells of those that differ, and fences them off.
async fn conclude(handle: &Handle, of: Of, voices: &[Voice]) -> Verdict {
    let shared = &handle.shared;
    let alarms = shared.reader.alarms();
    let verdict = decide(voices);
    match &verdict {
        Verdict::Same => {}
        Verdict::Open => tracing::warn!(
            ?of,
            ?voices,
            "members differ, and those that have not answered decide who is right: they are asked again"
        ),
        Verdict::Differ(members) => {
            for &member in members.iter().filter(|member| !alarms.is_corrupt(**member)) {
                tracing::error!(
                    %member,
                    ?of,
                    ?voices,
                    "the data of a member differ from those of the majority: alarm CORRUPT is raised, \
                     and it answers no client from now on. Look at its disk and memory; then start it \
                     with --rebuild-corrupt, or remove it and add it anew"
                );
                set_alarm(handle, member, AlarmAction::Activate).await;
            }
        }
        Verdict::Undecided => {
            let nobody = MemberId(0);
            if !alarms.is_corrupt(nobody) {
                tracing::error!(
                    ?of,
                    ?voices,
                    "members differ, and no majority has the same: alarm CORRUPT is raised, and \
                     nothing is written until an operator has found out who is right \
                     (etcdctl endpoint hashkv), removed the others, and disarmed the alarm"
                );
                set_alarm(handle, nobody, AlarmAction::Activate).await;
            }
        }
    }
    verdict
}

async fn set_alarm(handle: &Handle, member: MemberId, action: AlarmAction) {
    let (action, alarm) = (action.into(), AlarmType::Corrupt.into());
    let request = AlarmRequest { action, member_id: member.0, alarm };
    if let Err(why) = handle.write(Op::Alarm(request)).await {
        tracing::warn!(%member, %why, "alarm CORRUPT was not set: tried again at the next comparison");
    }
}

/// This member differs. Another is to lead; and if it may be rebuilt, it asks for a snapshot.
async fn mend(handle: &Handle, due: &mut Due) {
    let shared = &handle.shared;
    if handle.status().is_leader {
        let (members, alarms) = (shared.reader.members(), shared.reader.alarms());
        let sound = |one: &&Member| !one.learner && !alarms.is_corrupt(one.id);
        let sound: Vec<_> = members.members.values().filter(sound).collect();
        // Whoever is asked may be away.
        if let Some(heir) = sound.get(due.heirs % sound.len().max(1)) {
            shared.inbox.hand_over(heir.id);
        }
        due.heirs += 1;
        return;
    }
    if !shared.config.corruption.rebuild {
        return;
    }
    let taken = shared.counters.snapshots_installed.load(std::sync::atomic::Ordering::Relaxed);
    if due.asked.is_some_and(|before| taken > before) {
        tracing::info!("this member's data are the leader's now: its alarm CORRUPT is taken back");
        due.asked = None;
        set_alarm(handle, handle.member_id(), AlarmAction::Deactivate).await;
        return;
    }
    if shared.now() >= due.rebuild {
        due.rebuild = shared.now() + REBUILD_AGAIN;
        due.asked.get_or_insert(taken);
        tracing::info!("ask the leader for a snapshot in place of this member's data");
        shared.inbox.request_snapshot();
    }
}
