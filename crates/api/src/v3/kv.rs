//! `etcdserverpb.KV`: reading and writing keys. Ranges have a file of their own: `range`.

use std::{
    pin::Pin,
    sync::{Arc, atomic::Ordering::Relaxed},
    task::{Context as Cx, Poll, ready},
};

use base::{Refused, room::Hold};
use proto::{
    command::{By, Compact, Op},
    etcdserverpb::{
        CompactionRequest, CompactionResponse, DeleteRangeRequest, DeleteRangeResponse, PutRequest,
        PutResponse, RangeRequest, RangeResponse, RangeStreamResponse, TxnRequest, TxnResponse,
        response_op,
    },
};
use server::Done;
use state::{
    Response as Applied,
    apply::Reply,
    kv::{self, Error, Most, Scan, check},
};
use tokio_stream::Stream;
use tonic::{Request, Response, Status};

use super::{
    failure::{read, status, unserved},
    generated::etcdserverpb::kv_server,
    header,
    range::{self, Answer},
};
use crate::{
    auth::{Asker, TRIES},
    context::Context,
    slow::{self, Counts, Times},
    under_way::Held,
};

/// Pairs that go into one message of a streamed range.
const CHUNK_BYTES: usize = 256 * 1024;

pub(crate) struct Kv(pub(crate) Arc<Context>);

impl Kv {
    /// Carries a command out on all members, if it is permitted and there is room for its answer, which
    /// lacks its header.
    async fn write(&self, asker: &Asker, op: Op) -> Result<(Reply, Option<Hold>, u64), Status> {
        asker.allowed(&self.0, &op).await?;
        let hold = self.0.room_for_answer_to(&op).await.map_err(read)?;
        let (reply, term) = write(&self.0, asker, op).await?;
        Ok((reply, hold, term))
    }

    /// Answers a transaction that only reads.
    async fn read(
        &self,
        asker: &Asker,
        request: TxnRequest,
        times: &mut Times,
    ) -> Result<(TxnResponse, Option<Hold>), Status> {
        if !kv::is_serializable(&request) {
            times.at_read_index(self.0.handle.read_barrier()).await.map_err(unserved)?;
        }
        asker.note(|trail| trail.txn(&request));
        for _ in 0..TRIES {
            let pass = asker.may(&self.0, |auth, by| auth.reads_all(by, &request)).await?;
            let answer = self.read_permitted(request.clone(), times).await?;
            if pass.holds(&self.0) {
                return Ok(answer);
            }
        }
        Err(status(Refused::AuthOldRevision))
    }

    /// What is small here and now, as ranges are.
    async fn read_permitted(
        &self,
        request: TxnRequest,
        times: &mut Times,
    ) -> Result<(TxnResponse, Option<Hold>), Status> {
        let context = &self.0;
        let hold = times.for_room(context.room_for_small()).await?;
        match context.handle.reader().txn_up_to(&request, Most::SMALL) {
            Err(Error::Refused(Refused::AnswerTooLarge)) => drop(hold),
            answer => return Ok((answer.map_err(read)?, hold)),
        }
        let op = Op::Txn(request);
        let hold = times.for_room(context.room_for_answer_to(&op)).await.map_err(read)?;
        let Op::Txn(request) = op else { return Err(status(Refused::Stopped)) };
        let reading = Arc::clone(context);
        let read_all = move || reading.handle.reader().txn(&request);
        let answer = context.read_long(hold.clone(), read_all);
        Ok((answer.await.map_err(read)?, hold))
    }

    fn complete(&self, header: &mut Option<proto::etcdserverpb::ResponseHeader>, term: u64) {
        header::complete(&self.0.handle, header, term);
    }
}

/// Carries a command out on all members, if it is permitted; the answer, whose header has only the
/// revision, and the term.
pub(crate) async fn write(
    context: &Context,
    asker: &Asker,
    op: Op,
) -> Result<(Reply, u64), Status> {
    asker.note(|trail| trail.op(&op));
    if !context.handle.reader().auth_is_enabled() {
        return write_by(context, None, op).await?.map_err(status);
    }
    for _ in 0..TRIES {
        let by = asker.allowed(context, &op).await?;
        match write_by(context, by, op.clone()).await? {
            // Users have changed since it was proposed: it did nothing.
            Err(Refused::AuthOldRevision) => {}
            answer => {
                return answer.map_err(|refused| {
                    asker.refused_at_last(refused);
                    status(refused)
                });
            }
        }
    }
    Err(status(Refused::AuthOldRevision))
}

async fn write_by(
    context: &Context,
    by: Option<By>,
    op: Op,
) -> Result<Result<(Reply, u64), Refused>, Status> {
    let Done { response, term, .. } = context.handle.write_by(by, op).await.map_err(unserved)?;
    let Applied::V3(answer) = response else { return Err(unexpected(&response)) };
    Ok(answer.map(|reply| (reply, term.0)))
}

/// A command got an answer of another kind.
pub(crate) fn unexpected(answer: &impl std::fmt::Debug) -> Status {
    Status::internal(format!("unexpected answer: {answer:?}"))
}

#[tonic::async_trait]
impl kv_server::Kv for Kv {
    type RangeStreamStream = RangeStream;

    async fn range(
        &self,
        request: Request<RangeRequest>,
    ) -> Result<Response<RangeResponse>, Status> {
        // Asked by nobody: `range` answers before requests come here.
        match range::any(&self.0, &Asker::of(&request), request.into_inner()).await? {
            Answer::Whole(answer, hold) => Ok(with_room(answer, hold)),
            Answer::Large(..) => Err(status(Refused::AnswerTooLarge)),
        }
    }

