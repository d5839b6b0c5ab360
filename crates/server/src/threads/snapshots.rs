//! Snapshots: a thread for each that is sent, and for the one that comes.
//!
//! Reading and writing a keyspace takes as long as it takes; raft and the network go on.

use std::{
    fmt,
    path::PathBuf,
    sync::{
        Arc,
        atomic::Ordering::{AcqRel, Release},
    },
    thread,
    time::Duration,
};

use backend::{Export, Incoming, Options};
use base::{Disk, Index, MemberId};
use member::PeerMessage;
use peer::{Arriving, Piece};
use rustix::{process::setpriority_process, thread::gettid};
use state::State;
use tokio::{runtime, sync::mpsc};

use super::spawn;
use crate::{failure::Failure, shared::Shared, threads::raft::SharedRaft};

/// What is read, sent and written at once.
const CHUNK_BYTES: usize = 256 << 10;
/// How long taking one in may pause after a chunk.
const BREAK_MAX: Duration = Duration::from_millis(200);
/// Between two tries to send one, the first time: each reads and flushes, here and there.
const RETRY_PAUSE: Duration = Duration::from_secs(1);
/// So often it doubles.
const RETRY_DOUBLINGS: u32 = 4;
/// As `nice` has it.
const NICE: i32 = 15;
/// Chunks on their way to the network.
const CHUNKS_WAITING: usize = 2;

/// Where the keyspace of a snapshot gathers.
#[derive(Debug)]
pub(crate) struct Place {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) path: PathBuf,
    pub(crate) options: Options,
}

impl Place {
    /// Removes what is there, whole or not.
    pub(crate) fn discard(&self) {
        if let Err(error) = backend::discard(self.disk.as_ref(), &self.path) {
            tracing::warn!(%error, "cannot remove a snapshot that is not wanted");
        }
    }
}

/// Why a snapshot is not taken in.
#[derive(Debug)]
enum Untaken {
    NoRoom { path: PathBuf, needed: u64, free: u64 },
    Failed(String),
}

impl fmt::Display for Untaken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoRoom { path, needed, free } => write!(
                f,
                "no room for it: {} would take about {needed} bytes, and {free} are free on its \
                 disk: free space there, and it is sent again",
                path.display()
            ),
            Self::Failed(why) => f.write_str(why),
        }
    }
}

impl From<String> for Untaken {
    fn from(why: String) -> Self {
        Self::Failed(why)
    }
}

impl From<&str> for Untaken {
    fn from(why: &str) -> Self {
        Self::Failed(why.to_owned())
    }
}

impl Untaken {
    /// By which it is known if it happens again.
    fn kind(&self) -> &str {
        match self {
            Self::NoRoom { .. } => "no room for a snapshot",
            Self::Failed(why) => why,
        }
    }
}

/// This thread gets the processor when nobody else wants it: clients come first.
pub(crate) fn yield_to_others() {
    if let Err(error) = setpriority_process(Some(gettid()), NICE) {
        tracing::debug!(%error, "cannot lower a thread's priority");
    }
}

/// Sends a snapshot to the follower that this message is for; raft hears how that ended.
pub(crate) fn send(shared: &Arc<Shared>, raft: &SharedRaft, message: PeerMessage) {
    let to = message.to();
    let (by_thread, raft) = (Arc::clone(shared), Arc::clone(raft));
    let network = shared.runtime.clone();
    let sending = spawn("snapshot-out", shared, move || {
        yield_to_others();
        let began = by_thread.now();
        let sent = send_now(&by_thread, &raft, network, &message);
        let took = by_thread.now().saturating_sub(began);
        match &sent {
            Ok(index) => {
                tracing::info!(%to, index = index.0, ?took, "sent a snapshot");
                by_thread.snapshots_failed.lock().remove(&to);
            }
            Err(why) => {
                if let Some(times) = by_thread.complain(to, why) {
                    tracing::warn!(%to, ?took, times, "could not send a snapshot: {why}");
                }
                let pause = pause(by_thread.snapshots_failed.lock().entry(to).or_default());
                thread::park_timeout(pause);
            }
        }
        by_thread.inbox.snapshot_sent(to, sent.is_ok());
        Ok(())
    });
    if let Err(error) = sending {
        tracing::warn!(%to, %error, "cannot start a thread to send a snapshot");
        shared.inbox.snapshot_sent(to, false);
    }
}

