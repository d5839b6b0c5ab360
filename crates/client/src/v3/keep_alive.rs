//! Leases that are kept.

use std::time::Duration;

use base::Refused;
use proto::etcdserverpb::{LeaseKeepAliveRequest, LeaseKeepAliveResponse};
use tokio::{
    sync::mpsc,
    time::{Instant, sleep, sleep_until, timeout_at},
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Streaming};

use super::{
    calls::service,
    client::Client,
    error::{Error, Refusal},
    generated::etcdserverpb::lease_client::LeaseClient,
    round::Policy,
    streams::broken,
};

/// Before a stream that broke is opened again.
const PAUSE: Duration = Duration::from_millis(250);
/// How long the first answer may take, connecting included: what is left of the lease is not known
/// until then.
const FIRST: Duration = Duration::from_secs(10);

impl Client {
    /// Renews a lease once.
    pub async fn keep_alive_once(&self, lease: i64) -> Result<LeaseKeepAliveResponse, Error> {
        let answer = self.renew(lease).await?;
        if answer.ttl > 0 { Ok(answer) } else { Err(lease_not_found().into()) }
    }

    /// The same, where a lease that is not there is no error: its time to live is zero.
    pub async fn renew(&self, lease: i64) -> Result<LeaseKeepAliveResponse, Error> {
        let mut open = self.open_keep_alive(lease).await?;
        let answer = open.answers.message();
        let answer = match self.deadline {
            Some(deadline) => timeout_at(deadline, answer).await.map_err(|_| self.out_of_time())?,
            None => answer.await,
        };
        let ended = || Error::Lost { why: "the stream ended without an answer".to_owned() };
        answer.map_err(|status| broken(&status))?.ok_or_else(ended)
    }

    /// Renews a lease for as long as [`KeepAlive::next`] is called.
    pub fn keep_alive(&self, lease: i64) -> KeepAlive {
        let now = Instant::now();
        KeepAlive { client: self.clone(), lease, open: None, next: now, ends: now + FIRST }
    }

    /// A stream on which the lease has been renewed once.
    async fn open_keep_alive(&self, lease: i64) -> Result<Open, Error> {
        self.carry_out(Policy::Repeatable, |channel| {
            let (requests, waiting) = mpsc::channel(1);
            // The queue is empty.
            requests.try_send(LeaseKeepAliveRequest { id: lease }).ok();
            async move {
                let waiting = ReceiverStream::new(waiting);
                let answers = service!(LeaseClient, channel).lease_keep_alive(waiting).await?;
                Ok(answers.map(|answers| Open { answers, requests, was_asked: true }))
            }
        })
        .await
    }
}

fn lease_not_found() -> Refusal {
    Refusal { code: Code::NotFound, message: Refused::LeaseNotFound.text().to_owned() }
}

/// A lease that is being kept: renewed when a third of its time is over.
#[derive(Debug)]
pub struct KeepAlive {
    client: Client,
    lease: i64,
    open: Option<Open>,
    /// When to renew it.
    next: Instant,
    /// When it is over, as far as we know.
    ends: Instant,
}

#[derive(Debug)]
struct Open {
    answers: Streaming<LeaseKeepAliveResponse>,
    requests: mpsc::Sender<LeaseKeepAliveRequest>,
    /// Whether the answer to a renewal is to come.
    was_asked: bool,
}

impl KeepAlive {
    /// Waits until it is time, renews the lease, and gives the server's answer. `None`: the lease
    /// is gone, or its time passed while no endpoint could be reached.
    pub async fn next(&mut self) -> Result<Option<LeaseKeepAliveResponse>, Error> {
        sleep_until(self.next).await;
        loop {
            let ends = self.ends;
            let Ok(renewed) = timeout_at(ends, self.renew()).await else { return Ok(None) };
            match renewed {
                Ok(answer) if answer.ttl <= 0 => return Ok(None),
                Ok(answer) => {
                    let ttl = Duration::from_secs(answer.ttl.unsigned_abs());
                    let now = Instant::now();
                    self.next = now + ttl / 3;
                    self.ends = now.checked_add(ttl).unwrap_or(now + ttl / 3 * 2);
                    return Ok(Some(answer));
                }
                Err(Error::Refused(refusal)) if !is_passing(&refusal) => {
                    return Err(refusal.into());
                }
                Err(_) => {
                    self.open = None;
                    sleep(PAUSE).await;
                }
            }
        }
    }

    async fn renew(&mut self) -> Result<LeaseKeepAliveResponse, Error> {
        let open = match &mut self.open {
            Some(open) => open,
            none => none.insert(self.client.open_keep_alive(self.lease).await?),
        };
        let lost = || Error::Lost { why: "the stream ended".to_owned() };
        if !open.was_asked {
            let request = LeaseKeepAliveRequest { id: self.lease };
            open.requests.send(request).await.map_err(|_| lost())?;
            open.was_asked = true;
        }
        let answer = open.answers.message().await.map_err(|status| broken(&status))?;
        open.was_asked = false;
        answer.ok_or_else(lost)
    }
}

fn is_passing(refusal: &Refusal) -> bool {
    matches!(refusal.code, Code::Unavailable | Code::Internal)
}
