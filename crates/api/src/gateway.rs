//! The JSON gateway: the services of v3 as `POST /v3/…`, with bytes in base64.
//!
//! - `range`: ranges of any size; `watch`: answers of any size; `messages`: answers that come one after the other; `requests`: questions that do,
//!   of which `values` finds the ends
//! - `deadline`: how long a client waits; `failure`: errors as JSON; `websocket`: for pages, which cannot
//!   send one question after the other otherwise

mod deadline;
mod failure;
mod messages;
mod range;
mod requests;
mod values;
mod watch;
mod websocket;

use std::{borrow::Cow, sync::Arc};

use base::limits;
use bytes::Bytes;
use http::{Extensions, HeaderMap, Method, Request, StatusCode};
use hyper::body::Incoming;
use percent_encoding::percent_decode_str;
use proto::{Message, v3electionpb::LeaderRequest};
use serde::{Serialize, de::DeserializeOwned};
use server::Applicant;
use tokio::sync::mpsc;
use tokio_stream::Stream;
use tonic::{Code, Response, Status, metadata::MetadataMap};

use self::deadline::Deadline;
pub(crate) use self::{messages::MessagesBody, range::RangeBody};
use crate::{
    audit::Trail,
    auth::Asker,
    context::Context,
    ops::metrics::grpc::Call,
    reply::{self, JSON, Reply},
    under_way::Held,
    v3::{self, services},
};

/// Calls a method of a service with the message in the request's body.
macro_rules! unary {
    ($service:ident :: $trait:ident :: $method:ident, $context:expr, $question:expr) => {
        unary($context, $question, called!($service::$method), async |context, request| {
            services::$trait::$method(&v3::$service(context), request).await
        })
        .await
    };
}

/// The method that is called so: its place, and what is known of it.
macro_rules! called {
    ($service:ident :: $method:ident) => {
        v3::methods::Method::called(stringify!($service), stringify!($method))
    };
}

/// What a client asks, as it came.
struct Question {
    head: Head,
    deadline: Deadline,
    content: Content,
}

/// What goes along with a question.
struct Head {
    /// To the services.
    metadata: MetadataMap,
    trail: Option<Trail>,
    applicant: Option<Applicant>,
}

impl Head {
    fn new(metadata: MetadataMap, extensions: &Extensions) -> Self {
        let (trail, applicant) = (Trail::of(extensions), extensions.get().cloned());
        Self { metadata, trail, applicant }
    }

