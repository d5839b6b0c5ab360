//! Clients that read, write, swap and delete few keys, one operation after the other, each at some
//! member; and what they were told, for the judge.

use std::{collections::BTreeMap, time::Duration};

use base::{Code, MemberId, UnixNanos};
use bytes::Bytes;
use linearizable::{Action, Before, Change, Expected, Found, Operation, Outcome, Refusal, Verdict};
use member::Answer;
use mvcc::{Kind, ReadError, Store};
use proto::command::{KeysMethod, KeysWrite};
use state::Response;

use crate::Report;

const CLIENTS: usize = 5;
const KEYS: [&str; 3] = ["/r/0", "/r/1", "/r/2"];
/// Most clients wait for so long; some give up at once.
const PATIENCE_MILLIS: std::ops::Range<u64> = 50..3_000;
/// Steps of the judge for one key of one seed.
const JUDGE_STEPS_MAX: u64 = 200_000;

/// Whether this is a key of these clients.
pub(crate) fn is_one(name: &[u8]) -> bool {
    name.starts_with(b"/r/")
}

/// All clients, and all that they were told.
#[derive(Clone, Debug)]
pub(crate) struct Registers {
    clients: Vec<Client>,
    history: Vec<Operation>,
    /// By the proposal's id, all changes that were asked for, and what became of those that any member
    /// has carried out.
    changes: BTreeMap<u64, Change>,
    outcomes: BTreeMap<u64, Outcome>,
    /// Operations of the history of which nobody was told what became of them, by their place in it.
    unheard: BTreeMap<usize, u64>,
    /// Counts what happens: of two operations it is known which was first, or that neither was.
    moment: u64,
}

/// One client, which stays with a member until that fails it.
#[derive(Clone, Debug)]
struct Client {
    at: MemberId,
    asked: Option<Asked>,
    /// What it last saw at each key.
    seen: [Option<Found>; KEYS.len()],
}

/// What a client waits for.
#[derive(Clone, Debug)]
struct Asked {
    key: usize,
    invoked: u64,
    until: UnixNanos,
    what: What,
}

#[derive(Clone, Debug)]
enum What {
    Read,
    /// With the id of the proposal.
    Change(u64, Change),
}

/// What a client wants.
#[derive(Debug)]
pub(crate) enum Wish {
    Read,
    Change(Change, KeysWrite),
}

/// The number of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Caller(usize);

/// One read of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Call {
    caller: Caller,
    invoked: u64,
}

impl Default for Registers {
    fn default() -> Self {
        let idle = Client { at: MemberId(1), asked: None, seen: Default::default() };
        Self {
            clients: vec![idle; CLIENTS],
            history: Vec::new(),
            changes: BTreeMap::new(),
            outcomes: BTreeMap::new(),
            unheard: BTreeMap::new(),
            moment: 0,
        }
    }
}

impl Registers {
    /// A client that waits for nothing, and the member that it is with.
    pub(crate) fn idle(&self, rng: &mut fastrand::Rng) -> Option<(Caller, MemberId)> {
        let at = rng.usize(..CLIENTS);
        let client = self.clients.get(at).filter(|client| client.asked.is_none())?;
        Some((Caller(at), client.at))
    }

    /// Whether a client still waits for what became of this change; `None` if it is none of theirs.
    pub(crate) fn is_awaited(&self, id: u64) -> Option<bool> {
        self.changes.get(&id)?;
        let asked = self.clients.iter().filter_map(|client| client.asked.as_ref());
        Some(asked.into_iter().any(|asked| matches!(asked.what, What::Change(one, _) if one == id)))
    }

    /// The client turns to another member.
    pub(crate) fn turn(&mut self, caller: Caller, to: MemberId) {
        if let Some(client) = self.clients.get_mut(caller.0) {
            client.at = to;
        }
    }

