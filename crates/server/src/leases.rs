//! Keeping leases, and how long they live: the leader's matter.

use std::{sync::atomic::Ordering::Relaxed, time::Duration};

use base::{limits, mix};
use peer::{Answer, Question};
use proto::{
    Message as _,
    between::{LeaseInternalRequest, LeaseInternalResponse},
    command::{LeaseCheckpoint, Op},
    etcdserverpb::{
        LeaseKeepAliveRequest, LeaseKeepAliveResponse, LeaseTimeToLiveRequest,
        LeaseTimeToLiveResponse,
    },
};
use state::lease::{Renewal, TimeToLive};
use tokio::time;

use crate::{Handle, Unserved, leader::Asked};

/// Where the leader is asked, as in etcd.
pub const KEEP_PATH: &str = "/leases";
pub const TIME_TO_LIVE_PATH: &str = "/leases/internal";
/// Between two looks whether a lease whose time is over is gone.
const LOOK: Duration = Duration::from_millis(20);
/// An answer without keys is small.
const SMALL: usize = 4 << 10;

/// Why a lease is not kept, or nothing is told of it. Texts are etcd's, between members.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LeaseError {
    #[error("lease not found")]
    NotFound,
    /// This member does not lead, or cannot be sure of that.
    #[error("not a primary lessor")]
    NotPrimary,
    /// The names of the keys are too many to be told at once.
    #[error("answer is too large")]
    TooLarge,
    #[error(transparent)]
    Unserved(#[from] Unserved),
}

impl Handle {
    /// An id for a lease whose client has no wish: positive, and nobody else's with high probability.
    pub fn new_lease_id(&self) -> i64 {
        let number = self.shared.lease_numbers.fetch_add(1, Relaxed);
        (mix(number) >> 1).cast_signed().max(1)
    }

    /// The shortest time to live, in seconds: one and a half election timeouts (etcd), so that a
    /// lease outlives a change of leaders.
    pub fn lease_ttl_min(&self) -> i64 {
        let config = &self.shared.config;
        let heartbeat = config.heartbeat.max(Duration::from_nanos(1));
        let ticks = config.election.as_nanos() / heartbeat.as_nanos();
        let least = heartbeat * u32::try_from(ticks * 3 / 2).unwrap_or(u32::MAX);
        i64::try_from(least.as_secs()).unwrap_or(i64::MAX) + i64::from(least.subsec_nanos() > 0)
    }

    /// Lets a lease begin anew; its time to live in seconds.
    pub async fn keep_lease(&self, id: i64) -> Result<i64, LeaseError> {
        let here = || async {
            match self.keep_own_lease(id).await {
                Err(LeaseError::NotPrimary) => Asked::Again,
                kept => Asked::Answered(kept),
            }
        };
        let body = LeaseKeepAliveRequest { id }.encode_to_vec().into();
        let question = Question { path: KEEP_PATH.to_owned(), body, answer_bytes_max: SMALL };
        let asked = self.ask_leader(here, question, |answer| {
            let kept = LeaseKeepAliveResponse::decode(answer.body.clone());
            told(&answer, kept.ok().filter(|kept| kept.id == id).map(|kept| kept.ttl))
        });
        match asked.await {
            Ok(kept) => kept,
            // It takes itself for the leader and hears of nobody: the client had better go elsewhere.
            Err(Unserved::Timeout) if self.status().is_leader => Err(LeaseError::NotPrimary),
            Err(why) => Err(why.into()),
        }
    }

