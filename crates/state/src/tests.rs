//! The replicated state as its users see it.

mod applying;
mod bounds;
mod hashing;
mod model;
mod recorded;
mod scripts;
mod shared_keyspace;
mod users;
mod versions;
mod watching;

use std::{
    path::Path,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use backend::{Applied, Backend, Options};
use base::{
    Disk as _, Index, Refused, Term, UnixNanos,
    disk::MemDisk,
    version::{self, Build},
};
use bytes::Bytes;
use mvcc::{Action, Commit, Kind, Store};
use proto::{
    Message as _,
    command::{By, Command, KeysMethod, KeysWrite, LeaseRevoke, Op},
    etcdserverpb::{
        DeleteRangeRequest, LeaseGrantRequest, PutRequest, RequestOp, TxnRequest,
        request_op::Request,
    },
};

use crate::{
    Reply, Response, State,
    apply::{Fatal, Outcome},
    keys::{self, Error, Event, Failure, Node, Step, Watcher},
};

/// Times in tests count from here, in seconds.
const T0: i64 = 1_600_000_000;

fn time(seconds: i64) -> UnixNanos {
    UnixNanos((T0 + seconds) * 1_000_000_000)
}

/// A state on a disk in memory.
struct Fixture {
    disk: MemDisk,
    backend: Arc<Backend>,
    state: State,
    entry: u64,
    /// Who asks.
    by: Option<By>,
}

impl Fixture {
    fn new() -> Self {
        Self::open(MemDisk::new(1))
    }

    fn open(disk: MemDisk) -> Self {
        Self::open_with(disk, version::THIS)
    }

    fn open_with(disk: MemDisk, build: Build) -> Self {
        disk.create_dir_all(Path::new("/data")).unwrap();
        let options = Options { cache_bytes: 1 << 20 };
        let file = Path::new("/data/keyspace");
        let backend = Arc::new(Backend::open(Arc::new(disk.clone()), file, options).unwrap());
        let state = State::open(Arc::clone(&backend), build).unwrap();
        let entry = state.applied().index.0;
        Self { disk, backend, state, entry, by: None }
    }

    fn flush(&self) {
        while self.backend.durable() < self.backend.applied() || self.backend.tail_bytes() > 0 {
            self.backend.flush().unwrap();
        }
    }

    fn reopen(self) -> Self {
        self.flush();
        let disk = self.disk.clone();
        drop(self);
        Self::open(disk)
    }

    fn store(&self) -> Arc<Store> {
        Arc::clone(self.state.reader().store())
    }

    /// The place of the next entry.
    fn next(&mut self) -> Applied {
        self.entry += 1;
        Applied { index: Index(self.entry), term: Term(1) }
    }

    fn try_apply(&mut self, op: Op) -> Result<Outcome, Fatal> {
        let at = self.next();
        let command = Command { by: self.by.clone(), ..Command::new(7, op) };
        let outcome = self.state.apply(at, &command.encode_to_vec())?;
        self.store().publish(&outcome.commits);
        Ok(outcome)
    }

    fn apply(&mut self, op: Op) -> Outcome {
        self.try_apply(op).unwrap()
    }

    fn write(&mut self, write: KeysWrite) -> Result<Event, Failure> {
        let outcome = self.apply(Op::Keys(write));
        let Response::Keys(answer) = outcome.response else { panic!("{outcome:?}") };
        answer
    }

    fn v3(&mut self, op: Op) -> Result<Reply, Refused> {
        let outcome = self.apply(op);
        let Response::V3(answer) = outcome.response else { panic!("{outcome:?}") };
        answer
    }

    /// A put through v3.
    fn put(&mut self, key: &[u8], value: &str) {
        self.v3(Op::Put(put(key, value))).unwrap();
    }

    /// A put on a lease, which is made if it is not there.
    fn put_on(&mut self, lease: i64, key: &[u8], value: &str) {
        if !self.state.reader().leases().contains(lease) {
            self.v3(Op::LeaseGrant(LeaseGrantRequest { id: lease, ttl: 60 })).unwrap();
        }
        self.v3(Op::Put(PutRequest { lease, ..put(key, value) })).unwrap();
    }

    /// A lease's time is over.
    fn lapse(&mut self, lease: i64) {
        self.v3(Op::LeaseRevoke(LeaseRevoke { id: lease, expired: true, granted: 0 })).unwrap();
    }

    /// A deletion through v3.
    fn delete(&mut self, key: &[u8]) {
        self.v3(Op::DeleteRange(delete(key, b""))).unwrap();
    }

    fn get(&self, path: &str) -> Result<Node, Failure> {
        refused(keys::get(&self.store(), &Bytes::copy_from_slice(path.as_bytes()), false))
            .map(|found| found.node)
    }

    /// Everything that a listing tells, in order.
    fn list(&self, path: &str, recursive: bool) -> Vec<Step> {
        let path = Bytes::copy_from_slice(path.as_bytes());
        let mut listing = keys::get(&self.store(), &path, recursive).unwrap().listing.unwrap();
        std::iter::from_fn(|| listing.next_step().unwrap()).collect()
    }

    fn watch(&self, path: &str, recursive: bool, since: u64) -> Result<Watcher, Failure> {
        let path = Bytes::copy_from_slice(path.as_bytes());
        refused(keys::watch(&self.store(), &path, recursive, since))
    }
}

fn put(key: &[u8], value: &str) -> PutRequest {
    let (key, value) = (Bytes::copy_from_slice(key), value.to_owned().into());
    PutRequest { key, value, ..PutRequest::default() }
}

fn delete(key: &[u8], range_end: &[u8]) -> DeleteRangeRequest {
    let (key, range_end) = (Bytes::copy_from_slice(key), Bytes::copy_from_slice(range_end));
    DeleteRangeRequest { key, range_end, prev_kv: false }
}

/// A transaction without conditions.
fn txn(requests: Vec<Request>) -> Op {
    let op = |request| RequestOp { request: Some(request) };
    let success = requests.into_iter().map(op).collect();
    Op::Txn(TxnRequest { success, ..TxnRequest::default() })
}

fn refused<T>(result: Result<T, Error>) -> Result<T, Failure> {
    result.map_err(|error| match error {
        Error::Refused(failure) => failure,
        Error::Read(error) => panic!("{error}"),
    })
}

/// The events that a watch has now.
fn drain(watcher: &mut Watcher) -> Vec<Event> {
    let mut cx = Context::from_waker(Waker::noop());
    let mut events = Vec::new();
    while let Poll::Ready(event) = watcher.poll_next(&mut cx) {
        events.push(refused(event).unwrap());
    }
    events
}

fn request(method: KeysMethod, path: &str) -> KeysWrite {
    KeysWrite {
        method: method.into(),
        path: Bytes::copy_from_slice(path.as_bytes()),
        ..KeysWrite::default()
    }
}

fn set(path: &str, value: &str) -> KeysWrite {
    let value = Bytes::copy_from_slice(value.as_bytes());
    KeysWrite { value, ..request(KeysMethod::Set, path) }
}

fn mkdir(path: &str) -> KeysWrite {
    KeysWrite { dir: true, ..request(KeysMethod::Set, path) }
}

fn remove(path: &str, recursive: bool) -> KeysWrite {
    KeysWrite { dir: true, recursive, ..request(KeysMethod::Delete, path) }
}

/// As short as it goes: `/a "value" m3 c2 +10s`, with a slash behind directories and `+10s` being
/// the expiry.
fn show_node(node: &Node) -> String {
    let mut text = String::from_utf8(node.key.to_vec()).unwrap();
    if node.dir && node.key != "/" {
        text.push('/');
    }
    if let Some(value) = &node.value {
        text += &format!(" {:?}", String::from_utf8_lossy(value));
    }
    text += &format!(" m{} c{}", node.modified_index, node.created_index);
    if let Some(UnixNanos(expiry)) = node.expiry {
        text += &format!(" {:+}s", expiry / 1_000_000_000 - T0);
    }
    text
}

fn show_event(event: &Event) -> String {
    let created = if event.created { " created" } else { "" };
    let prev = event.prev_node.as_ref();
    let prev = prev.map_or_else(String::new, |prev| format!(" <- {}", show_node(prev)));
    format!("[{}] {:?}{created}: {}{prev}", event.index, event.action, show_node(&event.node))
}

fn show_failure(failure: &Failure) -> String {
    let Failure { code, cause, index } = failure;
    format!("[{index}] {} {}: {cause}", code.number(), code.message())
}