    fn begin(
        &self,
        context: &Arc<Context>,
        called: (usize, &'static v3::methods::Method),
    ) -> Result<Call, Status> {
        match v3::begin(context, called, self.metadata.as_ref()) {
            Ok(call) => Ok(call.recorded_by(self.trail.clone(), true)),
            Err(status) => {
                if let Some(trail) = &self.trail {
                    trail.ends_at_once(called.1, true, status.code());
                }
                Err(status)
            }
        }
    }

    /// Of a message that cannot be read, which was told so.
    fn unread(&self, (_, method): (usize, &'static v3::methods::Method), reply: Reply) -> Reply {
        if let Some(trail) = &self.trail {
            trail.is_unread(method, reply.status());
        }
        reply
    }

    fn asker(&self) -> Asker {
        Asker::of_gateway(&self.metadata, self.trail.clone())
    }
}

enum Content {
    Request(Box<Request<Incoming>>),
    /// Of a websocket.
    Messages(mpsc::Receiver<Bytes>),
    /// It is no question: there is something at this path, but not for this method of HTTP.
    WrongMethod,
}

/// Today's, and those of etcd before 3.4.
const PREFIXES: [&str; 3] = ["/v3/", "/v3beta/", "/v3alpha/"];

/// Whether a path is one of the gateway's.
pub(crate) fn has(path: &[u8]) -> bool {
    PREFIXES.iter().any(|prefix| path.starts_with(prefix.as_bytes()))
}

/// What stands behind the prefix.
fn method_of(path: &str) -> Option<&str> {
    PREFIXES.iter().find_map(|prefix| path.strip_prefix(prefix))
}

/// Whether an answer comes when somebody else gives something up: no longer than the client is there
/// its place is kept.
pub(crate) fn waits(path: &str) -> bool {
    let path: Cow<'_, [u8]> = percent_decode_str(path).into();
    let path = String::from_utf8_lossy(&path);
    matches!(method_of(&path), Some("lock/lock" | "election/campaign"))
}

/// Answers a request whose path, decoded, is [the gateway's](has).
pub(crate) async fn answer(
    context: &Arc<Context>,
    request: Request<Incoming>,
    path: &[u8],
) -> Reply {
    let path = String::from_utf8_lossy(path);
    if websocket::is_asked_for(&request) {
        return websocket::answer(context, request, path.into_owned());
    }
    if *request.method() != Method::POST {
        // Nothing of it counts but the path.
        let head = Head::new(MetadataMap::new(), &Extensions::new());
        let (deadline, content) = (Deadline::NONE, Content::WrongMethod);
        return asked(context, &path, Question { head, deadline, content }).await;
    }
    let head = Head::new(metadata(request.headers()), request.extensions());
    match Deadline::of(request.headers()) {
        Ok(deadline) => {
            let content = Content::Request(Box::new(request));
            asked(context, &path, Question { head, deadline, content }).await
        }
        Err(status) => failure::reply(&status),
    }
}

async fn asked(context: &Arc<Context>, path: &str, question: Question) -> Reply {
    let Some(path) = method_of(path) else { return not_found() };
    let Some((service, method)) = path.split_once('/') else {
        return if path == "watch" { watch(context, question).await } else { not_found() };
    };
    match (service, method) {
        // Two of the original's names for one thing.
        ("kv", method) if method.starts_with("lease/") => {
            lease(context, question, method.trim_start_matches("lease/")).await
        }
        ("kv", method) => kv(context, question, method).await,
        ("lease", method) => lease(context, question, method).await,
        ("cluster", method) => cluster(context, question, method).await,
        ("maintenance", method) => maintenance(context, question, method).await,
        ("lock" | "election", method) => locks(context, question, (service, method)).await,
        ("auth", method) => auth(context, question, method).await,
        _ => not_found(),
    }
}

fn not_found() -> Reply {
    failure::reply(&Status::not_found("Not Found"))
}

fn wrong_method() -> Reply {
    failure::reply(&Status::unimplemented("Method Not Allowed"))
}

async fn kv(context: &Arc<Context>, question: Question, method: &str) -> Reply {
    match method {
        "range" => range::answer(context, question, called!(Kv::range)).await,
        "put" => unary!(Kv::Kv::put, context, question),
        "deleterange" => unary!(Kv::Kv::delete_range, context, question),
        "txn" => unary!(Kv::Kv::txn, context, question),
        "compaction" => unary!(Kv::Kv::compact, context, question),
        _ => not_found(),
    }
}

async fn lease(context: &Arc<Context>, question: Question, method: &str) -> Reply {
    match method {
        "grant" => unary!(Lease::Lease::lease_grant, context, question),
        "revoke" => unary!(Lease::Lease::lease_revoke, context, question),
        "timetolive" => unary!(Lease::Lease::lease_time_to_live, context, question),
        "leases" => unary!(Lease::Lease::lease_leases, context, question),
        "keepalive" => {
            stream(context, question, called!(Lease::lease_keep_alive), |asker, ends, content| {
                let requests = Box::pin(requests::stream(content));
                v3::KeepAlive::new(Arc::clone(context), asker, ends, requests)
            })
            .await
        }
        _ => not_found(),
    }
}

async fn cluster(context: &Arc<Context>, question: Question, method: &str) -> Reply {
    match method {
        "member/add" => unary!(Cluster::Cluster::member_add, context, question),
        "member/remove" => unary!(Cluster::Cluster::member_remove, context, question),
        "member/update" => unary!(Cluster::Cluster::member_update, context, question),
        "member/list" => unary!(Cluster::Cluster::member_list, context, question),
        "member/promote" => unary!(Cluster::Cluster::member_promote, context, question),
        _ => not_found(),
    }
}

async fn maintenance(context: &Arc<Context>, question: Question, method: &str) -> Reply {
    match method {
        "alarm" => unary!(Maintenance::Maintenance::alarm, context, question),
        "status" => unary!(Maintenance::Maintenance::status, context, question),
        "defragment" => unary!(Maintenance::Maintenance::defragment, context, question),
        "hash" => unary!(Maintenance::Maintenance::hash, context, question),
        "hashkv" => unary!(Maintenance::Maintenance::hash_kv, context, question),
        "transfer-leadership" => unary!(Maintenance::Maintenance::move_leader, context, question),
        "downgrade" => unary!(Maintenance::Maintenance::downgrade, context, question),
        "snapshot" => {
            let Question { head, deadline, content } = question;
            if matches!(content, Content::WrongMethod) {
                return wrong_method();
            }
            let called = called!(Maintenance::snapshot);
            match head.begin(context, called) {
                Ok(call) => {
                    let asker = head.asker();
                    match deadline.keep(v3::Snapshot::begin(context, &asker, &head.metadata)).await
                    {
                        Ok(snapshot) => messages::reply(call, deadline, snapshot).await,
                        Err(status) => failed(call, &status),
                    }
                }
                Err(status) => failure::reply(&status),
            }
        }
        _ => not_found(),
    }
}

async fn locks(context: &Arc<Context>, question: Question, method: (&str, &str)) -> Reply {
    match method {
        ("lock", "lock") => unary!(Lock::Lock::lock, context, question),
        ("lock", "unlock") => unary!(Lock::Lock::unlock, context, question),
        ("election", "campaign") => unary!(Election::Election::campaign, context, question),
        ("election", "proclaim") => unary!(Election::Election::proclaim, context, question),
        ("election", "leader") => unary!(Election::Election::leader, context, question),
        ("election", "resign") => unary!(Election::Election::resign, context, question),
        ("election", "observe") => {
            let Question { head, deadline, content } = question;
            let asked = match requests::read::<LeaderRequest>(context, content).await {
                Ok(asked) => asked,
                Err(reply) => return head.unread(called!(Election::observe), reply),
            };
            match head.begin(context, called!(Election::observe)) {
                Ok(call) => {
                    let ends = v3::Ends::new(context, &head.metadata);
                    let asker = head.asker();
                    let observe = v3::Observe::begin(context, asker, &asked.name, ends);
                    messages::reply(call, deadline, observe).await
                }
                Err(status) => failure::reply(&status),
            }
        }
        _ => not_found(),
    }
}

async fn auth(context: &Arc<Context>, question: Question, method: &str) -> Reply {
    match method {
        "enable" => unary!(Auth::Auth::auth_enable, context, question),
        "disable" => unary!(Auth::Auth::auth_disable, context, question),
        "status" => unary!(Auth::Auth::auth_status, context, question),
        "authenticate" => unary!(Auth::Auth::authenticate, context, question),
        "user/add" => unary!(Auth::Auth::user_add, context, question),
        "user/get" => unary!(Auth::Auth::user_get, context, question),
        "user/list" => unary!(Auth::Auth::user_list, context, question),
        "user/delete" => unary!(Auth::Auth::user_delete, context, question),
        "user/changepw" => unary!(Auth::Auth::user_change_password, context, question),
        "user/grant" => unary!(Auth::Auth::user_grant_role, context, question),
        "user/revoke" => unary!(Auth::Auth::user_revoke_role, context, question),
        "role/add" => unary!(Auth::Auth::role_add, context, question),
        "role/get" => unary!(Auth::Auth::role_get, context, question),
        "role/list" => unary!(Auth::Auth::role_list, context, question),
        "role/delete" => unary!(Auth::Auth::role_delete, context, question),
        "role/grant" => unary!(Auth::Auth::role_grant_permission, context, question),
        "role/revoke" => unary!(Auth::Auth::role_revoke_permission, context, question),
        _ => not_found(),
    }
}

async fn unary<Q, A>(
    context: &Arc<Context>,
    question: Question,
    called: (usize, &'static v3::methods::Method),
    ask: impl AsyncFnOnce(Arc<Context>, tonic::Request<Q>) -> Result<Response<A>, Status>,
) -> Reply
where
    Q: DeserializeOwned + Default,
    A: Serialize + Message + 'static,
{
    let Question { head, deadline, content } = question;
    let message = match requests::read(context, content).await {
        Ok(message) => message,
        Err(reply) => return head.unread(called, reply),
    };
    let call = match head.begin(context, called) {
        Ok(call) => call,
        Err(status) => return failure::reply(&status),
    };
    let mut request = tonic::Request::new(message);
    *request.metadata_mut() = head.metadata;
    if let Some(trail) = head.trail {
        request.extensions_mut().insert(trail);
    }
    if let Some(applicant) = head.applicant {
        request.extensions_mut().insert(applicant);
    }
    match deadline.keep(ask(Arc::clone(context), request)).await {
        Ok(mut answer) => {
            let held = answer.extensions_mut().remove::<Held>();
            answered(context, call, answer.into_inner(), held).await
        }
        Err(status) => failed(call, &status),
    }
}

/// An answer as JSON, with the room that it has.
async fn answered<A>(context: &Context, mut call: Call, answer: A, held: Option<Held>) -> Reply
where
    A: Serialize + Message + 'static,
{
    let text = if answer.encoded_len() > limits::ANSWER_SMALL_BYTES_MAX {
        let hold = held.as_ref().map(|held| held.hold.clone());
        context.read_long(hold, move || Ok(text(&answer))).await.map_err(v3::read)
    } else {
        Ok(text(&answer))
    };
    match text {
        Ok(Ok(text)) => {
            call.ended(Code::Ok);
            let mut reply = reply::whole(StatusCode::OK, JSON, text);
            if let Some(held) = held {
                reply.extensions_mut().insert(held);
            }
            reply
        }
        Ok(Err(error)) => failed(call, &Status::internal(error.to_string())),
        Err(status) => failed(call, &status),
    }
}

fn text(answer: &(impl Serialize + Message)) -> serde_json::Result<Vec<u8>> {
    // In base64 bytes are a third longer.
    let mut text = Vec::with_capacity(128 + answer.encoded_len() * 4 / 3);
    serde_json::to_writer(&mut text, answer)?;
    Ok(text)
}

fn failed(mut call: Call, status: &Status) -> Reply {
    call.ended(status.code());
    failure::reply(status)
}

async fn watch(context: &Arc<Context>, question: Question) -> Reply {
    let Question { head, deadline, content } = question;
    if matches!(content, Content::WrongMethod) {
        return wrong_method();
    }
    let call = match head.begin(context, called!(Watch::watch)) {
        Ok(call) => call,
        Err(status) => return failure::reply(&status),
    };
    let asker = head.asker();
    if let Err(status) = asker.settle(context).await {
        return failed(call, &status);
    }
    let ends = v3::Ends::new(context, &head.metadata);
    let requests = Box::pin(requests::stream(content));
    let stream = v3::watch::WatchStream::new(Arc::clone(context), asker, ends, requests);
    messages::reply_in(call, deadline, Box::pin(watch::Lines::new(stream))).await
}

/// A call in which both sides go on speaking.
async fn stream<S, A>(
    context: &Arc<Context>,
    question: Question,
    called: (usize, &'static v3::methods::Method),
    begin: impl FnOnce(Asker, v3::Ends, Content) -> S,
) -> Reply
where
    S: Stream<Item = Result<A, Status>> + Send + 'static,
    A: Serialize + Send + 'static,
{
    let Question { head, deadline, content } = question;
    if matches!(content, Content::WrongMethod) {
        return wrong_method();
    }
    match head.begin(context, called) {
        Ok(call) => {
            let asker = head.asker();
            if let Err(status) = asker.settle(context).await {
                return failed(call, &status);
            }
            let messages = begin(asker, v3::Ends::new(context, &head.metadata), content);
            messages::reply(call, deadline, messages).await
        }
        Err(status) => failure::reply(&status),
    }
}

/// What the client has sent along for the services: `Grpc-Metadata-NAME`, and its token.
fn metadata(sent: &HeaderMap) -> MetadataMap {
    let mut headers = HeaderMap::new();
    for (name, value) in sent {
        let name = match name.as_str() {
            "authorization" => "token",
            name => name.strip_prefix("grpc-metadata-").unwrap_or_default(),
        };
        if let Ok(name) = http::HeaderName::try_from(name) {
            headers.append(name, value.clone());
        }
    }
    MetadataMap::from_headers(headers)
}

/// A message that some peer's bytes are, as JSON and back.
#[cfg(feature = "fuzzing")]
pub(crate) fn fuzz_answer<A>(data: &[u8])
where
    A: Serialize + DeserializeOwned + Message + Default + PartialEq + std::fmt::Debug,
{
    let Ok(answer) = A::decode(data) else { return };
    // There is no word for a number that stands for none.
    let Ok(text) = text(&answer) else { return };
    let again = serde_json::from_slice::<A>(&text);
    assert_eq!(again.ok().as_ref(), Some(&answer));
}

/// Values as they come in pieces of this size are those that come at once.
#[cfg(feature = "fuzzing")]
pub(crate) fn fuzz<T: DeserializeOwned + Default + std::fmt::Debug>(data: &[u8], piece: usize) {
    let told = |pieces: &mut dyn Iterator<Item = &[u8]>| {
        let (mut values, mut all) = (values::Values::default(), Vec::new());
        let mut take = |values: &mut values::Values, is_all| {
            while let Some(value) = values.take::<T>(is_all) {
                let is_wrong = value.is_err();
                all.push(value.map(|value| format!("{value:?}")).map_err(drop));
                if is_wrong {
                    return true;
                }
            }
            false
        };
        for piece in pieces {
            values.push(piece);
            if take(&mut values, false) {
                return all;
            }
        }
        take(&mut values, true);
        all
    };
    let at_once = told(&mut std::iter::once(data));
    assert_eq!(told(&mut data.chunks(piece)), at_once);
}
