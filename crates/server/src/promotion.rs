//! Letting a learner vote: the leader decides, since nobody else knows how far it is.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
};

use base::MemberId;
use bytes::Bytes;
use parking_lot::Mutex;
use peer::{Answer, Question};
use state::{Response, apply::membership_change::Change, membership::Refusal};

use crate::{Done, Handle, Unserved, leader::Asked};

/// Where the leader is asked, as in etcd; the learner's id follows, in decimal.
pub const PROMOTE_PATH: &str = "/members/promote/";
/// The members, which the original answers with.
const ANSWER_BYTES_MAX: usize = 4 << 20;

/// Why a learner does not vote.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PromotionError {
    #[error(transparent)]
    Refused(#[from] Refusal),
    #[error(transparent)]
    Unserved(#[from] Unserved),
}

/// Learners that this member, leading, let vote or did not.
#[derive(Debug, Default)]
pub struct Promotions {
    pub successes: AtomicU64,
    /// By reason, of which there are few.
    failures: Mutex<BTreeMap<String, u64>>,
}

impl Promotions {
    /// How often each reason was given.
    pub fn failures(&self) -> BTreeMap<String, u64> {
        self.failures.lock().clone()
    }

    fn count(&self, done: Result<(), PromotionError>) {
        match done {
            Ok(()) => drop(self.successes.fetch_add(1, Relaxed)),
            // Then it is for somebody else to count.
            Err(PromotionError::Unserved(Unserved::NotLeader)) => {}
            Err(why) => *self.failures.lock().entry(why.to_string()).or_default() += 1,
        }
    }
}

impl PromotionError {
    /// Those that the leader tells, and that end it.
    const FINAL: [Self; 6] = [
        Self::Refused(Refusal::IdRemoved),
        Self::Refused(Refusal::IdNotFound),
        Self::Refused(Refusal::NotLearner),
        Self::Unserved(Unserved::LearnerNotReady),
        Self::Unserved(Unserved::NotEnoughStarted),
        Self::Unserved(Unserved::Unhealthy),
    ];
}

impl Handle {
    /// Lets a learner vote. This member knows of it when this returns.
    pub async fn promote(&self, learner: MemberId) -> Result<(), PromotionError> {
        let here = || async {
            match self.promote_by_own(learner).await {
                Err(PromotionError::Unserved(Unserved::NotLeader)) => Asked::Again,
                done => Asked::Answered(done),
            }
        };
        let question = Question {
            path: format!("{PROMOTE_PATH}{}", learner.0),
            body: Bytes::new(),
            answer_bytes_max: ANSWER_BYTES_MAX,
        };
        self.ask_leader(here, question, |answer| told(&answer)).await??;
        Ok(self.read_barrier().await?)
    }

    /// The same, if this member leads; [`Unserved::NotLeader`] if not.
    pub async fn promote_by_own(&self, learner: MemberId) -> Result<(), PromotionError> {
        let done = self.try_promote(learner).await;
        self.shared.counters.promotions.count(done);
        done
    }

    async fn try_promote(&self, learner: MemberId) -> Result<(), PromotionError> {
        if !self.status().is_leader {
            return Err(Unserved::NotLeader.into());
        }
        // So that a learner is known that was added just now.
        self.read_barrier().await?;
        let change = Change::Promote(learner);
        self.reader().members().check(&change)?;
        match self.change_members(change).await? {
            // Somebody else was faster.
            Done { response: Response::Refused(text), .. } => {
                let refusal = Refusal::ALL.into_iter().find(|one| one.to_string() == text);
                Err(refusal.unwrap_or(Refusal::IdNotFound).into())
            }
            _ => Ok(()),
        }
    }
}

/// What the leader has answered.
fn told(answer: &Answer) -> Asked<Result<(), PromotionError>> {
    if answer.status.is_success() {
        return Asked::Answered(Ok(()));
    }
    let text = String::from_utf8_lossy(&answer.body);
    let text = text.trim_end();
    let why = PromotionError::FINAL.into_iter().find(|one| one.to_string() == text);
    why.map_or(Asked::Again, |why| Asked::Answered(Err(why)))
}
