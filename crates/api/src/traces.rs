//! Calls that are traced: who does so comes from outside.

use std::{fmt, sync::Arc};

use http::HeaderMap;

/// Follows calls, for whoever looks at them later.
pub trait Traces: fmt::Debug + Send + Sync {
    /// A call of this method has begun, whose client sent these headers. `None`: it is not one of those
    /// that are followed.
    fn begin(&self, service: &str, method: &str, headers: &HeaderMap) -> Option<Box<dyn Span>>;
}

/// A call that is followed. It has been given up, if nobody says how it ended.
pub trait Span: Send + Sync {
    /// `code`: gRPC's.
    fn end(self: Box<Self>, code: i32);
}

/// `--enable-distributed-tracing`.
pub type Tracer = Arc<dyn Traces>;
