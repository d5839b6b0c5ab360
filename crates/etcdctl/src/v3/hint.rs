//! A word to whoever asks API 2 for a key that only API 3 has.

use std::time::Duration;

use client::v3::{Client, Config};
use proto::etcdserverpb::RangeRequest;

use super::go;

/// How long looking may take: the run has failed already.
const LIMIT: Duration = Duration::from_secs(1);

/// A line for stderr, if API 3 has a key of exactly these bytes. What goes wrong meanwhile is nobody's
/// concern.
pub(crate) async fn at_key(endpoints: &[String], config: Config, key: Vec<u8>) -> Option<String> {
    let client = Client::new(endpoints, config).ok()?;
    let range = RangeRequest {
        key: key.clone().into(),
        serializable: true,
        count_only: true,
        ..RangeRequest::default()
    };
    let found = client.within(LIMIT).range(range).await.ok()?;
    let key = go::quote(&key);
    (found.count > 0).then(|| format!("API 3 has a key {key}: ETCDCTL_API=3 etcdctl get {key}"))
}
