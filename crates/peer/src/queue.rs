//! What waits to be sent to a peer over one lane: bounded, and dropped when the stream breaks.

use std::{collections::VecDeque, mem, time::Duration};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::{sync::Notify, time::Instant};

/// Messages that wait.
const MESSAGES_MAX: usize = 4096;
/// Their bytes: what raft keeps in flight, and a batch of proposals.
const BYTES_MAX: usize = 48 << 20;
/// What is at least so large is not sent again while it is on its way.
const LARGE_BYTES: usize = 64 << 10;

/// How long a message waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stay {
    /// As long as the stream lasts.
    Always,
    /// Until the next one says the same and perhaps more, which then takes its place: on a slow line
    /// copies would be all that is sent.
    Until(Covers),
    /// So long: then nobody waits for it any more.
    AtMost(Duration),
}

/// What a message says, as far as the queue needs to know: all within a term from one place on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Covers {
    pub term: u64,
    pub after: u64,
    pub until: u64,
}

impl Covers {
    fn includes(self, other: Self) -> bool {
        (self.term, self.after) == (other.term, other.after) && self.until >= other.until
    }
}

#[derive(Debug, Default)]
pub(crate) struct Queue {
    waiting: Mutex<Waiting>,
    filled: Notify,
    repeated: Notify,
}

#[derive(Debug, Default)]
struct Waiting {
    messages: VecDeque<Queued>,
    bytes: usize,
    /// The last large message that was taken, until the peer has read it.
    on_its_way: Option<Covers>,
}

#[derive(Debug)]
struct Queued {
    message: Bytes,
    stay: Stay,
    since: Instant,
}

impl Queue {
    /// False if there is no room.
    pub(crate) fn push(&self, message: Bytes, stay: Stay) -> bool {
        let mut waiting = self.waiting.lock();
        if waiting.says_again(stay) {
            drop(waiting);
            self.repeated.notify_one();
            return true;
        }
        waiting.make_way(stay);
        let bytes = waiting.bytes + message.len();
        if waiting.messages.len() >= MESSAGES_MAX || bytes > BYTES_MAX {
            return false;
        }
        waiting.bytes = bytes;
        waiting.messages.push_back(Queued { message, stay, since: Instant::now() });
        drop(waiting);
        self.filled.notify_one();
        true
    }

    /// The messages that wait, up to so many bytes, or one; waits for the first.
    pub(crate) async fn take(&self, bytes_max: usize) -> Vec<Bytes> {
        loop {
            let taken = self.waiting.lock().take(bytes_max);
            if !taken.is_empty() {
                return taken;
            }
            self.filled.notified().await;
        }
    }

    /// Waits until what is on its way is said again. The peer may have read it and thrown it away: whether
    /// it has read it is to be found out now.
    pub(crate) async fn repeated(&self) {
        self.repeated.notified().await;
    }

    /// The peer has read all that was taken.
    pub(crate) fn arrived(&self) {
        self.waiting.lock().on_its_way = None;
    }

    /// Drops all; returns how many that were.
    pub(crate) fn clear(&self) -> usize {
        mem::take(&mut *self.waiting.lock()).messages.len()
    }
}

impl Waiting {
    /// Whether this is what is on its way, and perhaps more. As long as a follower has not answered, a
    /// leader says it with every heartbeat: on a slow line a second copy would go out behind the first,
    /// and hold up all that comes after it. Nothing is lost: it says it once more.
    fn says_again(&self, stay: Stay) -> bool {
        match (stay, self.on_its_way) {
            (Stay::Until(new), Some(sent)) => new.includes(sent),
            _ => false,
        }
    }

    /// Drops the last message if this one covers it.
    fn make_way(&mut self, stay: Stay) {
        let is_covered = |last: &mut Queued| match (stay, last.stay) {
            (Stay::Until(new), Stay::Until(old)) => new.includes(old),
            _ => false,
        };
        if let Some(covered) = self.messages.pop_back_if(is_covered) {
            self.bytes -= covered.message.len();
        }
    }

    fn take(&mut self, bytes_max: usize) -> Vec<Bytes> {
        let mut taken = Vec::new();
        let mut bytes = 0;
        while let Some(next) = self.messages.front() {
            let (length, is_over) = (next.message.len(), next.is_over());
            if !is_over && bytes + length > bytes_max && !taken.is_empty() {
                break;
            }
            let next = self.messages.pop_front();
            self.bytes -= length;
            if !is_over {
                bytes += length;
                if let Some(Queued { stay: Stay::Until(covers), .. }) = next
                    && length >= LARGE_BYTES
                {
                    self.on_its_way = Some(covers);
                }
                taken.extend(next.map(|next| next.message));
            }
        }
        taken
    }
}

