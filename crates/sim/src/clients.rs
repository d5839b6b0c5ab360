//! What virtual clients ask for: v2 writes of every kind on few names, so that they meet; and those
//! of v3.
//!
//! Those of [`watches`] watch. Those of [`registers`] wait for their answers, and are judged by them.

pub(crate) mod registers;
pub(crate) mod v3;
pub(crate) mod watches;

use std::time::Duration;

use base::UnixNanos;
use bytes::Bytes;
use proto::command::{KeysMethod, KeysWrite};

use crate::history::History;

const PATHS: [&str; 7] = ["/a", "/b", "/d", "/d/x", "/d/y", "/d/e/z", "/q"];

/// A random request, of a form that the API would let pass.
///
/// `now`: what the time is at the member that is asked.
pub(crate) fn request(rng: &mut fastrand::Rng, history: &History, now: UnixNanos) -> KeysWrite {
    let path = PATHS.get(rng.usize(..PATHS.len())).copied().unwrap_or("/a");
    let mut write = KeysWrite {
        method: KeysMethod::Set.into(),
        path: Bytes::from_static(path.as_bytes()),
        ..KeysWrite::default()
    };
    // Unique, so that whatever is found tells who sent it.
    let mut value = history.next_value();
    // Mostly short; now and then of some sectors, or of more than a segment of the log.
    let padding = match rng.u8(..64) {
        0..4 => rng.usize(100..2_000),
        4 => rng.usize(2_000..40_000),
        _ => 0,
    };
    value.extend(std::iter::repeat_n('.', padding));
    match rng.u8(..20) {
        0..8 => write.value = value.into(),
        8 | 9 => (write.method, write.value) = (KeysMethod::Create.into(), value.into()),
        10 | 11 => (write.method, write.value) = (KeysMethod::CreateInOrder.into(), value.into()),
        12 | 13 => (write.method, write.value) = (KeysMethod::Update.into(), value.into()),
        14 => {
            (write.method, write.value) = (KeysMethod::CompareAndSwap.into(), value.into());
            compare(rng, history, &mut write);
        }
        15 => {
            write.method = KeysMethod::CompareAndDelete.into();
            compare(rng, history, &mut write);
        }
        16 => write.dir = true,
        17 => {
            (write.method, write.refresh) = (KeysMethod::Update.into(), true);
        }
        _ => {
            write.method = KeysMethod::Delete.into();
            write.recursive = rng.bool();
            write.dir = rng.bool();
        }
    }
    let lasts = [KeysMethod::Delete, KeysMethod::CompareAndDelete].contains(&write.method());
    if !lasts && (write.refresh || rng.u8(..4) == 0) {
        let left = Duration::from_millis(rng.u64(1..3_000));
        write.expiry = Some(now.saturating_add(left).0);
    }
    write
}

/// A condition that holds now and then: on what somebody once wrote.
fn compare(rng: &mut fastrand::Rng, history: &History, write: &mut KeysWrite) {
    let last = history.commits.iter().rev().take(10);
    let last = last.filter_map(|(main, commit)| Some((*main, commit.records.last()?)));
    // Nobody but its clients writes to a register.
    let others: Vec<_> = last.filter(|(_, one)| !registers::is_one(&one.name)).collect();
    let found = others.get(rng.usize(..others.len().max(1)));
    let found = found.map(|(main, record)| (*main, record.name.clone(), record.value.clone()));
    write.prev_index = 1;
    if let Some((main, name, value)) = found {
        write.path = name;
        if rng.bool() && !value.is_empty() {
            (write.prev_value, write.prev_index) = (Some(value), 0);
        } else {
            write.prev_index = main.unsigned_abs();
        }
    }
}