/// How long to wait after one more failure. A follower without room, say, has none a second later.
fn pause(failures: &mut u32) -> Duration {
    let pause = RETRY_PAUSE * 2u32.pow((*failures).min(RETRY_DOUBLINGS));
    *failures = failures.saturating_add(1);
    pause
}

fn send_now(
    shared: &Arc<Shared>,
    raft: &SharedRaft,
    network: Option<runtime::Handle>,
    message: &PeerMessage,
) -> Result<Index, String> {
    let network = network.ok_or("there is no network")?;
    let peers = shared.peers.get().ok_or("there is no network")?;
    if *shared.fenced.borrow() {
        return Err("this member's data differ from those of the others".to_owned());
    }
    let wanted = message.snapshot().ok_or("it is none")?.index;
    while shared.backend.durable().index < wanted {
        shared.backend.flush().map_err(|error| error.to_string())?;
    }
    let export = shared.backend.export();
    let conf_state = State::exported_conf_state(&export).map_err(|error| error.to_string())?;
    let applied = export.applied();
    let bytes = export.row_bytes();
    let header = conf_state.and_then(|row| message.of_snapshot(applied, &row, bytes));
    let header = header.ok_or("the keyspace does not say who votes")?;
    let to = message.to();
    tracing::info!(%to, index = applied.index.0, "sending a snapshot to a member that lags");
    raft.lock().core.hold(to, applied.index);
    let (give, pieces) = mpsc::channel(CHUNKS_WAITING);
    let sent = network.spawn(peers.send_snapshot(to, header.to_bytes().into(), pieces));
    let read = read_all(shared, export, &give);
    drop(give);
    let sent = network.block_on(sent).map_err(|error| error.to_string())?;
    read.and(sent).map(|()| applied.index)
}

/// Ends early, without an error, if the network has given up: that one says why.
fn read_all(shared: &Shared, mut export: Export, give: &mpsc::Sender<Piece>) -> Result<(), String> {
    while let Some(chunk) = export.next_chunk(CHUNK_BYTES).map_err(|error| error.to_string())? {
        if !shared.status().is_leader {
            return Err("this member does not lead any more".to_owned());
        }
        if give.blocking_send(Piece::Chunk(chunk)).is_err() {
            return Ok(());
        }
    }
    give.blocking_send(Piece::End).ok();
    Ok(())
}

/// Takes in a snapshot that comes; when it is whole, the raft thread decides over it.
pub(crate) fn receive(shared: &Arc<Shared>, arriving: Arriving) {
    let from = arriving.from;
    if shared.receiving.swap(true, AcqRel) {
        if let Some(times) = shared.complain(from, "another snapshot is being taken in") {
            tracing::warn!(%from, times, "refuse a snapshot: another one is being taken in");
        }
        return;
    }
    let by_thread = Arc::clone(shared);
    let started = spawn("snapshot-in", shared, move || {
        yield_to_others();
        receive_now(&by_thread, arriving);
        Ok(())
    });
    if let Err(error) = started {
        tracing::warn!(%from, %error, "cannot start a thread to take in a snapshot");
        shared.receiving.store(false, Release);
    }
}

fn receive_now(shared: &Shared, arriving: Arriving) {
    let Arriving { from, header, mut pieces, done } = arriving;
    let began = shared.now();
    let taken = take_in(shared, from, &header, &mut pieces);
    let took = shared.now().saturating_sub(began);
    let answer = match taken {
        Ok(message) => {
            tracing::info!(%from, ?took, "a snapshot has come");
            shared.counters.snapshots_taken.record(took);
            shared.inbox.arrived(message);
            Ok(())
        }
        Err(why) => {
            if let Some(times) = shared.complain(from, why.kind()) {
                tracing::warn!(%from, ?took, times, "could not take in a snapshot: {why}");
            }
            shared.place.discard();
            shared.receiving.store(false, Release);
            Err(why.to_string())
        }
    };
    // Whoever has gone away will ask again.
    done.send(answer).ok();
}

