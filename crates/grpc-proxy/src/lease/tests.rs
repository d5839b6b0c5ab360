//! Renewals that a member does not answer.

use tokio::{
    sync::mpsc::{self, Sender},
    time::timeout,
};
use tonic::Code;

use super::*;
use crate::{
    generated::etcdserverpb::lease_server::LeaseServer,
    scripted::{open, serve, talk},
};

type Answers = Sender<Result<LeaseKeepAliveResponse, Status>>;

/// The lease that no answer comes of.
const STALLED: i64 = 13;
const PATIENCE: Duration = Duration::from_secs(10);

/// A member that renews all leases but one.
async fn member() -> Client {
    serve(|request| {
        talk(request, |mut asked: Streaming<LeaseKeepAliveRequest>, send: Answers| async move {
            while let Ok(Some(LeaseKeepAliveRequest { id })) = asked.message().await {
                if id != STALLED {
                    let answer = LeaseKeepAliveResponse { id, ttl: 60, ..Default::default() };
                    send.send(Ok(answer)).await.ok();
                }
            }
        })
    })
    .await
}

struct Stream {
    ask: Sender<LeaseKeepAliveRequest>,
    answers: Streaming<LeaseKeepAliveResponse>,
    stop: watch::Sender<bool>,
}

impl Stream {
    /// Through a proxy where a renewal may take so long.
    async fn open(patience: Duration) -> Self {
        let (stop, stopping) = watch::channel(false);
        let lease = Lease {
            client: member().await,
            namespace: Namespace::default(),
            renewals: Arc::new(Renewals::new(Arc::default(), patience)),
            stop: stopping,
        };
        let path = "/etcdserverpb.Lease/LeaseKeepAlive";
        let (ask, answers) = open(LeaseServer::new(lease), path).await;
        Self { ask, answers, stop }
    }

    async fn ask(&self, leases: &[i64]) {
        for &id in leases {
            self.ask.send(LeaseKeepAliveRequest { id }).await.unwrap();
        }
    }

    async fn answer(&mut self) -> Result<Option<i64>, Status> {
        let answer = timeout(PATIENCE, self.answers.message()).await.expect("an answer");
        Ok(answer?.map(|answer| answer.id))
    }
}

#[tokio::test]
async fn a_lease_that_no_answer_comes_of_holds_up_no_other_of_its_stream() {
    let mut stream = Stream::open(PATIENCE * 10).await;
    stream.ask(&[STALLED, 1, STALLED, 2]).await;
    let mut renewed = [stream.answer().await.unwrap(), stream.answer().await.unwrap()];
    renewed.sort_unstable();
    assert_eq!(renewed, [Some(1), Some(2)]);
    // Nor does it hold up the end.
    stream.stop.send_replace(true);
    assert_eq!(stream.answer().await.unwrap_err().message(), "etcdserver: server stopped");
}

#[tokio::test]
async fn a_renewal_ends_after_some_time_with_a_word_on_which_clients_come_again() {
    let mut stream = Stream::open(Duration::from_millis(50)).await;
    stream.ask(&[STALLED]).await;
    let status = stream.answer().await.unwrap_err();
    let told = (status.code(), status.message());
    assert_eq!(told, (Code::Unavailable, "etcdserver: request timed out"));
}

#[tokio::test]
async fn what_was_asked_is_answered_also_after_the_client_has_ended_its_half() {
    let Stream { ask, answers, stop } = Stream::open(PATIENCE).await;
    let mut stream = Stream { ask: ask.clone(), answers, stop };
    stream.ask(&[1, 1]).await;
    stream.ask = mpsc::channel(1).0;
    drop(ask);
    let told = [stream.answer().await, stream.answer().await, stream.answer().await];
    assert_eq!(told.map(Result::unwrap), [Some(1), Some(1), None]);
}
