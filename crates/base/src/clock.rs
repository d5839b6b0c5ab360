//! Time comes from outside: the real clock in a server, a scheduled one in simulation.

use std::{fmt, time::Duration};

/// Wall-clock time as nanoseconds since 1970-01-01T00:00:00Z; good until the year 2262.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnixNanos(pub i64);

impl UnixNanos {
    /// This time moved by `by`; stays at the largest time rather than wrap.
    #[must_use]
    pub fn saturating_add(self, by: Duration) -> Self {
        Self(self.0.saturating_add(i64::try_from(by.as_nanos()).unwrap_or(i64::MAX)))
    }

    /// From this time until `later`; zero if that has passed.
    pub fn until(self, later: Self) -> Duration {
        Duration::from_nanos(u64::try_from(later.0.saturating_sub(self.0)).unwrap_or(0))
    }
}

/// One moment by both clocks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// See [`Clock::monotonic`].
    pub monotonic: Duration,
    /// See [`Clock::wall`].
    pub wall: UnixNanos,
}

/// Where time is read. The only such place: see `clippy.toml`.
pub trait Clock: Send + Sync + fmt::Debug {
    /// Time since some fixed moment; never goes back.
    fn monotonic(&self) -> Duration;

    /// The time of day, which an operator or NTP may move either way.
    fn wall(&self) -> UnixNanos;

    fn now(&self) -> Now {
        Now { monotonic: self.monotonic(), wall: self.wall() }
    }
}

/// The operating system's clock.
#[derive(Debug)]
pub struct OsClock {
    start: std::time::Instant,
}

impl OsClock {
    #[allow(clippy::disallowed_methods, reason = "the one place where real time enters")]
    pub fn new() -> Self {
        Self { start: std::time::Instant::now() }
    }
}

impl Default for OsClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for OsClock {
    fn monotonic(&self) -> Duration {
        self.start.elapsed()
    }

    #[allow(clippy::disallowed_methods, reason = "the one place where real time enters")]
    fn wall(&self) -> UnixNanos {
        let since =
            std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        UnixNanos(i64::try_from(since.as_nanos()).unwrap_or(i64::MAX))
    }
}