    async fn range_stream(
        &self,
        request: Request<RangeRequest>,
    ) -> Result<Response<RangeStream>, Status> {
        let (asker, request) = (Asker::of(&request), request.into_inner());
        check::range_stream(&request).map_err(status)?;
        self.0.counters.grpc.ranges.fetch_add(1, Relaxed);
        let (scan, hold) = range::scan(&self.0, &asker, request, CHUNK_BYTES).await?;
        let stream = RangeStream { context: Arc::clone(&self.0), scan: Some(scan) };
        let mut response = Response::new(stream);
        response.extensions_mut().insert(Held { hold, is_whole: false });
        Ok(response)
    }

    async fn put(&self, request: Request<PutRequest>) -> Result<Response<PutResponse>, Status> {
        let (asker, request) = (Asker::of(&request), request.into_inner());
        check::put(&request).map_err(status)?;
        match self.write(&asker, Op::Put(request)).await? {
            (Reply::Put(mut answer), hold, term) => {
                self.complete(&mut answer.header, term);
                Ok(with_room(answer, hold))
            }
            (other, ..) => Err(unexpected(&other)),
        }
    }

    async fn delete_range(
        &self,
        request: Request<DeleteRangeRequest>,
    ) -> Result<Response<DeleteRangeResponse>, Status> {
        let (asker, request) = (Asker::of(&request), request.into_inner());
        check::delete_range(&request).map_err(status)?;
        match self.write(&asker, Op::DeleteRange(request)).await? {
            (Reply::DeleteRange(mut answer), hold, term) => {
                self.complete(&mut answer.header, term);
                Ok(with_room(answer, hold))
            }
            (other, ..) => Err(unexpected(&other)),
        }
    }

    async fn txn(&self, request: Request<TxnRequest>) -> Result<Response<TxnResponse>, Status> {
        let (asker, request) = (Asker::of(&request), request.into_inner());
        check::txn(&request, self.0.config.grpc.txn_ops_max).map_err(status)?;
        let (mut answer, hold, term) = if kv::is_read_only(&request) {
            let (mut times, asked) = (Times::begin(), Counts::of(&request));
            let read = self.read(&asker, request, &mut times).await;
            slow::txn(&self.0, asked, &times, read.as_ref().map(|(answer, _)| answer));
            let (answer, hold) = read?;
            (answer, hold, self.0.handle.status().term.0)
        } else {
            match self.write(&asker, Op::Txn(request)).await? {
                (Reply::Txn(answer), hold, term) => (answer, hold, term),
                (other, ..) => return Err(unexpected(&other)),
            }
        };
        self.0.counters.grpc.ranges.fetch_add(ranges_in(&answer), Relaxed);
        self.complete(&mut answer.header, term);
        Ok(with_room(answer, hold))
    }

    async fn compact(
        &self,
        request: Request<CompactionRequest>,
    ) -> Result<Response<CompactionResponse>, Status> {
        let asker = Asker::of(&request);
        let CompactionRequest { revision, physical } = request.into_inner();
        let op = Op::Compact(Compact { revision });
        asker.note(|trail| trail.op(&op));
        // Whoever is known may; the original asks nobody.
        asker.identified(&self.0).await?;
        match write(&self.0, &asker, op).await? {
            (Reply::Compact(mut answer), term) => {
                if physical {
                    range::swept(&self.0).await?;
                }
                self.complete(&mut answer.header, term);
                Ok(Response::new(answer))
            }
            (other, _) => Err(unexpected(&other)),
        }
    }
}

/// How many ranges a transaction has read, those of nested ones too.
fn ranges_in(answer: &TxnResponse) -> u64 {
    let each = answer.responses.iter().map(|response| match &response.response {
        Some(response_op::Response::ResponseRange(_)) => 1,
        Some(response_op::Response::ResponseTxn(nested)) => ranges_in(nested),
        _ => 0,
    });
    each.sum()
}

/// The room that an answer has goes along until it is sent.
fn with_room<A>(answer: A, hold: Option<Hold>) -> Response<A> {
    let mut response = Response::new(answer);
    if let Some(hold) = hold {
        response.extensions_mut().insert(Held { hold, is_whole: true });
    }
    response
}

/// A range in messages of some size.
pub(crate) struct RangeStream {
    context: Arc<Context>,
    /// `None` once the last message is out.
    scan: Option<Scan>,
}

impl Stream for RangeStream {
    type Item = Result<RangeStreamResponse, Status>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Cx<'_>) -> Poll<Option<Self::Item>> {
        let Self { context, scan } = &mut *self;
        let Some(scan) = scan else { return Poll::Ready(None) };
        let kvs = match ready!(range::poll_pairs(scan, CHUNK_BYTES, cx)) {
            Ok(kvs) => kvs,
            Err(status) => {
                self.scan = None;
                return Poll::Ready(Some(Err(status)));
            }
        };
        let mut answer = RangeResponse { kvs, ..RangeResponse::default() };
        // The last message tells of the whole, beside the last pairs.
        if scan.is_done() || answer.kvs.is_empty() {
            (answer.more, answer.count) = (scan.more(), scan.count());
            answer.header = Some(header::header(&context.handle, scan.revision()));
            self.scan = None;
        }
        Poll::Ready(Some(Ok(RangeStreamResponse { range_response: Some(answer) })))
    }
}
