//! What v3 does, by the model: each operation on a copy of the keys, one after the other.

use std::collections::BTreeMap;

use base::Refused;
use proto::{
    etcdserverpb::{
        Compare, DeleteRangeRequest, DeleteRangeResponse, PutRequest, PutResponse, RangeRequest,
        RangeResponse, RequestOp, ResponseHeader, ResponseOp, TxnRequest, TxnResponse,
        compare::TargetUnion, request_op::Request, response_op,
    },
    mvccpb::KeyValue,
};

use super::tree::{Change, File, Model};
use crate::{Reply, lease::Lease};

type Keys = BTreeMap<String, File>;

/// A write of v3 that is under way.
struct Run<'m> {
    model: &'m Model,
    keys: Keys,
    changes: Vec<Change>,
    main: u64,
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn signed(number: u64) -> i64 {
    number.try_into().unwrap()
}

pub(super) fn header(revision: u64) -> ResponseHeader {
    ResponseHeader { revision: signed(revision), ..ResponseHeader::default() }
}

fn pair(key: &str, file: &File) -> KeyValue {
    KeyValue {
        key: key.to_owned().into(),
        create_revision: signed(file.create),
        mod_revision: signed(file.modified),
        version: file.version,
        value: file.value.clone().into(),
        lease: file.lease,
    }
}

fn within(key: &str, from: &[u8], range_end: &[u8]) -> bool {
    let key = key.as_bytes();
    match range_end {
        b"" => key == from,
        b"\0" => key >= from,
        to => key >= from && key < to,
    }
}

fn find<'k>(keys: &'k Keys, from: &[u8], range_end: &[u8]) -> Vec<(&'k String, &'k File)> {
    keys.iter().filter(|(key, _)| within(key, from, range_end)).collect()
}

/// As `etcdserverpb` documents it.
pub(super) fn range(keys: &Keys, request: &RangeRequest, revision: u64) -> RangeResponse {
    let found = find(keys, &request.key, &request.range_end);
    let count = signed(found.len() as u64);
    if request.count_only {
        return RangeResponse {
            header: Some(header(revision)),
            kvs: Vec::new(),
            more: false,
            count,
        };
    }
    let mut kvs: Vec<KeyValue> = found.iter().map(|(key, file)| pair(key, file)).collect();
    let limit = usize::try_from(request.limit).unwrap_or(0);
    let filters = [
        request.min_mod_revision,
        request.max_mod_revision,
        request.min_create_revision,
        request.max_create_revision,
    ];
    if request.sort_order == 0 && filters == [0; 4] && limit > 0 {
        // Only so many are ever looked at.
        kvs.truncate(limit + 1);
    }
    let [min_mod, max_mod, min_create, max_create] = filters;
    let passes = |number: i64, min: i64, max: i64| {
        (min == 0 || number >= min) && (max == 0 || number <= max)
    };
    kvs.retain(|kv| passes(kv.mod_revision, min_mod, max_mod));
    kvs.retain(|kv| passes(kv.create_revision, min_create, max_create));
    match request.sort_target {
        0 => {}
        1 => kvs.sort_by_key(|kv| kv.version),
        2 => kvs.sort_by_key(|kv| kv.create_revision),
        3 => kvs.sort_by_key(|kv| kv.mod_revision),
        _ => kvs.sort_by(|one, other| one.value.cmp(&other.value)),
    }
    if request.sort_order == 2 {
        // What is alike stays in order of keys.
        kvs.reverse();
        let number = |kv: &KeyValue| match request.sort_target {
            1 => (kv.version, String::new()),
            2 => (kv.create_revision, String::new()),
            3 => (kv.mod_revision, String::new()),
            4 => (0, text(&kv.value)),
            _ => (0, text(&kv.key)),
        };
        kvs.chunk_by_mut(|one, other| number(one) == number(other)).for_each(<[_]>::reverse);
    }
    let more = limit > 0 && kvs.len() > limit;
    if limit > 0 {
        kvs.truncate(limit);
    }
    if request.keys_only {
        for kv in &mut kvs {
            kv.value.clear();
        }
    }
    RangeResponse { header: Some(header(revision)), kvs, more, count }
}

