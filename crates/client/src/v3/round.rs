//! One call's way along the endpoints.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use base::Refused;
use hyper::client::conn::http2::SendRequest;
use tokio::{
    task::JoinSet,
    time::{sleep, timeout, timeout_at},
};
use tonic::{Code, Response, Status, body::Body};

use super::{
    channel::Channel,
    client::Client,
    error::{Error, Failed, Refusal},
    line::{Line, in_order},
};

/// Before all endpoints are asked again.
const PAUSE_MIN: Duration = Duration::from_millis(25);
/// The pause doubles up to this.
const PAUSE_MAX: Duration = Duration::from_millis(500);
/// How often a call is made that is told "unavailable" each time, as in clientv3.
const ATTEMPTS_MAX: u32 = 100;
/// How often a call is made again with another token.
const TOKENS_MAX: u32 = 3;
/// How long an endpoint may take to connect before the next is tried beside it.
const HEAD_START: Duration = Duration::from_millis(250);

/// What may be done when a call fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Policy {
    /// It may be carried out twice: when an endpoint is unavailable, the next is asked.
    Repeatable,
    /// The next is asked only while it is certain that nobody has carried it out.
    Once,
    /// As `Once`, and without a token: it asks for one.
    WithoutToken,
}

impl Client {
    /// Makes a call, at one endpoint after the other as its policy allows.
    pub(super) async fn carry_out<A, F>(
        &self,
        policy: Policy,
        ask: impl Fn(Channel) -> F,
    ) -> Result<A, Error>
    where
        F: Future<Output = Result<Response<A>, Status>>,
    {
        let Some(deadline) = self.deadline else { return self.go_round(policy, ask).await };
        match timeout_at(deadline, self.go_round(policy, ask)).await {
            Ok(outcome) => outcome,
            Err(_) => Err(self.out_of_time()),
        }
    }

    async fn go_round<A, F>(&self, policy: Policy, ask: impl Fn(Channel) -> F) -> Result<A, Error>
    where
        F: Future<Output = Result<Response<A>, Status>>,
    {
        let mut round = Round::new(self, policy);
        loop {
            let (line, sender) = self.reach().await?;
            let token = match policy {
                Policy::WithoutToken => None,
                Policy::Repeatable | Policy::Once => self.token().await?,
            };
            match ask(self.channel(&line, sender, token.as_deref())).await {
                Ok(answer) => {
                    line.served();
                    return Ok(answer.into_inner());
                }
                Err(status) => round.failed(&line, Failed::of(&status)).await?,
            }
        }
    }

    /// As [`Self::connect`], for as long as the configuration says.
    async fn reach(&self) -> Result<(Arc<Line>, SendRequest<Body>), Error> {
        let Some(limit) = self.shared.config.reach_timeout else { return Ok(self.connect().await) };
        timeout(limit, self.connect()).await.map_err(|_| Error::Lost {
            why: format!("no endpoint can be reached: {}", self.troubles().join("; ")),
        })
    }

    /// A connection to the endpoint whose turn it is, or to the first that can be reached.
    async fn connect(&self) -> (Arc<Line>, SendRequest<Body>) {
        let mut pause = PAUSE_MIN;
        loop {
            let turn = self.shared.next.fetch_add(1, Ordering::Relaxed);
            let order = in_order(&self.lines(), turn);
            if let Some(found) = first_ready(order).await {
                return found;
            }
            sleep(jittered(pause)).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }
}

/// The first of some that connects. Each has a head start over the next; one that fails has none.
async fn first_ready(order: Vec<Arc<Line>>) -> Option<(Arc<Line>, SendRequest<Body>)> {
    let mut rest = order.into_iter().peekable();
    if let Some(line) = rest.peek()
        && let Some(sender) = line.at_hand()
    {
        return Some((Arc::clone(line), sender));
    }
    let mut dialing = JoinSet::new();
    loop {
        match rest.next() {
            Some(line) => {
                dialing.spawn(async move { line.ready().await.map(|sender| (line, sender)) });
            }
            None if dialing.is_empty() => return None,
            None => {}
        }
        tokio::select! {
            Some(done) = dialing.join_next() => {
                if let Ok(Some(found)) = done {
                    return Some(found);
                }
            }
            () = sleep(HEAD_START), if rest.peek().is_some() => {}
        }
    }
}

/// Up to a tenth more or less, so that many clients do not come back at once.
fn jittered(pause: Duration) -> Duration {
    pause.mul_f64(0.9 + 0.2 * fastrand::f64())
}

/// What a call has met so far.
struct Round<'a> {
    client: &'a Client,
    policy: Policy,
    attempts: u32,
    tokens: u32,
    pause: Duration,
}

impl<'a> Round<'a> {
    fn new(client: &'a Client, policy: Policy) -> Self {
        Self { client, policy, attempts: 0, tokens: 0, pause: PAUSE_MIN }
    }

    /// Judges a failure: the error, or, once another attempt may be made, nothing.
    async fn failed(&mut self, line: &Line, failed: Failed) -> Result<(), Error> {
        let error = match failed {
            // Nobody has seen it: nothing speaks against another attempt.
            Failed::Unsent(why) => {
                line.failed(&format!("{}: {why}", line.endpoint));
                return self.again().await;
            }
            Failed::Lost(why) => {
                let why = format!("{}: {why}", line.endpoint);
                line.failed(&why);
                Error::Lost { why }
            }
            Failed::Refused(refusal) if self.wants_token(&refusal) => return Ok(()),
            Failed::Refused(refusal) if refusal.code == Code::DeadlineExceeded => {
                return Err(self.client.out_of_time());
            }
            Failed::Refused(refusal) => {
                if !self.is_passing(&refusal) {
                    line.served();
                    return Err(refusal.into());
                }
                line.failed(&format!("{}: {refusal}", line.endpoint));
                Error::Refused(refusal)
            }
        };
        self.attempts += 1;
        if self.policy != Policy::Repeatable || self.attempts >= ATTEMPTS_MAX {
            return Err(error);
        }
        self.again().await
    }

    /// Once every endpoint had its turn, a moment passes.
    async fn again(&mut self) -> Result<(), Error> {
        if self.client.lines().iter().all(|line| line.is_avoided()) {
            sleep(jittered(self.pause)).await;
            self.pause = (self.pause * 2).min(PAUSE_MAX);
        }
        Ok(())
    }

    /// Whether another endpoint, or the same one a little later, may say something else.
    fn is_passing(&self, refusal: &Refusal) -> bool {
        let is_learners = refusal.message == Refused::NotSupportedForLearner.text();
        refusal.code == Code::Unavailable || (is_learners && self.client.lines().len() > 1)
    }

    /// Whether the call was refused for its token alone, and is worth another one.
    fn wants_token(&mut self, refusal: &Refusal) -> bool {
        let config = &self.client.shared.config;
        let says = |refused: Refused| refusal.message == refused.text();
        let has_another = config.credentials.is_some() && config.token.is_none();
        let about_token = says(Refused::InvalidAuthToken) || says(Refused::UserEmpty);
        // Users have changed meanwhile: even the same token may do now.
        let is = says(Refused::AuthOldRevision) || (about_token && has_another);
        if !is || self.tokens >= TOKENS_MAX || self.policy == Policy::WithoutToken {
            return false;
        }
        self.tokens += 1;
        self.client.shared.token.refused(config);
        true
    }
}
