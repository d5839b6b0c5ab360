//! What operators ask.

use std::{path::Path, sync::Arc};

use base::{Disk as _, disk::MemDisk};
use proto::etcdserverpb::{
    AlarmMember, AlarmRequest, AlarmResponse, AlarmType, CompactionRequest, CompactionResponse,
    DefragmentRequest, DefragmentResponse, HashKvRequest, HashKvResponse, HashRequest,
    HashResponse, MoveLeaderRequest, MoveLeaderResponse, SnapshotRequest, SnapshotResponse,
    StatusRequest, StatusResponse, alarm_request::AlarmAction,
};
use sha2::{Digest as _, Sha256};

use crate::{
    client::{Client, Failed, refused},
    leases::put,
    member::Member,
};

fn status(client: &Client) -> StatusResponse {
    client.call("/etcdserverpb.Maintenance/Status", &StatusRequest {}).unwrap()
}

fn alarm(
    client: &Client,
    action: i32,
    member_id: u64,
    alarm: i32,
) -> Result<AlarmResponse, Failed> {
    let asked = AlarmRequest { action, member_id, alarm };
    client.call("/etcdserverpb.Maintenance/Alarm", &asked)
}

/// The snapshot's content, without its checksum, which is verified.
fn snapshot(client: &Client) -> Vec<u8> {
    let mut stream =
        client.open::<SnapshotRequest, SnapshotResponse>("/etcdserverpb.Maintenance/Snapshot");
    stream.send(&SnapshotRequest {});
    stream.close();
    let mut file: Vec<u8> = Vec::new();
    let mut blobs: Vec<usize> = Vec::new();
    let mut remaining = None;
    while let Some(answer) = stream.next() {
        let answer = answer.unwrap();
        assert_eq!((answer.version.as_str(), answer.header), ("3.6.0", None));
        if blobs.len() > 1 || remaining != Some(0) {
            let content = remaining.unwrap_or(answer.remaining_bytes + answer.blob.len() as u64);
            let left = content - answer.blob.len() as u64;
            assert_eq!(answer.remaining_bytes, left, "after {} bytes", file.len());
            remaining = Some(left);
        }
        blobs.push(answer.blob.len());
        file.extend_from_slice(&answer.blob);
        if remaining == Some(0) && answer.blob.len() != 32 {
            // Then the checksum comes.
            let sum = stream.next().unwrap().unwrap();
            assert_eq!((sum.remaining_bytes, sum.blob.len()), (0, 32));
            assert_eq!(Sha256::digest(&file)[..], sum.blob[..]);
            assert_eq!(stream.next(), None);
        }
    }
    assert!(blobs.iter().all(|length| *length <= 1 << 20), "{blobs:?}");
    assert!(file.len().is_multiple_of(512), "etcd's clients look at that");
    file
}

#[test]
fn status_tells_where_the_member_stands() {
    let member = Member::start();
    let client = Client::connect(&member);
    put(&client, "a", 0).unwrap();
    let told = status(&client);
    let own = member.handle.member_id().0;
    assert_eq!((told.leader, told.header.unwrap().member_id), (own, own));
    assert_eq!(told.header.unwrap().revision, 2);
    assert_eq!(told.version, base::version::SERVER);
    assert_eq!(told.storage_version, "3.6.0");
    assert_eq!(told.raft_term, told.header.unwrap().raft_term);
    assert!(told.raft_index > 0 && told.raft_applied_index == told.raft_index);
    assert!(told.db_size > 0 && told.db_size_in_use >= 0);
    assert_eq!(told.db_size_quota, 2 << 30);
    assert!(!told.is_learner && told.errors.is_empty());
    assert!(!told.downgrade_info.unwrap().enabled);
}

#[test]
fn alarms_are_raised_listed_and_taken_back() {
    let member = Member::start();
    let client = Client::connect(&member);
    let (get, activate, deactivate) =
        (AlarmAction::Get as i32, AlarmAction::Activate as i32, AlarmAction::Deactivate as i32);
    let (none, no_space, corrupt) =
        (AlarmType::None as i32, AlarmType::Nospace as i32, AlarmType::Corrupt as i32);
    assert!(alarm(&client, get, 0, none).unwrap().alarms.is_empty());
    let index = status(&client).raft_index;
    alarm(&client, get, 0, none).unwrap();
    assert_eq!(status(&client).raft_index, index, "to list them nothing is written");
    let raised = AlarmMember { member_id: 5, alarm: no_space };
    assert_eq!(alarm(&client, activate, 5, no_space).unwrap().alarms, [raised]);
    for kind in [none, no_space] {
        assert_eq!(alarm(&client, get, 0, kind).unwrap().alarms, [raised]);
    }
    assert!(alarm(&client, get, 0, corrupt).unwrap().alarms.is_empty());
    assert_eq!(status(&client).errors, ["memberID:5 alarm:NOSPACE "]);
    refused(put(&client, "a", 0), 8, "etcdserver: mvcc: database space exceeded");
    assert!(alarm(&client, deactivate, 6, no_space).unwrap().alarms.is_empty());
    let taken = alarm(&client, deactivate, 5, no_space).unwrap();
    assert_eq!((taken.alarms, taken.header.unwrap().revision), (vec![raised], 1));
    put(&client, "a", 0).unwrap();
    // It makes the original crash.
    refused(alarm(&client, 9, 5, no_space), 3, "unknown alarm action");
    put(&client, "a", 0).unwrap();
}

