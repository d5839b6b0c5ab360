//! A watch that goes on over lost connections and from one endpoint to the next.

use std::{mem, time::Duration};

use base::{Refused, limits::WATCH_PARTS_BYTES_MAX};
use proto::{
    Message as _,
    etcdserverpb::{
        ResponseHeader, WatchCreateRequest, WatchProgressRequest, WatchRequest, WatchResponse,
        watch_request::RequestUnion,
    },
    mvccpb::Event,
};
use tokio::{sync::mpsc, time::sleep};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Streaming};

use super::{
    calls::service,
    client::Client,
    error::{Error, Failed, Refusal},
    generated::etcdserverpb::watch_client::WatchClient,
    round::Policy,
};

/// Before a stream that broke is opened again.
const PAUSE: Duration = Duration::from_millis(100);
/// Requests that wait on a stream: the watch itself, and questions about progress.
const REQUESTS: usize = 8;

impl Client {
    /// Follows the keys of `what`, whose `watch_id` has no meaning here. With `fragment`, an answer that
    /// comes in parts is put together; one that is more than 128 MiB then, or more than
    /// [`Config::answer_bytes_max`](super::Config::answer_bytes_max), ends the watch.
    ///
    /// The stream is opened by the first [`Watcher::next`].
    pub fn watch(&self, what: WatchCreateRequest) -> Watcher {
        let (ask, asked) = mpsc::channel(REQUESTS);
        let what = WatchCreateRequest { watch_id: 0, ..what };
        let parts = Parts::default();
        Watcher { client: self.clone(), what, open: None, parts, ask, asked, end: None }
    }
}

/// The changes of some keys, in order and each once.
///
/// When the connection breaks, the watch goes on from where it stood, at whatever endpoint can be
/// reached.
#[derive(Debug)]
pub struct Watcher {
    client: Client,
    /// `start_revision` moves on with what has been told.
    what: WatchCreateRequest,
    open: Option<Open>,
    parts: Parts,
    ask: mpsc::Sender<()>,
    asked: mpsc::Receiver<()>,
    /// What a server said last of all.
    end: Option<WatchResponse>,
}

#[derive(Debug)]
struct Open {
    answers: Streaming<WatchResponse>,
    requests: mpsc::Sender<WatchRequest>,
}

/// What has come of an answer in parts.
#[derive(Debug, Default)]
struct Parts {
    events: Vec<Event>,
    bytes: usize,
}

/// Asks for a watch's progress, from elsewhere.
#[derive(Clone, Debug)]
pub struct Asker(mpsc::Sender<()>);

impl Asker {
    /// Has the watch tell where it stands, once it has told all before that.
    pub fn ask(&self) {
        // If so many questions wait, this one is answered with them.
        self.0.try_send(()).ok();
    }
}

impl Watcher {
    /// With which answer a server has ended the watch; `None`: it has not, or it never took it.
    pub fn end(&self) -> Option<&WatchResponse> {
        self.end.as_ref()
    }

    /// What asks for this watch's progress.
    pub fn asker(&self) -> Asker {
        Asker(self.ask.clone())
    }

    /// Waits until a server has taken the watch; its header then, whose revision is the one before
    /// what the watch tells if it has no start. To be called before [`Watcher::next`].
    pub async fn created(&mut self) -> Result<ResponseHeader, Error> {
        loop {
            let answer = self.answer().await?;
            if answer.created && !answer.canceled {
                let header = answer.header.unwrap_or_default();
                self.taken(answer)?;
                return Ok(header);
            }
            self.taken(answer)?;
        }
    }

    /// Waits for what comes next: events, or none, which tells how far the watch has come.
    ///
    /// After an error the watch is over. Dropping the returned future loses no event.
    pub async fn next(&mut self) -> Result<WatchResponse, Error> {
        loop {
            let answer = self.answer().await?;
            if let Some(told) = self.taken(answer)? {
                return Ok(told);
            }
        }
    }

