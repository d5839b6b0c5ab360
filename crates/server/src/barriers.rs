//! Reads that wait: first for their read index, then until it is applied.

use std::{collections::BTreeMap, time::Duration};

use base::{Index, limits};
use member::Read;
use parking_lot::Mutex;
use tokio::sync::oneshot;

use crate::Unserved;

type Sender = oneshot::Sender<Result<(), Unserved>>;
type Receiver = oneshot::Receiver<Result<(), Unserved>>;

/// Reads that wait.
#[derive(Debug, Default)]
pub(crate) struct Barriers(Mutex<Waiting>);

#[derive(Debug, Default)]
struct Waiting {
    last: u64,
    /// No read index yet.
    asked: BTreeMap<Read, (Duration, Sender)>,
    /// Waiting until this much is applied.
    known: BTreeMap<(Index, Read), (Duration, Sender)>,
}

impl Barriers {
    pub(crate) fn add(&self, deadline: Duration) -> Result<(Read, Receiver), Unserved> {
        let (sender, receiver) = oneshot::channel();
        let mut waiting = self.0.lock();
        if waiting.asked.len() + waiting.known.len() >= limits::PROPOSALS_WAITING_MAX {
            return Err(Unserved::TooManyRequests);
        }
        waiting.last += 1;
        let read = Read(waiting.last);
        waiting.asked.insert(read, (deadline, sender));
        Ok((read, receiver))
    }

    /// These reads wait for `index` now. Follow with [`Barriers::applied`].
    pub(crate) fn known(&self, index: Index, reads: Vec<Read>) {
        let mut waiting = self.0.lock();
        for read in reads {
            if let Some(waiter) = waiting.asked.remove(&read) {
                waiting.known.insert((index, read), waiter);
            }
        }
    }

    pub(crate) fn applied(&self, applied: Index) {
        let mut waiting = self.0.lock();
        if waiting.known.is_empty() {
            return;
        }
        let later = waiting.known.split_off(&(Index(applied.0 + 1), Read(0)));
        let ready = std::mem::replace(&mut waiting.known, later);
        drop(waiting);
        for (_, sender) in ready.into_values() {
            answer(sender, Ok(()));
        }
    }

    /// Refuses those whose time is over, and says what they waited for (etcd 3.6). Returns how many
    /// have got no read index.
    pub(crate) fn expire(&self, now: Duration) -> u64 {
        let mut unanswered = 0;
        let mut waiting = self.0.lock();
        while let Some(entry) = waiting.asked.first_entry() {
            // Reads came in order, and each may take equally long.
            if entry.get().0 > now {
                break;
            }
            answer(entry.remove().1, Err(Unserved::Timeout));
            unanswered += 1;
        }
        for (_, (_, sender)) in waiting.known.extract_if(.., |_, (deadline, _)| *deadline <= now) {
            answer(sender, Err(Unserved::TimeoutWaitAppliedIndex));
        }
        unanswered
    }

    /// Returns how many have got no read index.
    pub(crate) fn refuse_all(&self, why: Unserved) -> u64 {
        let mut waiting = self.0.lock();
        let Waiting { asked, known, .. } = &mut *waiting;
        let (asked, known) = (std::mem::take(asked), std::mem::take(known));
        let unanswered = asked.len() as u64;
        for (_, sender) in asked.into_values().chain(known.into_values()) {
            answer(sender, Err(why));
        }
        unanswered
    }
}

fn answer(sender: Sender, what: Result<(), Unserved>) {
    if sender.send(what).is_err() {
        tracing::trace!("whoever wanted to read has gone away");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_read_goes_on_once_its_index_is_applied() {
        let barriers = Barriers::default();
        let (first, mut one) = barriers.add(Duration::from_secs(1)).unwrap();
        let (second, mut two) = barriers.add(Duration::from_secs(1)).unwrap();
        barriers.known(Index(5), vec![first]);
        barriers.known(Index(6), vec![second]);
        barriers.applied(Index(5));
        assert_eq!(one.try_recv(), Ok(Ok(())));
        assert!(two.try_recv().is_err());
        barriers.applied(Index(6));
        assert_eq!(two.try_recv(), Ok(Ok(())));
    }

    #[test]
    fn a_read_without_an_index_times_out() {
        let barriers = Barriers::default();
        let (_, mut early) = barriers.add(Duration::from_secs(1)).unwrap();
        let (_, mut late) = barriers.add(Duration::from_secs(2)).unwrap();
        assert_eq!(barriers.expire(Duration::from_secs(1)), 1);
        assert_eq!(early.try_recv(), Ok(Err(Unserved::Timeout)));
        assert!(late.try_recv().is_err());
    }

    #[test]
    fn a_read_whose_index_is_never_applied_times_out() {
        let barriers = Barriers::default();
        let (early, mut one) = barriers.add(Duration::from_secs(1)).unwrap();
        let (late, mut two) = barriers.add(Duration::from_secs(2)).unwrap();
        barriers.known(Index(5), vec![early, late]);
        assert_eq!(barriers.expire(Duration::from_secs(1)), 0);
        assert_eq!(one.try_recv(), Ok(Err(Unserved::TimeoutWaitAppliedIndex)));
        assert!(two.try_recv().is_err());
        barriers.applied(Index(5));
        assert_eq!(two.try_recv(), Ok(Ok(())));
    }
}
