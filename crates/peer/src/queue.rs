//! What waits to be sent to a peer over one lane: bounded, and dropped when the stream breaks.

use std::{collections::VecDeque, mem};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::Notify;

/// Messages that wait.
const MESSAGES_MAX: usize = 4096;
/// Their bytes: what raft keeps in flight, and a batch of proposals.
const BYTES_MAX: usize = 48 << 20;

#[derive(Debug, Default)]
pub(crate) struct Queue {
    waiting: Mutex<Waiting>,
    filled: Notify,
}

#[derive(Debug, Default)]
struct Waiting {
    messages: VecDeque<Bytes>,
    bytes: usize,
}

impl Queue {
    /// False if there is no room.
    pub(crate) fn push(&self, message: Bytes) -> bool {
        let mut waiting = self.waiting.lock();
        let bytes = waiting.bytes + message.len();
        if waiting.messages.len() >= MESSAGES_MAX || bytes > BYTES_MAX {
            return false;
        }
        waiting.bytes = bytes;
        waiting.messages.push_back(message);
        drop(waiting);
        self.filled.notify_one();
        true
    }

    /// The messages that wait, up to so many bytes, or one; waits for the first.
    pub(crate) async fn take(&self, bytes_max: usize) -> Vec<Bytes> {
        loop {
            let taken = self.take_now(bytes_max);
            if !taken.is_empty() {
                return taken;
            }
            self.filled.notified().await;
        }
    }

    fn take_now(&self, bytes_max: usize) -> Vec<Bytes> {
        let mut waiting = self.waiting.lock();
        let mut taken = Vec::new();
        let mut bytes = 0;
        while let Some(next) = waiting.messages.front() {
            bytes += next.len();
            if bytes > bytes_max && !taken.is_empty() {
                break;
            }
            taken.extend(waiting.messages.pop_front());
        }
        waiting.bytes -= taken.iter().map(Bytes::len).sum::<usize>();
        taken
    }

    /// Drops all; returns how many that were.
    pub(crate) fn clear(&self) -> usize {
        mem::take(&mut *self.waiting.lock()).messages.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn messages_come_in_order_in_batches_of_bounded_size() {
        let queue = Queue::default();
        for length in [3, 4, 90, 5] {
            assert!(queue.push(vec![0; length].into()));
        }
        let lengths = |taken: Vec<Bytes>| taken.iter().map(Bytes::len).collect::<Vec<_>>();
        assert_eq!(lengths(queue.take(10).await), [3, 4]);
        assert_eq!(lengths(queue.take(10).await), [90], "one goes even if it is larger");
        assert_eq!(queue.clear(), 1);
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let queue = Queue::default();
        assert!(queue.push(vec![0; BYTES_MAX].into()));
        assert!(!queue.push(vec![0; 1].into()));
        queue.clear();
        for _ in 0..MESSAGES_MAX {
            assert!(queue.push(Bytes::new()));
        }
        assert!(!queue.push(Bytes::new()));
    }
}
