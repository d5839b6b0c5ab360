//! Following a key by long polls, across empty answers, lost connections and restarts.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::{
    cluster::Client,
    error::{Attempt, AttemptKind, Error, Unavailable},
    escape::{Form, key_path},
    keys::keys_answer,
    node::Response,
    request::Request,
    transport::Head,
};

/// Between two polls when the first brought nothing.
const PAUSE_MIN: Duration = Duration::from_millis(100);
/// The pause doubles up to this while nobody can be reached.
const PAUSE_MAX: Duration = Duration::from_secs(2);
/// The code of "the event in requested index is outdated and cleared".
const CLEARED: u16 = 401;

/// What to follow, and from where.
#[derive(Clone, Copy, Debug, Default)]
pub struct Watch {
    /// Events after this index, as far as the server remembers them. `None`: from now on.
    pub after_index: Option<u64>,
    /// All below the key as well.
    pub recursive: bool,
    /// How long to look for the cluster when it goes away after the watch was accepted once.
    /// Zero gives up when all endpoints failed once.
    pub outage_max: Duration,
}

/// The events of a key, in order and each once.
///
/// A poll that ends with nothing is repeated from where it stood, and so is one whose connection
/// broke, so that no event is lost that the server still has.
#[derive(Debug)]
pub struct Watcher {
    client: Client,
    path: String,
    how: Watch,
    /// The first index of interest; 0 is "from now on", until the server has said what now is.
    wait_index: u64,
    accepted: bool,
}

impl Watcher {
    pub(crate) fn new(client: Client, key: &[u8], how: Watch) -> Self {
        let wait_index = how.after_index.map_or(0, |index| index.saturating_add(1));
        let path = key_path(client.keys(), key);
        Self { client, path, how, wait_index, accepted: false }
    }

    /// Waits for the next event.
    ///
    /// When the server has forgotten what was asked for (code 401), this is reported once, since
    /// events are missing; the call after it goes on from the index that the error names. Dropping
    /// the returned future loses no event.
    pub async fn next(&mut self) -> Result<Response, Error> {
        loop {
            let head = self.open().await?;
            let status = head.status;
            if status == 200 {
                self.accepted = true;
                // "From now on" has a number now, and keeps it over a lost connection.
                if let (0, Some(now)) = (self.wait_index, head.etcd_index) {
                    self.wait_index = now.saturating_add(1);
                }
            }
            match self.client.read_body(head).await {
                Ok(answer) if status == 200 && answer.body.is_empty() => {
                    // A clean end with nothing in it: up to the poll's beginning there was nothing.
                    let now = answer.etcd_index.unwrap_or(0).saturating_add(1);
                    self.wait_index = self.wait_index.max(now);
                    sleep(PAUSE_MIN).await;
                }
                Ok(answer) => return self.taken(keys_answer(&answer)),
                Err(Attempt { kind: AttemptKind::Broken(_), .. }) if self.accepted => {
                    sleep(PAUSE_MIN).await;
                }
                Err(attempt) => {
                    return Err(Unavailable { attempts: vec![attempt] }.into());
                }
            }
        }
    }

    /// Moves on behind what the server said.
    fn taken(&mut self, outcome: Result<Response, Error>) -> Result<Response, Error> {
        match &outcome {
            Ok(event) => self.wait_index = event.node.modified_index.saturating_add(1),
            Err(Error::Etcd(refusal)) if refusal.code == CLEARED => {
                self.wait_index = refusal.index.saturating_add(1);
            }
            Err(_) => {}
        }
        outcome
    }

    async fn open(&self) -> Result<Head, Error> {
        let mut query = Form::default();
        query.add("recursive", self.how.recursive.to_string());
        query.add("wait", "true");
        query.add("waitIndex", self.wait_index.to_string());
        let mut request = Request::get(self.path.clone()).with_query(&query);
        request.waits = true;

        let began = Instant::now();
        let mut pause = PAUSE_MIN;
        loop {
            match self.client.open(&request).await {
                Err(Error::Unavailable(_))
                    if self.accepted && began.elapsed() < self.how.outage_max =>
                {
                    sleep(pause).await;
                    pause = (pause * 2).min(PAUSE_MAX);
                }
                outcome => return outcome,
            }
        }
    }
}
