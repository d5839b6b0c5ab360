//! What version this is, and to whom.

/// The version of etcd that clients test for: Patroni refuses below 3.0.4, Kubernetes wants 3.5.13
/// or later for consistent lists.
pub const SERVER: &str = "3.6.14";

/// What this build can do, and so the version of a cluster of such builds.
pub const CLUSTER: &str = "3.6.0";

/// The oldest member that this build talks to.
pub const MIN_PEER: &str = "3.6.0";

/// The product's own.
pub const PRODUCT: &str = env!("CARGO_PKG_VERSION");
