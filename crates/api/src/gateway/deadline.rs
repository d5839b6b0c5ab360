//! `Grpc-Timeout`: how long a client of the gateway waits, as the original reads it.

use std::{pin::Pin, time::Duration};

use http::HeaderMap;
use tokio::time::{Instant, Sleep, sleep_until, timeout_at};
use tonic::Status;

use crate::v3::{deadline_exceeded, time};

/// Until when a client waits, for all of its answer; `None`: as long as it is there.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Deadline(Option<Instant>);

impl Deadline {
    /// As long as the client is there.
    pub(super) const NONE: Self = Self(None);

    /// What is no time is refused, in the original's words.
    pub(super) fn of(headers: &HeaderMap) -> Result<Self, Status> {
        let Some(value) = headers.get("grpc-timeout") else { return Ok(Self(None)) };
        let text = String::from_utf8_lossy(value.as_bytes());
        let wrong = || Status::invalid_argument(format!("invalid grpc-timeout: {text}"));
        Ok(match patience(&text).ok_or_else(wrong)? {
            Patience::None => Self(Some(Instant::now())),
            Patience::Some(time) if time.is_zero() => Self(None),
            // Who waits longer than clocks can tell has no deadline.
            Patience::Some(time) => Self(Instant::now().checked_add(time)),
        })
    }

    pub(super) fn is_set(self) -> bool {
        self.0.is_some()
    }

    /// The answer, if it comes in time.
    pub(super) async fn keep<T>(
        self,
        answer: impl Future<Output = Result<T, Status>>,
    ) -> Result<T, Status> {
        let Some(at) = self.0 else { return answer.await };
        if at <= Instant::now() {
            return Err(deadline_exceeded());
        }
        timeout_at(at, answer).await.unwrap_or_else(|_| Err(deadline_exceeded()))
    }

    /// Ends when it is over.
    pub(super) fn sleep(self) -> Option<Pin<Box<Sleep>>> {
        self.0.map(|at| Box::pin(sleep_until(at)))
    }
}

#[derive(Debug, PartialEq)]
enum Patience {
    /// Less than none at all.
    None,
    Some(Duration),
}

/// A number with a unit. Go takes signs, and more digits than gRPC allows.
fn patience(text: &str) -> Option<Patience> {
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let count: i64 = digits.parse().ok()?;
    match u64::try_from(count) {
        Ok(count) => time(count, unit).map(Patience::Some),
        Err(_) => time(0, unit).map(|_| Patience::None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timeout_is_read_as_by_the_original() {
        let check = |text: &str, expected| assert_eq!(patience(text), expected, "{text:?}");
        let some = |time| Some(Patience::Some(time));
        check("5S", some(Duration::from_secs(5)));
        check("+5S", some(Duration::from_secs(5)));
        check("123456789S", some(Duration::from_secs(123_456_789)));
        check("1500m", some(Duration::from_millis(1_500)));
        check("7u", some(Duration::from_micros(7)));
        check("7n", some(Duration::from_nanos(7)));
        check("2M", some(Duration::from_mins(2)));
        check("2H", some(Duration::from_hours(2)));
        check("0S", some(Duration::ZERO));
        check("9223372036854775807H", some(Duration::from_secs(u64::MAX)));
        check("-5S", Some(Patience::None));
        for wrong in ["", "S", "5", "5s", "x", "5 S", "-5s", "999999999999999999999S", "5ü"] {
            check(wrong, None);
        }
    }

    #[test]
    fn zero_and_for_ever_are_no_deadlines() {
        for text in ["0S", "9223372036854775807H"] {
            let mut headers = HeaderMap::new();
            headers.insert("grpc-timeout", http::HeaderValue::from_static(text));
            assert!(!Deadline::of(&headers).unwrap().is_set(), "{text}");
        }
        assert!(!Deadline::of(&HeaderMap::new()).unwrap().is_set());
    }
}
