//! A learner that is to vote: what a member asks the leader which was asked for it.

use base::MemberId;
use http::StatusCode;
use server::{Handle, PromotionError, Unserved};
use state::membership::Refusal;

use crate::reply::{self, Reply};

/// Statuses and texts are etcd's; `id` is what stands behind the path.
pub(super) async fn answer(handle: Handle, id: String) -> Reply {
    let Ok(learner) = id.parse::<u64>() else {
        let text = format!("member {id} not found in cluster\n");
        return reply::text(StatusCode::NOT_FOUND, text);
    };
    match handle.promote_by_own(MemberId(learner)).await {
        Ok(()) => super::members(&handle),
        Err(why) => {
            let member = MemberId(learner);
            tracing::warn!(%member, "failed to promote a member: {why}");
            reply::text(status(why), format!("{why}\n"))
        }
    }
}

fn status(why: PromotionError) -> StatusCode {
    match why {
        PromotionError::Refused(Refusal::IdNotFound | Refusal::IdRemoved) => StatusCode::NOT_FOUND,
        PromotionError::Refused(Refusal::NotLearner)
        | PromotionError::Unserved(Unserved::LearnerNotReady) => StatusCode::PRECONDITION_FAILED,
        PromotionError::Unserved(why) if why.is_timeout() => StatusCode::REQUEST_TIMEOUT,
        PromotionError::Refused(_) | PromotionError::Unserved(_) => {
            StatusCode::INTERNAL_SERVER_ERROR
        }
    }
}