fn take_in(
    shared: &Shared,
    from: MemberId,
    header: &[u8],
    pieces: &mut mpsc::Receiver<Piece>,
) -> Result<PeerMessage, Untaken> {
    let message = PeerMessage::from_bytes(header).filter(|message| message.from() == from);
    let message = message.ok_or("its header is no message of its sender")?;
    let applied = message.snapshot().ok_or("its header is of no snapshot")?;
    tracing::info!(%from, index = applied.index.0, "taking in a snapshot");
    let place = &shared.place;
    place.discard();
    check_room(place, message.row_bytes().unwrap_or(0))?;
    let text = |error: backend::Error| Failure::new(&error).0;
    let mut incoming =
        Incoming::create(place.disk.as_ref(), &place.path, &place.options).map_err(text)?;
    loop {
        match pieces.blocking_recv() {
            Some(Piece::Chunk(chunk)) => {
                let began = shared.now();
                incoming.add(chunk).map_err(text)?;
                // Half of the disk is left to those who sync their log on it.
                thread::park_timeout(shared.now().saturating_sub(began).min(BREAK_MAX));
            }
            Some(Piece::End) => break,
            None => return Err("its stream broke".into()),
        }
        if shared.has_failed() {
            return Err("the member has failed".into());
        }
    }
    let synced = shared.now();
    incoming.finish(applied).map_err(text)?;
    shared.counters.snapshots_synced.record(shared.now().saturating_sub(synced));
    Ok(message)
}

/// A disk that is filled by it would stop this member, whose log is there too. Until the new keyspace
/// is whole the old one stays; and the engine's file is larger than what is in it.
fn check_room(place: &Place, row_bytes: u64) -> Result<(), Untaken> {
    let dir = place.path.parent().unwrap_or(&place.path);
    // Where it cannot be asked, it turns out.
    let free = place.disk.free_bytes(dir).unwrap_or(u64::MAX);
    let needed = row_bytes.saturating_add(row_bytes / 4);
    if needed <= free {
        return Ok(());
    }
    Err(Untaken::NoRoom { path: place.path.clone(), needed, free })
}

#[cfg(test)]
mod tests {
    use base::disk::MemDisk;

    use super::*;

    #[test]
    fn a_snapshot_that_does_not_fit_is_refused_with_what_it_needs_and_what_there_is() {
        let disk = MemDisk::new(1);
        disk.set_capacity(Some(1000));
        let place = Place {
            disk: Arc::new(disk),
            path: "/data/member/keyspace.incoming".into(),
            options: Options { cache_bytes: 1 << 20 },
        };
        for fits in [0, 1, 800] {
            check_room(&place, fits).unwrap();
        }
        for larger in [801, 1 << 40, u64::MAX] {
            check_room(&place, larger).unwrap_err();
        }
        let (one, other) = (check_room(&place, 1600), check_room(&place, 1700));
        let (one, other) = (one.unwrap_err(), other.unwrap_err());
        assert_eq!(
            one.to_string(),
            "no room for it: /data/member/keyspace.incoming would take about 2000 bytes, and 1000 \
             are free on its disk: free space there, and it is sent again"
        );
        assert_eq!(one.kind(), other.kind(), "said once a minute, whatever the numbers");
    }

    #[test]
    fn who_cannot_be_sent_a_snapshot_is_tried_less_and_less_often() {
        let mut failures = 0;
        let pauses: Vec<_> = (0..7).map(|_| pause(&mut failures).as_secs()).collect();
        assert_eq!(pauses, [1, 2, 4, 8, 16, 16, 16]);
    }
}
