//! What `fuzz/` reaches: a core to which whatever comes is said by a peer.

use base::{Index, MemberId, limits, version::THIS};
use raft::eraftpb::{ConfState, HardState};

use crate::{Config, Core, PeerMessage, Proposal, Ticket, window::Window};

/// One of three voters, to which things happen: a byte says what, and for a message of a peer two more
/// how long it is. Whatever a peer says, the core does not panic, and says of itself when it cannot go on.
pub fn messages(mut data: &[u8]) {
    let config = Config {
        build: THIS,
        name: "fuzzed".to_owned(),
        client_urls: Vec::new(),
        election_ticks: 10,
        heartbeat_ticks: 1,
        answer_ticks: 70,
        run: 1,
        quota_bytes: 0,
        compacts: false,
        lease_grace: std::time::Duration::from_secs(1),
        lease_checkpoints: limits::LEASE_CHECKPOINT_INTERVAL,
        catch_up_entries: 5_000,
        catch_up_bytes: limits::CATCH_UP_BYTES_MAX,
    };
    let voters = ConfState::from((vec![1, 2, 3], vec![]));
    let window = Window::new(HardState::default(), voters, (0, 0), Vec::new(), 0);
    let Ok(mut core) = Core::new(MemberId(1), config, window, Index(0)) else { return };
    let mut appended = Ticket(0);
    while let Some((what, rest)) = data.split_first() {
        data = rest;
        match what % 8 {
            0..=3 => {
                let Some((length, rest)) = data.split_first_chunk::<2>() else { return };
                let length = usize::from(u16::from_le_bytes(*length)).min(rest.len());
                let (message, rest) = rest.split_at(length);
                data = rest;
                if let Some(message) = PeerMessage::from_bytes(message) {
                    drop(core.receive(message));
                }
            }
            4 => core.tick(),
            5 => (0..20).for_each(|_| core.tick()),
            6 => {
                if core.persisted(appended).is_err() {
                    return;
                }
            }
            _ => core.propose(vec![Proposal { id: 7, data: vec![1, 2, 3].into() }]),
        }
        while let Some(effects) = core.step() {
            appended = effects.append.map_or(appended, |append| append.ticket);
        }
    }
}
