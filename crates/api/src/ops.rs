//! What operators and their tools ask.

pub(crate) mod health;
pub(crate) mod log_level;
pub(crate) mod metrics;
#[cfg(feature = "next-version")]
pub(crate) mod next;
pub(crate) mod process;
pub(crate) mod profiling;
pub(crate) mod vars;
pub(crate) mod version;