    /// What the client asks for next, of which key. `value` was never written.
    pub(crate) fn wish(
        &self,
        caller: Caller,
        value: String,
        rng: &mut fastrand::Rng,
    ) -> (usize, Wish) {
        let key = rng.usize(..KEYS.len());
        let seen = self.clients.get(caller.0).and_then(|client| client.seen.get(key));
        let seen = seen.cloned().flatten();
        let change = match (rng.u8(..20), seen) {
            (0..8, _) => return (key, Wish::Read),
            (8 | 9, Some(seen)) => Change::Swap(by_value(seen), value),
            (10 | 11, Some(seen)) => Change::Swap(by_index(&seen), value),
            (12, Some(seen)) => Change::DeleteIf(by_value(seen)),
            (13, Some(seen)) => Change::DeleteIf(by_index(&seen)),
            (14, _) => Change::Delete,
            (15, _) => Change::Create(value),
            _ => Change::Write(value),
        };
        let write = write(key, &change);
        (key, Wish::Change(change, write))
    }

    /// The client has asked for the read.
    pub(crate) fn reads(&mut self, caller: Caller, key: usize, until: UnixNanos) -> Call {
        self.asks(caller, key, until, What::Read);
        Call { caller, invoked: self.moment }
    }

    /// The client has asked for a change, which is this proposal.
    pub(crate) fn changes(
        &mut self,
        caller: Caller,
        key: usize,
        until: UnixNanos,
        (id, change): (u64, Change),
    ) {
        self.changes.insert(id, change.clone());
        self.asks(caller, key, until, What::Change(id, change));
    }

    fn asks(&mut self, caller: Caller, key: usize, until: UnixNanos, what: What) {
        self.moment += 1;
        if let Some(client) = self.clients.get_mut(caller.0) {
            client.asked = Some(Asked { key, invoked: self.moment, until, what });
        }
    }

    /// What the client has asked for has certainly not been taken; it turns to somebody else later.
    pub(crate) fn take_back(&mut self, caller: Caller) {
        if let Some(client) = self.clients.get_mut(caller.0) {
            client.asked = None;
        }
    }

    /// The member may answer the client's read now, from this store.
    pub(crate) fn answer_read(&mut self, call: Call, store: &Store) -> Result<(), ReadError> {
        let Call { caller, invoked } = call;
        let client = self.clients.get_mut(caller.0);
        let asked = client.and_then(|client| client.asked.take_if(|one| one.invoked == invoked));
        let Some(asked) = asked else { return Ok(()) };
        let key = KEYS.get(asked.key).copied().unwrap_or_default();
        let found = store.get(Kind::Key, key.as_bytes(), 0)?.map(|record| Found {
            value: text(&record.value),
            index: u64::try_from(record.revision.main).ok(),
        });
        self.record(caller, &asked, Action::Read(found));
        Ok(())
    }

    /// The member has carried this out, and tells whoever asked for it there.
    pub(crate) fn answer(&mut self, at: MemberId, answer: &Answer) {
        if let Some(change) = self.changes.get(&answer.id) {
            // The same on all members.
            self.outcomes.insert(answer.id, outcome(change, &answer.response));
        }
        let waits = |client: &Client| {
            let what = client.asked.as_ref().map(|asked| &asked.what);
            client.at == at && matches!(what, Some(What::Change(id, _)) if *id == answer.id)
        };
        let Some(caller) = self.clients.iter().position(waits) else { return };
        let asked = self.clients.get_mut(caller).and_then(|client| client.asked.take());
        if let Some(asked) = asked
            && let What::Change(_, change) = &asked.what
        {
            let outcome = outcome(change, &answer.response);
            self.record(Caller(caller), &asked, Action::Change(change.clone(), outcome));
        }
    }

    /// Those who asked this member hear nothing any more, and turn to another.
    pub(crate) fn break_off(&mut self, at: MemberId, others: &[MemberId], rng: &mut fastrand::Rng) {
        self.give_up(others, rng, |client, _| client.at == at);
    }

    /// Those whose patience is over turn to another member.
    pub(crate) fn expire(&mut self, now: UnixNanos, others: &[MemberId], rng: &mut fastrand::Rng) {
        self.give_up(others, rng, |_, asked| asked.until <= now);
    }

    /// Nobody waits any longer.
    pub(crate) fn end(&mut self) {
        self.give_up(&[], &mut fastrand::Rng::with_seed(0), |_, _| true);
    }