    /// What the server says next, on a stream that is opened anew as often as it breaks.
    async fn answer(&mut self) -> Result<WatchResponse, Error> {
        loop {
            if self.open.is_none() {
                let open = self.open().await?;
                self.open = Some(open);
            }
            let Some(open) = &mut self.open else { continue };
            let answer = tokio::select! {
                answer = open.answers.message() => answer,
                Some(()) = self.asked.recv() => {
                    let progress = RequestUnion::ProgressRequest(WatchProgressRequest {});
                    // A full queue has the same question in it; a closed one is met below.
                    open.requests.try_send(WatchRequest { request_union: Some(progress) }).ok();
                    continue;
                }
            };
            match answer {
                Ok(Some(answer)) => return Ok(answer),
                Ok(None) => self.broke().await,
                Err(status) => match Failed::of(&status) {
                    Failed::Refused(refusal) if !is_passing(&refusal) => return Err(refusal.into()),
                    Failed::Refused(_) | Failed::Unsent(_) | Failed::Lost(_) => self.broke().await,
                },
            }
        }
    }

    async fn open(&self) -> Result<Open, Error> {
        let opened = self.client.carry_out(Policy::Repeatable, |channel| {
            let (requests, waiting) = mpsc::channel(REQUESTS);
            let create = RequestUnion::CreateRequest(self.what.clone());
            // The queue is empty.
            requests.try_send(WatchRequest { request_union: Some(create) }).ok();
            async move {
                let waiting = ReceiverStream::new(waiting);
                let answers = service!(WatchClient, channel).watch(waiting).await?;
                Ok(answers.map(|answers| Open { answers, requests }))
            }
        });
        match opened.await {
            Err(Error::Refused(refusal)) if is_passing(&refusal) => {
                Err(Error::Lost { why: refusal.message })
            }
            outcome => outcome,
        }
    }

    async fn broke(&mut self) {
        self.open = None;
        // They come again from the first on.
        self.parts = Parts::default();
        sleep(PAUSE).await;
    }

    /// Moves on behind what the server said, and gives what is to be told.
    fn taken(&mut self, answer: WatchResponse) -> Result<Option<WatchResponse>, Error> {
        let revision = answer.compact_revision;
        if revision != 0 || answer.canceled {
            let why = canceled(&answer);
            self.end = Some(answer).filter(|answer| !answer.created);
            return Err(if revision != 0 { Error::Compacted { revision } } else { why.into() });
        }
        let now = answer.header.as_ref().map_or(0, |header| header.revision);
        if answer.created {
            // "From now on" has a number now, and keeps it over a lost connection.
            if self.what.start_revision == 0 {
                self.what.start_revision = now + 1;
            }
            return Ok(None);
        }
        let Some(answer) = self.whole(answer)? else { return Ok(None) };
        let last = answer.events.last().and_then(|event| event.kv.as_ref());
        let told = last.map_or(now, |kv| kv.mod_revision);
        self.what.start_revision = self.what.start_revision.max(told + 1);
        Ok(Some(answer))
    }
}

impl Watcher {
    /// Puts an answer's parts together; `None`: more is to come.
    fn whole(&mut self, mut answer: WatchResponse) -> Result<Option<WatchResponse>, Error> {
        let is_first = self.parts.events.is_empty();
        if is_first && !answer.fragment {
            return Ok(Some(answer));
        }
        if answer.events.is_empty() {
            // How far the watch is cannot be said within an answer.
            return Ok(None);
        }
        self.parts.bytes += answer.encoded_len();
        let limit = self.client.shared.config.answer_bytes_max.min(WATCH_PARTS_BYTES_MAX);
        if self.parts.bytes > limit {
            let message = Refused::AnswerTooLarge.text().to_owned();
            return Err(Refusal { code: Code::ResourceExhausted, message }.into());
        }
        self.parts.events.append(&mut answer.events);
        if answer.fragment {
            return Ok(None);
        }
        let Parts { events, .. } = mem::take(&mut self.parts);
        Ok(Some(WatchResponse { events, ..answer }))
    }
}

/// Why the server has ended a watch, as clientv3 has it.
fn canceled(answer: &WatchResponse) -> Refusal {
    if answer.cancel_reason.is_empty() {
        let message = Refused::FutureRevision.text().to_owned();
        return Refusal { code: Code::OutOfRange, message };
    }
    Refusal { code: Code::FailedPrecondition, message: answer.cancel_reason.clone() }
}

/// A member that stops, or whose stream broke. A member without a leader is no such thing: whoever
/// asked for a leader wants to know.
fn is_passing(refusal: &Refusal) -> bool {
    let passing = matches!(refusal.code, Code::Unavailable | Code::Internal);
    passing && refusal.message != Refused::NoLeader.text()
}