#[test]
fn a_member_whose_data_differ_refuses_writes_but_can_be_asked() {
    let member = Member::start();
    let client = Client::connect(&member);
    put(&client, "a", 0).unwrap();
    let corrupt = AlarmType::Corrupt as i32;
    alarm(&client, AlarmAction::Activate as i32, 5, corrupt).unwrap();
    refused(put(&client, "a", 0), 15, "etcdserver: corrupt cluster");
    refused(crate::leases::grant(&client, 5, 0), 15, "etcdserver: corrupt cluster");
    assert_eq!(status(&client).errors, ["memberID:5 alarm:CORRUPT "]);
    alarm(&client, AlarmAction::Deactivate as i32, 5, corrupt).unwrap();
    put(&client, "a", 0).unwrap();
}

#[test]
fn there_is_nothing_to_defragment() {
    let member = Member::start();
    let client = Client::connect(&member);
    let done: DefragmentResponse =
        client.call("/etcdserverpb.Maintenance/Defragment", &DefragmentRequest {}).unwrap();
    assert_eq!(done, DefragmentResponse::default());
}

#[test]
fn only_a_voter_can_be_given_the_lead() {
    let member = Member::start();
    let client = Client::connect(&member);
    let give = |target_id| -> Result<MoveLeaderResponse, Failed> {
        client.call("/etcdserverpb.Maintenance/MoveLeader", &MoveLeaderRequest { target_id })
    };
    refused(give(1), 9, "etcdserver: bad leader transferee");
    give(member.handle.member_id().0).unwrap();
}

#[test]
fn a_snapshot_is_whole_and_can_be_restored() {
    let member = Member::start();
    let client = Client::connect(&member);
    for key in 0..300 {
        put(&client, &format!("key{key}"), 0).unwrap();
    }
    crate::leases::grant(&client, 60, 7).unwrap();
    let file = snapshot(&client);
    let disk = MemDisk::new(9);
    let (dir, path) = (Path::new("/restored"), Path::new("/restored/keyspace"));
    disk.create_dir_all(dir).unwrap();
    let options = backend::Options { cache_bytes: 1 << 20 };
    let mut content = file.clone();
    content.extend_from_slice(&Sha256::digest(&file));
    let head =
        backend::load(&mut &content[..], backend::Sum::Needed, &disk, path, &options).unwrap();
    assert_eq!(head.applied.index, member.handle.status().applied);
    let restored = backend::Backend::open(Arc::new(disk), path, options).unwrap();
    let rows = restored.scan(backend::Table::Records, b"", None, usize::MAX).unwrap();
    assert_eq!(rows.len(), 300, "what was acknowledged is in it");
    let meta = restored.scan(backend::Table::Meta, b"state.lease/", Some(b"state.lease0"), 9);
    assert_eq!(meta.unwrap().len(), 1);
}

/// Nobody can have the server hold any number of them.
#[test]
fn so_many_snapshots_are_saved_at_once() {
    let member = Member::start();
    let client = Client::connect(&member);
    let big = "x".repeat(1 << 20);
    for key in 0..4 {
        member.put(&format!("/big{key}"), &big);
    }
    let open = || {
        let mut stream =
            client.open::<SnapshotRequest, SnapshotResponse>("/etcdserverpb.Maintenance/Snapshot");
        stream.send(&SnapshotRequest {});
        stream.close();
        stream
    };
    // They have begun, and nobody takes the rest.
    let mut held: Vec<_> = (0..base::limits::SNAPSHOTS_SAVED_MAX).map(|_| open()).collect();
    for stream in &mut held {
        stream.next().unwrap().unwrap();
    }
    let text =
        "etcdserver: 4 snapshots are on their way to clients already: ask again when one has ended";
    refused(open().next().unwrap(), 8, text);
    drop(held);
    crate::member::eventually("there is room again", || open().next().unwrap().is_ok());
}

fn hash_kv(client: &Client, revision: i64) -> Result<HashKvResponse, Failed> {
    client.call("/etcdserverpb.Maintenance/HashKV", &HashKvRequest { revision })
}

#[test]
fn hashes_are_of_what_is_there() {
    let member = Member::start();
    let client = Client::connect(&member);
    for key in ["a", "b", "a"] {
        put(&client, key, 0).unwrap();
    }
    let all = hash_kv(&client, 0).unwrap();
    assert_eq!((all.hash_revision, all.compact_revision), (4, -1));
    assert_eq!(all.header.unwrap().revision, 4);
    let before = hash_kv(&client, 3).unwrap();
    assert_eq!((before.hash_revision, before.header.unwrap().revision), (3, 4));
    assert_ne!(before.hash, all.hash);
    assert_eq!(hash_kv(&client, 4).unwrap().hash, all.hash);
    let text = "etcdserver: mvcc: required revision is a future revision";
    refused(hash_kv(&client, 5), 11, text);
    let compact = CompactionRequest { revision: 4, physical: true };
    let _: CompactionResponse = client.call("/etcdserverpb.KV/Compact", &compact).unwrap();
    let text = "etcdserver: mvcc: required revision has been compacted";
    refused(hash_kv(&client, 3), 11, text);
    assert_eq!(hash_kv(&client, 0).unwrap().compact_revision, 4);
    let hash = || -> HashResponse {
        client.call("/etcdserverpb.Maintenance/Hash", &HashRequest {}).unwrap()
    };
    let first = hash();
    assert_eq!(first.header.unwrap().revision, 4);
    assert_eq!(hash().hash, first.hash);
    put(&client, "c", 0).unwrap();
    assert_ne!(hash().hash, first.hash);
}
