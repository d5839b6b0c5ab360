//! What a client of gRPC may send that no client would: every field with every value.

use std::time::Duration;

use client::v3::Client;
use fastrand::Rng;
use proto::etcdserverpb::{
    AlarmRequest, CompactionRequest, Compare, DefragmentRequest, DeleteRangeRequest,
    DowngradeRequest, HashKvRequest, HashRequest, LeaseGrantRequest, LeaseLeasesRequest,
    LeaseRevokeRequest, LeaseTimeToLiveRequest, MemberAddRequest, MemberListRequest,
    MemberPromoteRequest, MemberRemoveRequest, MemberUpdateRequest, MoveLeaderRequest, PutRequest,
    RangeRequest, RequestOp, StatusRequest, TxnRequest, WatchCreateRequest, compare::TargetUnion,
    request_op::Request,
};

const KEYS: [&str; 10] = ["", "\0", "a", "b", "b\0", "/a", "/a/b", "/a/", "//", "zz"];
const NUMBERS: [i64; 12] =
    [0, 0, 1, 2, 3, -1, -2, i64::MAX, i64::MAX - 1, i64::MIN, 1 << 32, 9_000_000_000];
/// Above what protocol buffers know of any enumeration here, too.
const KINDS: [i32; 9] = [0, 1, 2, 3, 4, 5, -1, i32::MAX, i32::MIN];

/// Random requests of one client.
pub(crate) struct Wild {
    pub(crate) random: Rng,
    /// Near where the keyspace stands.
    pub(crate) revision: i64,
    /// So many operations the transaction under way may still have.
    operations: usize,
}

/// Operations of one transaction, with those inside.
const OPERATIONS_MAX: usize = 400;

impl Wild {
    pub(crate) fn new(seed: u64) -> Self {
        Self { random: Rng::with_seed(seed), revision: 1, operations: 0 }
    }

    /// Sends a request to somebody, and takes the answer, whatever it is.
    pub(crate) async fn step(&mut self, client: &Client) {
        match self.random.u8(0..100) {
            0..25 => {
                if let Ok(answer) = client.put(self.put()).await {
                    self.revision = answer.header.map_or(0, |header| header.revision);
                }
            }
            25..40 => drop(client.range(self.range()).await),
            40..50 => drop(client.delete_range(self.delete_range()).await),
            50..75 => {
                // Mostly flat; now and then deeper than is allowed.
                let depth = if self.chance(3) { 40 } else { self.random.u32(0..4) };
                self.operations = OPERATIONS_MAX;
                drop(client.txn(self.txn(depth)).await);
            }
            75..78 => {
                let request =
                    CompactionRequest { revision: self.number(), physical: self.random.bool() };
                drop(client.compact(request).await);
            }
            78..84 => self.lease(client).await,
            84..88 => self.watch(client).await,
            88..96 => self.maintenance(client).await,
            _ => self.cluster(client).await,
        }
    }

    async fn lease(&mut self, client: &Client) {
        let id = self.id();
        match self.random.u8(0..5) {
            0 => drop(client.lease_grant(LeaseGrantRequest { id, ttl: self.number() }).await),
            1 => drop(client.lease_revoke(LeaseRevokeRequest { id }).await),
            2 => {
                let request = LeaseTimeToLiveRequest { id, keys: self.random.bool() };
                drop(client.lease_time_to_live(request).await);
            }
            3 => drop(client.lease_leases(LeaseLeasesRequest {}).await),
            _ => drop(client.keep_alive_once(id).await),
        }
    }

    /// A watch, of which some answers are read.
    async fn watch(&mut self, client: &Client) {
        let request = WatchCreateRequest {
            key: self.key(),
            range_end: self.range_end(),
            start_revision: self.number(),
            progress_notify: self.random.bool(),
            filters: (0..self.random.usize(0..3)).map(|_| self.kind()).collect(),
            prev_kv: self.random.bool(),
            watch_id: self.number(),
            fragment: self.random.bool(),
        };
        let mut watcher = client.watch(request);
        watcher.asker().ask();
        for _ in 0..self.random.u8(0..4) {
            let next = tokio::time::timeout(Duration::from_millis(50), watcher.next());
            if !matches!(next.await, Ok(Ok(_))) {
                break;
            }
        }
    }

    async fn maintenance(&mut self, client: &Client) {
        match self.random.u8(0..8) {
            0 => drop(client.status(StatusRequest {}).await),
            1 => drop(client.hash(HashRequest {}).await),
            2 => drop(client.hash_kv(HashKvRequest { revision: self.number() }).await),
            3 => drop(client.defragment(DefragmentRequest {}).await),
            4 => {
                // One that stops all writes is taken back.
                let kind = self.kind();
                let member_id = self.number().cast_unsigned();
                let alarm = |action| AlarmRequest { action, member_id, alarm: kind };
                drop(client.alarm(alarm(self.kind())).await);
                drop(client.alarm(alarm(2)).await);
            }
            5 => {
                let target_id = self.number().cast_unsigned();
                drop(client.move_leader(MoveLeaderRequest { target_id }).await);
            }
            6 => {
                let version = ["", "3.6", "3.5.0", "9.9", "x", "-1"];
                let version = version[self.random.usize(0..version.len())].to_owned();
                // Only looked at: the members are to be of one version in the end.
                drop(client.downgrade(DowngradeRequest { action: 0, version }).await);
            }
            _ => {
                if let Ok(mut snapshot) = client.snapshot().await {
                    drop(snapshot.next().await);
                }
            }
        }
    }

