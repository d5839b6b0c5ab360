//! `--experimental-serializable-ordering`: reads never go back in time, whoever answers them.

use std::sync::atomic::{AtomicI64, Ordering::SeqCst};

use proto::etcdserverpb::ResponseHeader;
use tonic::Status;

/// How often all endpoints are asked for what one of them has told already (etcd).
const ROUNDS: usize = 5;

/// The newest revision that was told, if it matters.
#[derive(Debug)]
pub(crate) struct Order(Option<AtomicI64>);

/// What an answer has to be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted {
    revision: i64,
    attempts: usize,
}

impl Order {
    pub(crate) fn new(is_kept: bool) -> Self {
        Self(is_kept.then(AtomicI64::default))
    }

    /// Whether somebody cares.
    pub(crate) fn is_kept(&self) -> bool {
        self.0.is_some()
    }

    /// What a call must be answered with that begins now. `endpoints`: how many there are.
    pub(crate) fn wanted(&self, endpoints: usize) -> Wanted {
        Wanted { revision: self.revision(), attempts: ROUNDS * endpoints + 1 }
    }

    /// The newest revision that was told; zero if nobody cares.
    pub(crate) fn revision(&self) -> i64 {
        self.0.as_ref().map_or(0, |told| told.load(SeqCst))
    }

    /// An answer with this header has been told.
    pub(crate) fn told(&self, header: Option<&ResponseHeader>) {
        if let (Some(told), Some(header)) = (&self.0, header) {
            told.fetch_max(header.revision, SeqCst);
        }
    }

    /// Whether an answer with this header may be told. If not, another endpoint is to be asked;
    /// the error: that has been done often enough.
    pub(crate) fn takes(
        &self,
        wanted: &mut Wanted,
        header: Option<&ResponseHeader>,
    ) -> Result<bool, Status> {
        let revision = header.map_or(0, |header| header.revision);
        if self.0.is_none() || revision >= wanted.revision {
            self.told(header);
            return Ok(true);
        }
        wanted.attempts -= 1;
        if wanted.attempts > 0 {
            return Ok(false);
        }
        Err(Status::unknown(
            "etcdclient: no cluster members have a revision higher than the previously received \
             revision",
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(revision: i64) -> ResponseHeader {
        ResponseHeader { revision, ..ResponseHeader::default() }
    }

    #[test]
    fn what_is_older_than_was_told_is_asked_again_so_often() {
        let order = Order::new(true);
        assert!(order.takes(&mut order.wanted(2), Some(&header(5))).unwrap());
        let mut wanted = order.wanted(2);
        for _ in 0..10 {
            assert!(!order.takes(&mut wanted, Some(&header(4))).unwrap());
        }
        assert!(order.takes(&mut wanted, Some(&header(4))).is_err());
        assert!(order.takes(&mut order.wanted(2), Some(&header(5))).unwrap());
    }

    #[test]
    fn nobody_is_held_to_an_order_that_was_not_asked_for() {
        let order = Order::new(false);
        assert!(order.takes(&mut order.wanted(1), Some(&header(5))).unwrap());
        assert!(order.takes(&mut order.wanted(1), Some(&header(4))).unwrap());
        assert_eq!(order.revision(), 0);
    }
}
