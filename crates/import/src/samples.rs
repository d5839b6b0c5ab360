//! Whole data directories of the original, made here as 3.5 and later write them: for tests, and for
//! what `fuzz/` makes of them.

use std::{path::Path, sync::Arc};

use backend::Backend;
use base::{Disk, Open, version::THIS};
use member::{Bootstrap, Place, initial};
use prost::Message as _;
use proto::{
    etcdserverpb::{
        DeleteRangeRequest, LeaseCheckpoint, LeaseCheckpointRequest, LeaseGrantRequest, PutRequest,
        RequestOp, TxnRequest, request_op,
    },
    mvccpb::KeyValue,
};
use serde_json::json;
use state::State;

use crate::{
    Import, ImportError, Imported,
    bolt::making::Content,
    import,
    messages::{Entry, Lease, MemberAttributes, Present, RaftRequest, RequestHeader},
};

pub(crate) const SNAP: &str = "/from/member/snap";
pub(crate) const WAL: &str = "/from/member/wal";
/// The last entry that is in the file.
pub(crate) const CONSISTENT: u64 = 7;

/// What real etcd 3.4 and 3.5, 3.6 write there.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Version {
    V3_5,
    V3_6,
}

/// What the file holds at [`CONSISTENT`].
pub(crate) fn buckets(version: Version, leases: &[Lease]) -> Vec<(&'static str, Content)> {
    let mut meta = vec![
        (b"confState".to_vec(), br#"{"voters":[1],"auto_leave":false}"#.to_vec()),
        (b"consistent_index".to_vec(), CONSISTENT.to_be_bytes().to_vec()),
    ];
    if version == Version::V3_6 {
        meta.push((b"storageVersion".to_vec(), b"3.6.0".to_vec()));
    }
    meta.push((b"term".to_vec(), 2_u64.to_be_bytes().to_vec()));
    let text = |key: &str, value: &str| (key.as_bytes().to_vec(), value.as_bytes().to_vec());
    let keys = vec![pair(2, "a", "1", (2, 1), 0), pair(3, "b", "x", (3, 1), 7)];
    let leases =
        leases.iter().map(|lease| (lease.id.to_be_bytes().to_vec(), lease.encode_to_vec()));
    vec![
        ("alarm", Content::Inline(Vec::new())),
        ("auth", Content::Inline(vec![(b"authRevision".to_vec(), 1_u64.to_be_bytes().to_vec())])),
        ("authRoles", Content::Inline(Vec::new())),
        ("authUsers", Content::Inline(Vec::new())),
        (
            "cluster",
            Content::Inline(vec![
                text("clusterVersion", "3.5.0"),
                text("downgrade", r#"{"target-version":"","enabled":false}"#),
            ]),
        ),
        ("key", Content::Rows(keys)),
        ("lease", Content::Rows(leases.collect())),
        ("members", Content::Inline(vec![text("8e9e05c52164694d", r#"{"id":1,"name":"a"}"#)])),
        ("members_removed", Content::Inline(vec![text("2", "removed")])),
        ("meta", Content::Inline(meta)),
    ]
}

pub(crate) fn pair(
    main: i64,
    key: &str,
    value: &str,
    (create_revision, version): (i64, i64),
    lease: i64,
) -> (Vec<u8>, Vec<u8>) {
    let name = [&main.to_be_bytes()[..], b"_", &[0; 8]].concat();
    let (key, value) = (key.to_owned().into(), value.to_owned().into());
    let pair = KeyValue { key, value, create_revision, version, mod_revision: main, lease };
    (name, pair.encode_to_vec())
}

pub(crate) fn put(key: &str, value: &str, lease: i64) -> PutRequest {
    let (key, value) = (key.to_owned().into(), value.to_owned().into());
    PutRequest { key, value, lease, ..PutRequest::default() }
}

/// All entries, of which those after [`CONSISTENT`] are not in the file, and the last one was
/// not known to be committed.
pub(crate) fn entries() -> Vec<Entry> {
    let client = || RaftRequest { header: Some(RequestHeader::default()), ..Default::default() };
    let change = json!({"id": 1, "peerURLs": ["http://a:2380"]}).to_string();
    let change = crate::messages::ConfChange { kind: 0, context: change.into() };
    let requests = [
        None,
        None,
        Some(RaftRequest { cluster_member_attr_set: Some(MemberAttributes {}), ..client() }),
        Some(RaftRequest { cluster_version_set: Some(Present {}), ..client() }),
        Some(RaftRequest { put: Some(put("a", "1", 0)), ..client() }),
        Some(RaftRequest { lease_grant: Some(LeaseGrantRequest { id: 7, ttl: 100 }), ..client() }),
        Some(RaftRequest { put: Some(put("b", "x", 7)), ..client() }),
        Some(RaftRequest { put: Some(put("a", "2", 0)), ..client() }),
        Some(RaftRequest {
            lease_checkpoint: Some(LeaseCheckpointRequest {
                checkpoints: vec![LeaseCheckpoint { id: 7, remaining_ttl: 40 }],
            }),
            ..client()
        }),
        Some(RaftRequest { txn: Some(both()), ..client() }),
        None,
        Some(RaftRequest { put: Some(put("late", "4", 0)), ..client() }),
    ];
    let mut all = Vec::new();
    for (request, index) in requests.into_iter().zip(1..) {
        // The first is a change of the members, and so is the eleventh, of the newer kind.
        let (kind, data) = match (index, request) {
            (1, _) => (1, change.encode_to_vec()),
            (11, _) => (2, Vec::new()),
            (_, request) => (0, request.map_or_else(Vec::new, |one| one.encode_to_vec())),
        };
        all.push(Entry { kind, term: 2, index, data: data.into() });
    }
    all
}

/// A transaction that puts and deletes.
pub(crate) fn both() -> TxnRequest {
    let op = |request| RequestOp { request: Some(request) };
    let delete = DeleteRangeRequest { key: "b".into(), ..DeleteRangeRequest::default() };
    TxnRequest {
        success: vec![
            op(request_op::Request::RequestPut(put("c", "3", 0))),
            op(request_op::Request::RequestDeleteRange(delete)),
        ],
        ..TxnRequest::default()
    }
}

pub(crate) fn write(disk: &dyn Disk, path: &Path, bytes: &[u8]) {
    disk.create_dir_all(path.parent().unwrap()).unwrap();
    disk.open(path, Open::Create).unwrap().write_at(bytes, 0).unwrap();
}

pub(crate) const LEASE: Lease = Lease { id: 7, ttl: 100, remaining: 60 };

/// Imports what is there, by settings that are changed first.
pub(crate) fn imported_as(
    disk: &Arc<dyn Disk>,
    from: &str,
    change: impl FnOnce(&mut Import<'_>),
) -> Result<Imported, ImportError> {
    let all = [("a".to_owned(), vec!["http://a:2380".to_owned()])];
    let own = initial::own("a", &all).unwrap();
    let mut what = Import {
        from: Path::new(from),
        from_wal: None,
        to: &Place { data_dir: "/to".into(), wal_dir: None },
        as_whom: &Bootstrap::of_all(&all, own, "token"),
        prefer: None,
        without_auth: false,
    };
    change(&mut what);
    import(disk, &what, &mut |_| {})
}

pub(crate) fn opened(disk: &Arc<dyn Disk>) -> State {
    let path = Path::new("/to/member/keyspace");
    let options = backend::Options { cache_bytes: 1 << 20 };
    let backend = Backend::open(Arc::clone(disk), path, options).unwrap();
    State::open(Arc::new(backend), THIS).unwrap()
}