fn holds(keys: &Keys, compare: &Compare) -> bool {
    let found = find(keys, &compare.key, &compare.range_end);
    let asked = |target: i32| match (&compare.target_union, target) {
        (Some(TargetUnion::Version(number)), 0)
        | (Some(TargetUnion::CreateRevision(number)), 1)
        | (Some(TargetUnion::ModRevision(number)), 2)
        | (Some(TargetUnion::Lease(number)), 4) => *number,
        _ => 0,
    };
    let fits = |file: Option<&File>| {
        let order = match compare.target {
            0 => file.map_or(0, |file| file.version).cmp(&asked(0)),
            1 => file.map_or(0, |file| signed(file.create)).cmp(&asked(1)),
            2 => file.map_or(0, |file| signed(file.modified)).cmp(&asked(2)),
            3 => {
                let Some(file) = file else { return false };
                let asked = match &compare.target_union {
                    Some(TargetUnion::Value(value)) => text(value),
                    _ => String::new(),
                };
                file.value.cmp(&asked)
            }
            _ => file.map_or(0, |file| file.lease).cmp(&asked(4)),
        };
        match compare.result {
            0 => order.is_eq(),
            1 => order.is_gt(),
            2 => order.is_lt(),
            _ => order.is_ne(),
        }
    };
    if found.is_empty() { fits(None) } else { found.iter().all(|(_, file)| fits(Some(file))) }
}

impl Run<'_> {
    fn revision(&self) -> u64 {
        if self.changes.is_empty() { self.model.index } else { self.main }
    }

    fn put(&mut self, request: &PutRequest, key_first: bool) -> Result<PutResponse, Refused> {
        let PutRequest { key, value, lease, prev_kv, ignore_value, ignore_lease } = request;
        let key = text(key);
        let prev = self.keys.get(&key).cloned();
        let is_missing = (*ignore_value || *ignore_lease) && prev.is_none();
        if key_first && is_missing {
            return Err(Refused::KeyNotFound);
        }
        if *lease != 0 && !self.model.leases.contains_key(lease) {
            return Err(Refused::LeaseNotFound);
        }
        if is_missing {
            return Err(Refused::KeyNotFound);
        }
        let old = prev.as_ref();
        let file = File {
            value: old.filter(|_| *ignore_value).map_or(text(value), |old| old.value.clone()),
            created: old.map_or(self.main, |old| old.created),
            modified: self.main,
            expiry: old.filter(|_| *ignore_lease).and_then(|old| old.expiry),
            create: old.map_or(self.main, |old| old.create),
            version: old.map_or(1, |old| old.version + 1),
            lease: old.filter(|_| *ignore_lease).map_or(*lease, |old| old.lease),
        };
        self.keys.insert(key.clone(), file.clone());
        self.changes.push(Change { key: key.clone(), now: Some(file), created: 0, lapse: false });
        let prev_kv = old.filter(|_| *prev_kv).map(|old| pair(&key, old));
        Ok(PutResponse { header: Some(header(self.main)), prev_kv })
    }

    fn delete(&mut self, key: &str, lapse: bool) {
        if let Some(file) = self.keys.remove(key) {
            let (key, created) = (key.to_owned(), file.created);
            self.changes.push(Change { key, now: None, created, lapse });
        }
    }

    fn delete_range(&mut self, request: &DeleteRangeRequest) -> DeleteRangeResponse {
        let found = find(&self.keys, &request.key, &request.range_end);
        let pairs: Vec<KeyValue> = found.iter().map(|(key, file)| pair(key, file)).collect();
        for one in &pairs {
            self.delete(&text(&one.key), false);
        }
        let deleted = signed(pairs.len() as u64);
        let prev_kvs = if request.prev_kv { pairs } else { Vec::new() };
        DeleteRangeResponse { header: Some(header(self.revision())), deleted, prev_kvs }
    }

    fn range(&self, request: &RangeRequest) -> Result<RangeResponse, Refused> {
        let (asked, now, compacted) = (request.revision, self.model.index, self.model.compacted);
        if asked > signed(now) {
            return Err(Refused::FutureRevision);
        }
        if asked != 0 && asked < compacted {
            return Err(Refused::Compacted);
        }
        let keys = match u64::try_from(asked) {
            Ok(at) if at > 0 => self.model.past.range(..=at).next_back().unwrap().1,
            _ => &self.keys,
        };
        Ok(range(keys, request, self.revision()))
    }

    /// Conditions look at what was there before the whole transaction.
    fn txn(&mut self, request: &TxnRequest) -> Result<TxnResponse, Refused> {
        let succeeded = request.compare.iter().all(|compare| holds(&self.model.keys, compare));
        let mut responses = Vec::new();
        for op in if succeeded { &request.success } else { &request.failure } {
            responses.push(ResponseOp { response: self.op(op)? });
        }
        Ok(TxnResponse { header: Some(ResponseHeader::default()), succeeded, responses })
    }

    fn op(&mut self, op: &RequestOp) -> Result<Option<response_op::Response>, Refused> {
        use response_op::Response::{ResponseDeleteRange, ResponsePut, ResponseRange, ResponseTxn};
        Ok(Some(match op.request.as_ref() {
            None => return Ok(None),
            Some(Request::RequestRange(request)) => ResponseRange(self.range(request)?),
            Some(Request::RequestPut(request)) => ResponsePut(self.put(request, true)?),
            Some(Request::RequestDeleteRange(request)) => {
                ResponseDeleteRange(self.delete_range(request))
            }
            Some(Request::RequestTxn(request)) => ResponseTxn(self.txn(request)?),
        }))
    }
}