impl Queued {
    fn is_over(&self) -> bool {
        matches!(self.stay, Stay::AtMost(time) if self.since.elapsed() > time)
    }
}

#[cfg(test)]
mod tests {
    use tokio::time;

    use super::*;

    #[tokio::test]
    async fn messages_come_in_order_in_batches_of_bounded_size() {
        let queue = Queue::default();
        for length in [3, 4, 90, 5] {
            assert!(queue.push(vec![0; length].into(), Stay::Always));
        }
        let lengths = |taken: Vec<Bytes>| taken.iter().map(Bytes::len).collect::<Vec<_>>();
        assert_eq!(lengths(queue.take(10).await), [3, 4]);
        assert_eq!(lengths(queue.take(10).await), [90], "one goes even if it is larger");
        assert_eq!(queue.clear(), 1);
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let queue = Queue::default();
        assert!(queue.push(vec![0; BYTES_MAX].into(), Stay::Always));
        assert!(!queue.push(vec![0; 1].into(), Stay::Always));
        queue.clear();
        for _ in 0..MESSAGES_MAX {
            assert!(queue.push(Bytes::new(), Stay::Always));
        }
        assert!(!queue.push(Bytes::new(), Stay::Always));
    }

    #[test]
    fn what_says_the_same_and_more_takes_the_place_of_what_waits_last() {
        let queue = Queue::default();
        let push = |text: &'static str, term, after, until| {
            assert!(queue.push(text.into(), Stay::Until(Covers { term, after, until })));
        };
        push("1 to 3", 1, 0, 3);
        push("1 to 4", 1, 0, 4);
        push("1 to 2", 1, 0, 2);
        push("3", 1, 2, 3);
        push("3 of term 2", 2, 2, 3);
        push("3 of term 2 again", 2, 2, 3);
        assert!(queue.push("an answer".into(), Stay::Always));
        push("3 of term 2 later", 2, 2, 3);
        let taken = queue.waiting.lock().take(BYTES_MAX);
        let expected =
            ["1 to 4", "1 to 2", "3", "3 of term 2 again", "an answer", "3 of term 2 later"];
        assert_eq!(taken, expected);
        assert_eq!(queue.waiting.lock().bytes, 0);
    }

    #[test]
    fn what_is_large_is_not_said_again_while_it_is_on_its_way() {
        let queue = Queue::default();
        let push = |length: usize, term, after, until| {
            assert!(queue.push(vec![0; length].into(), Stay::Until(Covers { term, after, until })));
        };
        let take =
            || queue.waiting.lock().take(BYTES_MAX).iter().map(Bytes::len).collect::<Vec<_>>();
        push(LARGE_BYTES, 1, 0, 3);
        assert_eq!(take(), [LARGE_BYTES]);
        push(LARGE_BYTES, 1, 0, 3);
        push(LARGE_BYTES + 1, 1, 0, 4);
        assert_eq!(take(), [0; 0]);
        // Another leader's, what comes after it, and what a leader begins with that knows better.
        push(1, 2, 0, 4);
        push(2, 1, 3, 4);
        push(3, 1, 0, 2);
        assert_eq!(take(), [1, 2, 3]);
        // It has not helped.
        queue.arrived();
        push(LARGE_BYTES, 1, 0, 3);
        assert_eq!(take(), [LARGE_BYTES]);
        // The stream has ended.
        queue.clear();
        push(LARGE_BYTES, 1, 0, 3);
        assert_eq!(take(), [LARGE_BYTES]);
        // What is small costs nothing.
        queue.arrived();
        for _ in 0..2 {
            push(LARGE_BYTES - 1, 1, 0, 3);
            assert_eq!(take(), [LARGE_BYTES - 1]);
        }
    }

    #[tokio::test]
    async fn what_has_waited_too_long_is_not_sent() {
        let queue = Queue::default();
        for (text, time) in [("late", Duration::ZERO), ("in time", Duration::from_mins(10))] {
            assert!(queue.push(text.into(), Stay::AtMost(time)));
        }
        time::sleep(Duration::from_millis(1)).await;
        assert_eq!(queue.waiting.lock().take(1), ["in time"]);
        assert_eq!(queue.waiting.lock().bytes, 0);
    }
}
