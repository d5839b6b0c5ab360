//! From the table of errors to gRPC's status.

use base::Refused;
use server::Unserved;
use state::kv::Error;
use tonic::{Code, Status};

use crate::under_way::Crowded;

/// A refused request as clients see it.
pub(crate) fn status(refused: Refused) -> Status {
    Status::new(Code::from_i32(i32::from(refused.grpc().number())), refused.text())
}

/// There was no room for the answer.
impl From<Crowded> for Status {
    fn from(_: Crowded) -> Self {
        status(Refused::TooManyAnswers)
    }
}

/// As the original tells it, which gives up by itself too.
pub(crate) fn deadline_exceeded() -> Status {
    status(Refused::DeadlineExceeded)
}

/// A read that has no answer.
pub(crate) fn read(error: Error) -> Status {
    match error {
        Error::Refused(refused) => status(refused),
        Error::Failed(error) => {
            tracing::error!(%error, "a read failed");
            Status::internal(error.to_string())
        }
    }
}

/// A request that was not carried out, or may not have been.
pub(crate) fn unserved(why: Unserved) -> Status {
    match why {
        Unserved::Timeout => status(Refused::Timeout),
        Unserved::TimeoutLeaderFailed => status(Refused::TimeoutLeaderFail),
        Unserved::TimeoutConnectionLost => status(Refused::TimeoutConnectionLost),
        Unserved::TimeoutWaitAppliedIndex => status(Refused::TimeoutWaitAppliedIndex),
        Unserved::TooManyRequests => status(Refused::TooManyRequests),
        Unserved::TooLarge => status(Refused::RequestTooLarge),
        Unserved::NoLeader => status(Refused::NoLeader),
        Unserved::LeaderChanged => status(Refused::LeaderChanged),
        Unserved::NotEnoughStarted => status(Refused::MemberNotEnoughStarted),
        Unserved::Unhealthy => status(Refused::Unhealthy),
        Unserved::NotLeader => status(Refused::NotLeader),
        Unserved::LearnerNotReady => status(Refused::LearnerNotReady),
        // Ours: the original lets raft decide, and knows no versions of commands.
        Unserved::LastVoter | Unserved::NotAllCan => Status::failed_precondition(why.to_string()),
        Unserved::Stopped => status(Refused::Stopped),
    }
}