    fn give_up(
        &mut self,
        others: &[MemberId],
        rng: &mut fastrand::Rng,
        does: impl Fn(&Client, &Asked) -> bool,
    ) {
        for caller in 0..self.clients.len() {
            let Some(client) = self.clients.get_mut(caller) else { continue };
            if !client.asked.as_ref().is_some_and(|asked| does(client, asked)) {
                continue;
            }
            let asked = client.asked.take();
            if !others.is_empty() {
                client.at = others.get(rng.usize(..others.len())).copied().unwrap_or(client.at);
            }
            // A read without an answer says nothing.
            if let Some(asked) = asked
                && let What::Change(id, change) = &asked.what
            {
                self.unheard.insert(self.history.len(), *id);
                let action = Action::Change(change.clone(), Outcome::Unknown);
                self.record(Caller(caller), &asked, action);
            }
        }
    }

    fn record(&mut self, caller: Caller, asked: &Asked, action: Action) {
        self.moment += 1;
        let seen = match &action {
            Action::Read(found) => Some(found.clone()),
            Action::Change(
                Change::Write(value) | Change::Create(value) | Change::Swap(_, value),
                Outcome::Done { index, .. },
            ) => Some(Some(Found { value: value.clone(), index: *index })),
            Action::Change(..) => None,
        };
        let client = self.clients.get_mut(caller.0);
        if let (Some(seen), Some(client)) = (seen, client)
            && let Some(slot) = client.seen.get_mut(asked.key)
        {
            *slot = seen;
        }
        self.history.push(Operation {
            client: u32::try_from(caller.0).unwrap_or(u32::MAX),
            key: KEYS.get(asked.key).copied().unwrap_or_default().to_owned(),
            invoked: asked.invoked,
            returned: self.moment,
            action,
        });
    }

    /// Whether all of this can have happened one after the other.
    pub(crate) fn judge(&self, report: &mut Report) -> Verdict {
        report.judged += self.history.len() as u64;
        report.unknown += self.unheard.len() as u64;
        let verdict = linearizable::check_within(&self.history, JUDGE_STEPS_MAX);
        if !matches!(verdict, Verdict::Undecided { .. }) {
            return verdict;
        }
        report.hard += 1;
        linearizable::check_within(&self.as_carried_out(), JUDGE_STEPS_MAX)
    }

    /// The history with what really became of the changes that nobody was told of. If this can have
    /// happened, so can what the clients saw; and it must, since the log is an order of all changes.
    fn as_carried_out(&self) -> Vec<Operation> {
        let known = |(at, operation): (usize, &Operation)| {
            let Some(id) = self.unheard.get(&at) else { return Some(operation.clone()) };
            // What was refused, or never came into the log, has changed nothing.
            let change = self.changes.get(id)?;
            let outcome = self.outcomes.get(id)?;
            let Outcome::Done { .. } = outcome else { return None };
            let action = Action::Change(change.clone(), outcome.clone());
            // It may have taken effect at any time.
            Some(Operation { returned: self.moment + 1, action, ..operation.clone() })
        };
        self.history.iter().enumerate().filter_map(known).collect()
    }
}

/// A client for each key.
pub(crate) fn everything() -> impl Iterator<Item = (Caller, usize)> {
    (0..KEYS.len()).map(|key| (Caller(key), key))
}

/// How long a client waits.
pub(crate) fn patience(rng: &mut fastrand::Rng) -> Duration {
    Duration::from_millis(rng.u64(PATIENCE_MILLIS))
}

fn by_value(seen: Found) -> Expected {
    Expected { value: Some(seen.value), index: None }
}

fn by_index(seen: &Found) -> Expected {
    Expected { value: None, index: seen.index }
}

/// The command that carries a change out.
fn write(key: usize, change: &Change) -> KeysWrite {
    let path = KEYS.get(key).copied().unwrap_or_default();
    let mut write = KeysWrite { path: Bytes::from_static(path.as_bytes()), ..KeysWrite::default() };
    let (method, value, expected) = match change {
        Change::Write(value) => (KeysMethod::Set, Some(value), None),
        Change::Create(value) => (KeysMethod::Create, Some(value), None),
        Change::Swap(expected, value) => (KeysMethod::CompareAndSwap, Some(value), Some(expected)),
        Change::Delete => (KeysMethod::Delete, None, None),
        Change::DeleteIf(expected) => (KeysMethod::CompareAndDelete, None, Some(expected)),
    };
    write.method = method.into();
    write.value = value.cloned().unwrap_or_default().into();
    if let Some(expected) = expected {
        write.prev_value = expected.value.clone().map(Bytes::from);
        write.prev_index = expected.index.unwrap_or_default();
    }
    write
}

