//! `etcdserverpb.KV`: reading and writing keys. Ranges have a file of their own: `range`.

use std::{
    pin::Pin,
    sync::{Arc, atomic::Ordering::Relaxed},
    task::{Context as Cx, Poll},
};

use base::{Refused, room::Hold};
use proto::{
    command::{Compact, Op},
    etcdserverpb::{
        CompactionRequest, CompactionResponse, DeleteRangeRequest, DeleteRangeResponse, PutRequest,
        PutResponse, RangeRequest, RangeResponse, RangeStreamResponse, TxnRequest, TxnResponse,
    },
};
use server::Done;
use state::{
    Response as Applied,
    apply::Reply,
    kv::{self, Error, Most, Scan, check},
};
use tokio::time::Instant;
use tokio_stream::Stream;
use tonic::{Request, Response, Status};

use super::{
    failure::{read, status, unserved},
    generated::etcdserverpb::kv_server,
    header,
    range::{self, Answer},
    slow::{self, Counts},
};
use crate::{context::Context, under_way::Held};

/// Pairs that go into one message of a streamed range.
const CHUNK_BYTES: usize = 256 * 1024;

pub(crate) struct Kv(pub(crate) Arc<Context>);

impl Kv {
    /// Carries a command out on all members; the answer lacks its header.
    async fn write(&self, op: Op) -> Result<(Reply, u64), Status> {
        write(&self.0, op).await
    }

    /// Answers a transaction that only reads: what is small here and now, as ranges are.
    async fn read(&self, request: TxnRequest) -> Result<(TxnResponse, Option<Hold>), Status> {
        let context = &self.0;
        if !kv::is_serializable(&request) {
            context.handle.read_barrier().await.map_err(unserved)?;
        }
        let hold = context.room_for_small().await?;
        match context.handle.reader().txn_up_to(&request, Most::SMALL) {
            Err(Error::Refused(Refused::AnswerTooLarge)) => drop(hold),
            answer => return Ok((answer.map_err(read)?, hold)),
        }
        let op = Op::Txn(request);
        let hold = context.room_for_answer_to(&op).await.map_err(read)?;
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

/// Carries a command out on all members; the answer, whose header has only the revision, and the term.
pub(crate) async fn write(context: &Context, op: Op) -> Result<(Reply, u64), Status> {
    let Done { response, term, .. } = context.handle.write(op).await.map_err(unserved)?;
    let Applied::V3(answer) = response else { return Err(unexpected(&response)) };
    answer.map(|reply| (reply, term.0)).map_err(status)
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
        match range::any(&self.0, request.into_inner()).await? {
            Answer::Whole(answer, hold) => Ok(with_room(answer, hold)),
            Answer::Large(..) => Err(status(Refused::AnswerTooLarge)),
        }
    }

    async fn range_stream(
        &self,
        request: Request<RangeRequest>,
    ) -> Result<Response<RangeStream>, Status> {
        let request = request.into_inner();
        check::range_stream(&request).map_err(status)?;
        self.0.counters.grpc.ranges.fetch_add(1, Relaxed);
        let (scan, hold) = range::scan(&self.0, request, CHUNK_BYTES).await?;
        let stream = RangeStream { context: Arc::clone(&self.0), scan: Some(scan) };
        let mut response = Response::new(stream);
        response.extensions_mut().insert(Held { hold, is_whole: false });
        Ok(response)
    }

    async fn put(&self, request: Request<PutRequest>) -> Result<Response<PutResponse>, Status> {
        let request = request.into_inner();
        check::put(&request).map_err(status)?;
        let op = Op::Put(request);
        let hold = self.0.room_for_answer_to(&op).await.map_err(read)?;
        match self.write(op).await? {
            (Reply::Put(mut answer), term) => {
                self.complete(&mut answer.header, term);
                Ok(with_room(answer, hold))
            }
            (other, _) => Err(unexpected(&other)),
        }
    }

    async fn delete_range(
        &self,
        request: Request<DeleteRangeRequest>,
    ) -> Result<Response<DeleteRangeResponse>, Status> {
        let request = request.into_inner();
        check::delete_range(&request).map_err(status)?;
        let op = Op::DeleteRange(request);
        let hold = self.0.room_for_answer_to(&op).await.map_err(read)?;
        match self.write(op).await? {
            (Reply::DeleteRange(mut answer), term) => {
                self.complete(&mut answer.header, term);
                Ok(with_room(answer, hold))
            }
            (other, _) => Err(unexpected(&other)),
        }
    }

    async fn txn(&self, request: Request<TxnRequest>) -> Result<Response<TxnResponse>, Status> {
        let request = request.into_inner();
        check::txn(&request, self.0.config.grpc.txn_ops_max).map_err(status)?;
        let (mut answer, hold, term) = if kv::is_read_only(&request) {
            let (began, asked) = (Instant::now(), Counts::of(&request));
            let (answer, hold) = self.read(request).await?;
            slow::txn(&self.0, asked, began.elapsed(), &answer);
            (answer, hold, self.0.handle.status().term.0)
        } else {
            let op = Op::Txn(request);
            let hold = self.0.room_for_answer_to(&op).await.map_err(read)?;
            match self.write(op).await? {
                (Reply::Txn(answer), term) => (answer, hold, term),
                (other, _) => return Err(unexpected(&other)),
            }
        };
        self.complete(&mut answer.header, term);
        Ok(with_room(answer, hold))
    }

    async fn compact(
        &self,
        request: Request<CompactionRequest>,
    ) -> Result<Response<CompactionResponse>, Status> {
        let CompactionRequest { revision, physical } = request.into_inner();
        match self.write(Op::Compact(Compact { revision })).await? {
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

    fn poll_next(mut self: Pin<&mut Self>, _: &mut Cx<'_>) -> Poll<Option<Self::Item>> {
        let Self { context, scan } = &mut *self;
        let Some(scan) = scan else { return Poll::Ready(None) };
        let kvs = match scan.next_pairs(CHUNK_BYTES) {
            Ok(kvs) => kvs,
            Err(error) => {
                self.scan = None;
                return Poll::Ready(Some(Err(read(error))));
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