    /// Nothing that could be carried out.
    async fn cluster(&mut self, client: &Client) {
        let id = self.number().cast_unsigned();
        let urls = ["", "x", "http://", "ftp://a:1", "http://127.0.0.1", "http://a:1/path"];
        let peer_ur_ls = vec![urls[self.random.usize(0..urls.len())].to_owned()];
        match self.random.u8(0..5) {
            0 => {
                let request = MemberAddRequest { peer_ur_ls, is_learner: self.random.bool() };
                drop(client.member_add(request).await);
            }
            1 => drop(client.member_remove(MemberRemoveRequest { id }).await),
            2 => drop(client.member_update(MemberUpdateRequest { id, peer_ur_ls }).await),
            3 => drop(client.member_promote(MemberPromoteRequest { id }).await),
            _ => drop(client.member_list(MemberListRequest { linearizable: true }).await),
        }
    }

    fn put(&mut self) -> PutRequest {
        let length = if self.chance(2) { self.random.usize(0..100_000) } else { 3 };
        let ignore_value = self.chance(15);
        let value =
            if ignore_value && !self.chance(10) { String::new() } else { "v".repeat(length) };
        let ignore_lease = self.chance(15);
        let lease = if ignore_lease && !self.chance(10) { 0 } else { self.id() };
        PutRequest {
            key: self.key(),
            value: value.into(),
            lease: if self.chance(60) { 0 } else { lease },
            prev_kv: self.random.bool(),
            ignore_value,
            ignore_lease,
        }
    }

    fn range(&mut self) -> RangeRequest {
        let mut sometimes = |percent| if self.chance(percent) { self.number() } else { 0 };
        let (limit, revision) = (sometimes(40), sometimes(40));
        let bounds = [sometimes(10), sometimes(10), sometimes(10), sometimes(10)];
        RangeRequest {
            key: self.key(),
            range_end: self.range_end(),
            limit,
            revision,
            sort_order: self.kind(),
            sort_target: self.kind(),
            serializable: self.random.bool(),
            keys_only: self.random.bool(),
            count_only: self.chance(10),
            min_mod_revision: bounds[0],
            max_mod_revision: bounds[1],
            min_create_revision: bounds[2],
            max_create_revision: bounds[3],
        }
    }

    fn delete_range(&mut self) -> DeleteRangeRequest {
        let (key, range_end) = (self.key(), self.range_end());
        DeleteRangeRequest { key, range_end, prev_kv: self.random.bool() }
    }

    fn txn(&mut self, depth: u32) -> TxnRequest {
        let compare = (0..self.random.usize(0..3)).map(|_| self.compare()).collect();
        let success = self.branch(depth);
        let failure = if self.random.bool() { self.branch(depth) } else { Vec::new() };
        TxnRequest { compare, success, failure }
    }

    fn branch(&mut self, depth: u32) -> Vec<RequestOp> {
        // The deep ones are narrow.
        let count = match self.random.u8(0..50) {
            _ if depth > 4 => 1,
            0 => 130,
            _ => self.random.usize(0..5),
        };
        let count = count.min(self.operations);
        self.operations -= count;
        (0..count).map(|_| RequestOp { request: self.operation(depth) }).collect()
    }

    fn operation(&mut self, depth: u32) -> Option<Request> {
        Some(match self.random.u8(0..100) {
            _ if depth > 4 => Request::RequestTxn(self.txn(depth - 1)),
            40..60 => Request::RequestDeleteRange(self.delete_range()),
            60..75 => Request::RequestRange(self.range()),
            75..99 if depth > 0 => Request::RequestTxn(self.txn(depth - 1)),
            0..40 | 75..99 => Request::RequestPut(self.put()),
            _ => return None,
        })
    }

    fn compare(&mut self) -> Compare {
        let target_union = match self.random.u8(0..6) {
            0 => Some(TargetUnion::Version(self.number())),
            1 => Some(TargetUnion::CreateRevision(self.number())),
            2 => Some(TargetUnion::ModRevision(self.number())),
            3 => Some(TargetUnion::Value("vvv".into())),
            4 => Some(TargetUnion::Lease(self.id())),
            _ => None,
        };
        let (result, target) = (self.kind(), self.kind());
        Compare { result, target, key: self.key(), range_end: self.range_end(), target_union }
    }

    fn key(&mut self) -> bytes::Bytes {
        // Mostly one that is a key.
        let from = usize::from(!self.chance(3));
        KEYS[self.random.usize(from..KEYS.len())].into()
    }

    fn range_end(&mut self) -> bytes::Bytes {
        match self.random.u8(0..10) {
            0..5 => "".into(),
            5..7 => "\0".into(),
            _ => KEYS[self.random.usize(0..KEYS.len())].into(),
        }
    }

    /// Sensible, as often as not.
    fn number(&mut self) -> i64 {
        if self.random.bool() {
            return self.revision.saturating_add(self.random.i64(-20..3));
        }
        NUMBERS[self.random.usize(0..NUMBERS.len())]
    }

    fn id(&mut self) -> i64 {
        if self.chance(80) { self.random.i64(1..6) } else { self.number() }
    }

    fn kind(&mut self) -> i32 {
        let up_to = if self.chance(85) { 3 } else { KINDS.len() };
        KINDS[self.random.usize(0..up_to)]
    }

    fn chance(&mut self, percent: u8) -> bool {
        self.random.u8(0..100) < percent
    }
}