    /// The same, if this member leads: it makes sure of that first, by a read index, so that a leader
    /// which was replaced keeps no lease that its successor lets end.
    pub async fn keep_own_lease(&self, id: i64) -> Result<i64, LeaseError> {
        let shared = &self.shared;
        let leases = shared.reader.leases();
        let deadline = shared.now() + shared.config.request_timeout();
        loop {
            let sure_since = shared.now();
            self.is_primary().await?;
            match leases.renew(id, shared.now()) {
                // Nobody else can have been elected in less time: those who heard of this leader do
                // not vote. If this process has slept, it is to ask again.
                Renewal::Renewed(ttl)
                    if shared.now() < sure_since + shared.config.election || self.is_alone() =>
                {
                    return Ok(ttl);
                }
                Renewal::Renewed(_) => {}
                Renewal::NotFound => return Err(LeaseError::NotFound),
                Renewal::NotPrimary => return Err(LeaseError::NotPrimary),
                Renewal::Ending => time::sleep(LOOK).await,
                Renewal::Noted(note) => {
                    let checkpoint = LeaseCheckpoint { notes: vec![note] };
                    self.write(Op::LeaseCheckpoint(checkpoint)).await?;
                }
            }
            if shared.now() > deadline {
                return Err(Unserved::Timeout.into());
            }
        }
    }

    /// How long a lease lives, and with `keys` which keys are on it.
    pub async fn lease_time_to_live(
        &self,
        request: LeaseTimeToLiveRequest,
    ) -> Result<LeaseTimeToLiveResponse, LeaseError> {
        let here = || async {
            match self.own_lease_time_to_live(request).await {
                Err(LeaseError::NotPrimary) => Asked::Again,
                told => Asked::Answered(told),
            }
        };
        let body = LeaseInternalRequest { lease_time_to_live_request: Some(request) };
        let question = Question {
            path: TIME_TO_LIVE_PATH.to_owned(),
            body: body.encode_to_vec().into(),
            answer_bytes_max: if request.keys { 2 * limits::ANSWER_BYTES_MAX } else { SMALL },
        };
        self.ask_leader(here, question, |answer| {
            let response = LeaseInternalResponse::decode(answer.body.clone()).ok();
            let response = response.and_then(|response| response.lease_time_to_live_response);
            told(&answer, response.filter(|response| response.id == request.id))
        })
        .await?
    }

    /// The same, if this member leads.
    pub async fn own_lease_time_to_live(
        &self,
        request: LeaseTimeToLiveRequest,
    ) -> Result<LeaseTimeToLiveResponse, LeaseError> {
        self.is_primary().await?;
        let LeaseTimeToLiveRequest { id, keys } = request;
        let reader = &self.shared.reader;
        let found = reader.leases().time_to_live(id, self.shared.now());
        let TimeToLive { granted, left } = found.ok_or(LeaseError::NotFound)?;
        let left = left.ok_or(LeaseError::NotPrimary)?;
        let keys = if keys { reader.lease_keys(id) } else { Vec::new() };
        if keys.iter().map(|key| key.len() + 8).sum::<usize>() > limits::ANSWER_BYTES_MAX {
            return Err(LeaseError::TooLarge);
        }
        let ttl = i64::try_from(left.as_secs()).unwrap_or(i64::MAX);
        Ok(LeaseTimeToLiveResponse { header: None, id, ttl, granted_ttl: granted, keys })
    }

    /// Makes sure that this member leads, and has applied what was acknowledged before.
    async fn is_primary(&self) -> Result<(), LeaseError> {
        if !self.status().is_leader {
            return Err(LeaseError::NotPrimary);
        }
        match self.read_barrier().await {
            Ok(()) if self.status().is_leader => Ok(()),
            Err(
                why @ (Unserved::Stopped
                | Unserved::TooManyRequests
                | Unserved::TimeoutWaitAppliedIndex),
            ) => Err(why.into()),
            Ok(()) | Err(_) => Err(LeaseError::NotPrimary),
        }
    }

    fn is_alone(&self) -> bool {
        self.shared.reader.members().members.len() <= 1
    }
}

/// What the leader has answered; `body` is what it says if all is well.
fn told<T>(answer: &Answer, body: Option<T>) -> Asked<Result<T, LeaseError>> {
    match (answer.status.as_u16(), body) {
        (200, Some(body)) => Asked::Answered(Ok(body)),
        (404, _) => Asked::Answered(Err(LeaseError::NotFound)),
        (413, _) => Asked::Answered(Err(LeaseError::TooLarge)),
        _ => Asked::Again,
    }
}