/// What an answer says of a change.
fn outcome(change: &Change, response: &Response) -> Outcome {
    let failure = match response {
        Response::Keys(Ok(event)) => {
            let found = event.prev_node.as_ref().and_then(|node| {
                let value = text(node.value.as_ref()?);
                Some(Found { value, index: Some(node.modified_index) })
            });
            let before = match (change, found) {
                (_, Some(found)) => Before::Present(found),
                (Change::Write(_), None) => Before::Absent,
                (_, None) => Before::Untold,
            };
            return Outcome::Done { index: Some(event.node.modified_index), before };
        }
        Response::Keys(Err(failure)) => failure,
        // No answer to a write of a key: it says nothing.
        Response::V3(_)
        | Response::Expired(_)
        | Response::Done
        | Response::Downgrade(_)
        | Response::V2Auth(_)
        | Response::Refused(_) => return Outcome::Unknown,
    };
    if failure.code == Code::KeyNotFound {
        Outcome::Refused(Refusal::NotFound)
    } else if failure.code == Code::NodeExist {
        Outcome::Refused(Refusal::Exists)
    } else {
        Outcome::Refused(Refusal::Compare { found: differing(change, &failure.cause) })
    }
}

/// The value that a comparison met: the cause is `[expected != found]`.
fn differing(change: &Change, cause: &str) -> Option<String> {
    let (Change::Swap(expected, _) | Change::DeleteIf(expected)) = change else { return None };
    expected.value.as_ref()?;
    Some(cause.strip_suffix(']')?.split_once(" != ")?.1.to_owned())
}

fn text(value: &[u8]) -> String {
    String::from_utf8_lossy(value).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Three changes of which nobody was told: one that was carried out, one that was refused, and one
    /// that was lost. And a read of what the first one wrote.
    #[test]
    fn what_nobody_was_told_of_is_known_from_the_log() {
        let mut registers = Registers::default();
        let until = UnixNanos(1);
        let swap =
            Change::Swap(Expected { value: Some("x".to_owned()), index: None }, "b".to_owned());
        let changes = [Change::Write("a".to_owned()), swap, Change::Delete];
        for (caller, change) in changes.into_iter().enumerate() {
            registers.changes(Caller(caller), 0, until, (caller as u64 + 1, change));
        }
        registers.end();
        let done = Outcome::Done { index: Some(7), before: Before::Absent };
        registers.outcomes.insert(1, done.clone());
        registers.outcomes.insert(2, Outcome::Refused(Refusal::Compare { found: None }));
        registers.reads(Caller(3), 0, until);
        let asked = registers.clients[3].asked.take().unwrap();
        let found = Found { value: "a".to_owned(), index: Some(7) };
        registers.record(Caller(3), &asked, Action::Read(Some(found)));
        let known = registers.as_carried_out();
        let actions: Vec<_> = known.iter().map(|one| &one.action).collect();
        let write = Action::Change(Change::Write("a".to_owned()), done);
        assert!(actions.len() == 2 && *actions[0] == write, "{actions:?}");
        assert_eq!(linearizable::check(&known), Verdict::Linearizable);
        assert!(matches!(
            linearizable::check_within(&registers.history, 0),
            Verdict::Undecided { .. }
        ));
        // Whoever was told since that there is nothing was told wrong.
        registers.reads(Caller(3), 0, until);
        let asked = registers.clients[3].asked.take().unwrap();
        registers.record(Caller(3), &asked, Action::Read(None));
        assert!(matches!(linearizable::check(&registers.as_carried_out()), Verdict::Violated(_)));
        assert_eq!(
            linearizable::check(&registers.history),
            Verdict::Linearizable,
            "a deletion is lost"
        );
    }
}
