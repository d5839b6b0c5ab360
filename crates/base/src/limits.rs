//! Every bound of the product, by name. A limit that is not here is not a limit.

use std::time::Duration;

/// One request's payload: what v3 calls `--max-request-bytes`, and the largest v2 form.
pub const REQUEST_BYTES_MAX: usize = 1_572_864;
/// More than this no member may be told to take (`--max-request-bytes`): it is what an entry of the
/// log and a row of the keyspace can be.
pub const REQUEST_BYTES_CEILING: usize = 16 << 20;
/// Watches of v3 on one stream.
pub const WATCHES_PER_STREAM_MAX: usize = 100_000;
/// Watches of all clients of a gRPC proxy, and ranges and tokens among them, each of which is a watch of
/// its own at the members.
pub const GRPC_PROXY_WATCHES_MAX: usize = 500_000;
pub const GRPC_PROXY_UPSTREAM_WATCHES_MAX: usize = 8_192;
/// Events of v3 that are told in one message, if they are of several revisions: a revision is never
/// cut.
pub const WATCH_BATCH_BYTES: usize = 64 * 1024;
/// With so much of one revision a message goes out to who takes fragments; for others a larger one is made
/// while it is sent.
pub const WATCH_FRAGMENT_BYTES: usize = 1 << 20;
/// What such a message may be, as clients of gRPC take them (etcd): a watch that has to tell more is canceled.
pub const WATCH_MESSAGE_BYTES_MAX: u64 = i32::MAX as u64;
/// What our client puts together of fragments, in memory.
pub const WATCH_PARTS_BYTES_MAX: usize = 128 << 20;
/// A request line and its headers together.
pub const REQUEST_HEAD_BYTES_MAX: usize = 64 * 1024;
/// Headers of one request.
pub const REQUEST_HEADERS_MAX: usize = 100;
/// A key of v2, in bytes. One of v3 is bounded by its request alone, as in etcd.
pub const KEY_BYTES_MAX: usize = 64 * 1024;
/// Commands that wait for the raft thread.
pub const PROPOSALS_WAITING_MAX: usize = 10_000;
/// Their bytes.
pub const PROPOSAL_BYTES_WAITING_MAX: usize = 64 << 20;
/// Commands that wait besides, of those that end a lease or make room.
pub const URGENT_PROPOSALS_WAITING_MAX: usize = 1_000;
/// Commands of a member that are on their way into the leader's log, beyond which it proposes no more: of
/// each it is known whether it is lost if the leader changes. And the bytes of those that can be proposed
/// again then.
pub const PROPOSALS_UNDER_WAY_MAX: usize = 65_536;
pub const PROPOSAL_BYTES_UNDER_WAY_MAX: usize = 64 << 20;
/// Who writes is refused once more than so many wait for an answer, and one of them for this part of an
/// election timeout: how many can be answered in a time depends on the machine, and on how far away the
/// other members are. Fewer are never refused, for etcd would take them too.
pub const WRITES_IN_A_CROWD: usize = 4_000;
pub const CROWD_PATIENCE_PART: u32 = 4;
/// Proposals are refused once so many committed entries wait to be applied (etcd: 5,000), urgent ones once
/// it is twice as many (etcd 3.7).
pub const COMMITTED_UNAPPLIED_MAX: u64 = 5_000;
/// Uncommitted bytes in the raft log before proposals are refused.
pub const UNCOMMITTED_BYTES_MAX: u64 = 64 << 20;
/// And their bytes.
pub const UNAPPLIED_BYTES_MAX: usize = 64 << 20;
/// Bytes of committed entries that one step hands to apply.
pub const COMMITTED_BYTES_PER_STEP_MAX: u64 = 4 << 20;
/// A follower acknowledges no entries while so much of what is committed has not reached its keyspace's
/// file: then the leader sends it no more.
pub const FOLLOWER_BACKLOG_BYTES_MAX: usize = 16 << 20;
/// What a leader keeps in files of what members that lag still need; about as much as a keyspace: who
/// needs more is as well served by a snapshot.
pub const CATCH_UP_BYTES_MAX: u64 = 1 << 30;
/// Table changes that wait in memory for the flusher.
pub const TAIL_BYTES_MAX: usize = 64 << 20;
/// The flusher writes once the tail holds so much, or after [`FLUSH_INTERVAL`].
pub const TAIL_FLUSH_BYTES: usize = 512 << 10;
/// An idle tail is written after this long.
pub const FLUSH_INTERVAL: Duration = Duration::from_secs(1);
/// Commits that wait for one watcher before it is fed from history instead.
pub const WATCHER_COMMITS_WAITING_MAX: usize = 64;
/// Their bytes, if they are more than one commit.
pub const WATCHER_BYTES_WAITING_MAX: usize = 256 << 10;
/// Records of a commit that a watcher of keys passes through to find its own; with more it reads its
/// own from history.
pub const WATCHER_RECORDS_WAITING_MAX: usize = 1_000;
/// Nodes that one expire command takes.
pub const EXPIRE_NODES_MAX: usize = 1_000;
/// Space quota in live bytes unless set (`--quota-backend-bytes`).
pub const QUOTA_BYTES_DEFAULT: u64 = 2 << 30;
/// History beyond this many revisions is compacted when nobody else does.
pub const HISTORY_REVISIONS_MAX: u64 = 5_000_000;
/// The newest revisions that such a compaction keeps.
pub const HISTORY_REVISIONS_KEPT: i64 = 10_000;
/// A time to live of a lease, in seconds (etcd).
pub const LEASE_TTL_MAX: i64 = 9_000_000_000;
/// Passwords that wait to be checked or hashed, and those of one user at one host.
pub const PASSWORDS_WAITING_MAX: usize = 1_024;
pub const PASSWORDS_OF_LANE_WAITING_MAX: usize = 64;
/// Credentials of v2 that were found right, and are remembered.
pub const CREDENTIALS_MAX: usize = 10_000;
/// How long a token lives that nobody uses, unless set (`--auth-token-ttl`, etcd).
pub const TOKEN_TTL_DEFAULT: Duration = Duration::from_mins(5);
/// Tokens that a member knows at once; beyond that it forgets those that have rested longest.
pub const TOKENS_MAX: usize = 100_000;
/// Leases whose time is over are revoked so many at a time, and in a second (etcd).
pub const LEASE_REVOCATIONS_IN_FLIGHT_MAX: usize = 16;
pub const LEASE_REVOCATIONS_PER_SECOND_MAX: usize = 1_000;
/// The leader notes down so often what is left of leases that live longer than that (etcd), so many
/// in one command.
pub const LEASE_CHECKPOINT_INTERVAL: Duration = Duration::from_mins(5);
pub const LEASE_CHECKPOINTS_MAX: usize = 1_000;
/// Transactions inside one another: what is deeper could not be read back from the log.
pub const TXN_DEPTH_MAX: usize = 32;
/// An answer that is in memory as a whole: of a transaction, of a deletion with what was there, and
/// of a range that is sorted by something else than its keys. Applying refuses what exceeds it, so
/// members must agree on it.
pub const ANSWER_BYTES_MAX: usize = 64 << 20;
/// All answers under way together, those of [`ANSWER_SMALL_BYTES_MAX`] aside: what is made of them,
/// and what clients have not taken yet.
pub const ANSWERS_BYTES_MAX: usize = 256 << 20;
/// Of these, the answers on one connection, unless it is a single one: four clients that read nothing
/// still leave others room until they are sent away.
pub const ANSWERS_OF_CONNECTION_BYTES_MAX: usize = ANSWERS_BYTES_MAX / 4;
/// Answers that wait for room.
pub const ANSWERS_WAITING_MAX: usize = 10_000;
/// How long an answer waits for room, if its client has the patience.
pub const ANSWER_PATIENCE: Duration = Duration::from_secs(20);
/// An answer up to this is made at once, and asks for no room as long as few are under way on its
/// connection.
pub const ANSWER_SMALL_BYTES_MAX: usize = 64 << 10;
/// Names of the keyspace that are looked at for such an answer.
pub const ANSWER_SMALL_NAMES_MAX: usize = 1_000;
/// Such answers on one connection; with more under way, they ask for room as well.
pub const SMALL_ANSWERS_BYTES_MAX: usize = 64 << 10;
/// What is smaller is not counted: its stream takes more than it does, and streams have a bound in
/// number.
pub const ANSWER_TINY_BYTES_MAX: usize = 1 << 10;
/// Reads that look at more of the keyspace than a small answer does, at once.
pub const LONG_READS_MAX: usize = 4;

/// Snapshots of the keyspace that clients save at once.
pub const SNAPSHOTS_SAVED_MAX: usize = 4;

/// Changes of the members that wait to be proposed: raft carries out one at a time.
pub const CHANGES_WAITING_MAX: usize = 16;

/// Different things that are said in the log within a minute; of the same there is one line.
pub const COMPLAINTS_MAX: usize = 256;
