//! How a client of the v3 API asks.

use std::{fmt, sync::Arc, time::Duration};

pub use crate::cluster::Credentials;

/// What clientv3 sends at most unless it is told otherwise.
const REQUEST_BYTES_MAX: usize = 2 << 20;
/// And takes.
const ANSWER_BYTES_MAX: usize = i32::MAX as usize;

/// What servers send ahead on a stream.
const STREAM_AHEAD_BYTES: u32 = 1 << 20;

/// How a client asks. The defaults are those of etcdctl 3.6.
#[derive(Clone, Debug)]
pub struct Config {
    /// How long a connection to one endpoint may take, TLS included.
    pub dial_timeout: Duration,
    /// A connection on which a call is under way is tried with a ping after so much silence, but no
    /// sooner than after ten seconds; never if it is zero.
    pub keepalive_time: Duration,
    /// How long the answer to a ping may take, before the connection is given up.
    pub keepalive_timeout: Duration,
    /// Connections are tried also while no call is under way on them.
    pub keepalive_while_idle: bool,
    /// How long a call looks for an endpoint that connects, before it ends with [`Error::Lost`].
    /// `None`: as long as its deadline lets it.
    ///
    /// [`Error::Lost`]: super::Error::Lost
    pub reach_timeout: Option<Duration>,
    /// The largest request that is sent.
    pub request_bytes_max: usize,
    /// The largest message that is taken.
    pub answer_bytes_max: usize,
    /// What a server may send on one stream before it is taken. Streams of which nobody takes anything do
    /// not hold up others, as long as they have no more than a gigabyte of it together.
    pub stream_ahead_bytes: u32,
    /// For endpoints that begin with https; with `Some`, also for those without a scheme.
    pub tls: Option<tls::Settings>,
    /// Exchanged for a token before the first call.
    pub credentials: Option<Credentials>,
    /// Sent with every call, instead of one for `credentials`.
    pub token: Option<String>,
    /// Told when an endpoint that answered, or was not asked yet, cannot be reached.
    pub notice: Option<Notice>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            dial_timeout: Duration::from_secs(2),
            keepalive_time: Duration::from_secs(2),
            keepalive_timeout: Duration::from_secs(6),
            keepalive_while_idle: false,
            reach_timeout: None,
            request_bytes_max: REQUEST_BYTES_MAX,
            answer_bytes_max: ANSWER_BYTES_MAX,
            stream_ahead_bytes: STREAM_AHEAD_BYTES,
            tls: None,
            credentials: None,
            token: None,
            notice: None,
        }
    }
}

/// Is given one line for whoever waits.
#[derive(Clone)]
pub struct Notice(Arc<dyn Fn(&str) + Send + Sync>);

impl Notice {
    /// Calls `tell` with each line, on the task that has met the trouble.
    pub fn new(tell: impl Fn(&str) + Send + Sync + 'static) -> Self {
        Self(Arc::new(tell))
    }

    pub(super) fn tell(&self, line: &str) {
        (self.0)(line);
    }
}

impl fmt::Debug for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Notice")
    }
}