/// Whether an operation writes a key to which it gives a value.
fn takes_room(op: &RequestOp) -> bool {
    match &op.request {
        Some(Request::RequestPut(_)) => true,
        Some(Request::RequestTxn(nested)) => {
            nested.success.iter().chain(&nested.failure).any(takes_room)
        }
        _ => false,
    }
}

impl Model {
    /// Runs a write, twice if its number is not the next one.
    fn write_v3<T>(
        &mut self,
        write: impl Fn(&mut Run<'_>) -> Result<T, Refused>,
    ) -> Result<T, Refused> {
        let mut main = self.index + 1;
        loop {
            let (keys, changes) = (self.keys.clone(), Vec::new());
            let mut run = Run { model: self, keys, changes, main };
            let answer = write(&mut run)?;
            let Run { keys, changes, .. } = run;
            let needed = self.index + self.numbers(&changes);
            if needed == main || changes.is_empty() {
                self.commit(keys, &changes);
                return Ok(answer);
            }
            main = needed;
        }
    }

    pub(super) fn put(&mut self, request: &PutRequest) -> Result<Reply, Refused> {
        if self.no_space {
            return Err(Refused::NoSpace);
        }
        self.write_v3(|run| run.put(request, false)).map(Reply::Put)
    }

    pub(super) fn delete_range(&mut self, request: &DeleteRangeRequest) -> Result<Reply, Refused> {
        self.write_v3(|run| Ok(run.delete_range(request))).map(Reply::DeleteRange)
    }

    pub(super) fn txn(&mut self, request: &TxnRequest) -> Result<Reply, Refused> {
        if self.no_space && request.success.iter().chain(&request.failure).any(takes_room) {
            return Err(Refused::NoSpace);
        }
        self.write_v3(|run| {
            let answer = run.txn(request)?;
            Ok(Reply::Txn(TxnResponse { header: Some(header(run.revision())), ..answer }))
        })
    }

    pub(super) fn grant(&mut self, id: i64, ttl: i64, granted: u64) -> Result<(), Refused> {
        if self.no_space {
            return Err(Refused::NoSpace);
        }
        if id == 0 {
            return Err(Refused::LeaseNotFound);
        }
        if ttl > 9_000_000_000 {
            return Err(Refused::LeaseTtlTooLarge);
        }
        if self.leases.contains_key(&id) {
            return Err(Refused::LeaseExists);
        }
        self.leases.insert(id, Lease { ttl, remaining: 0, granted });
        Ok(())
    }

    pub(super) fn revoke(&mut self, id: i64, expired: bool) -> Result<(), Refused> {
        self.leases.remove(&id).ok_or(Refused::LeaseNotFound)?;
        self.write_v3(|run| {
            for key in run.model.on_lease(id) {
                run.delete(&key, expired);
            }
            Ok(())
        })
    }

    pub(super) fn on_lease(&self, id: i64) -> Vec<String> {
        let keys = self.keys.iter().filter(|(_, file)| file.lease == id);
        keys.map(|(key, _)| key.clone()).collect()
    }
}
