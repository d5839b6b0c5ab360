//! What a client is told of a call that came to nothing.

use base::Refused;
use client::v3::Error;
use tonic::{Code, Status};

/// A refusal of the table.
pub(crate) fn refused(refused: Refused) -> Status {
    Status::new(Code::from_i32(i32::from(refused.grpc().number())), refused.text())
}

/// A member's no goes on as it is; what went wrong on the way is told as gRPC tells it.
pub(crate) fn status(error: &Error) -> Status {
    match error {
        Error::Refused(refusal) => Status::new(refusal.code, refusal.message.clone()),
        Error::Deadline { .. } => refused(Refused::DeadlineExceeded),
        Error::Lost { why } => Status::unavailable(why.clone()),
        Error::TooLarge { size, limit } => Status::resource_exhausted(format!(
            "trying to send message larger than max ({size} vs. {limit})"
        )),
        Error::Compacted { .. } => refused(Refused::Compacted),
        Error::Endpoint(_) | Error::Tls(_) | Error::NoEndpoints | Error::SessionExpired { .. } => {
            Status::internal(error.to_string())
        }
    }
}
