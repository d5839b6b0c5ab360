//! `/v2/keys`: from a request to the keyspace and back.

use std::{sync::Arc, time::Duration};

use base::{Code, Refused, UnixNanos, limits, room::Hold};
use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use mvcc::store::Larger;
use proto::command::{By, KeysWrite, Op};
use server::Done;
use state::{
    Response as Applied,
    auth::{Path, Readable},
    keys::{self, Action, Event, Failure, Found},
};

use super::{
    content_type, failure,
    form::Form,
    json,
    listing::{self, ListingBody, Shows},
    parameters::Parameters,
    watch::{Permitted, WatchBody, Watches},
};
use crate::{
    audit::Does,
    auth::{Claim, Denied, TRIES},
    body::ReplyBody,
    context::Context,
    numbers::{self, Shown},
    ops::metrics::Kind,
    reply::{self, JSON, Reply, X_ETCD_CLUSTER_ID, X_ETCD_INDEX, X_RAFT_INDEX, X_RAFT_TERM},
    slow::{self, Times},
    under_way::{Crowded, FORMS, Held},
    upload,
};

const ALLOWED: &str = "HEAD,GET,PUT,POST,DELETE";

/// Answers a request about this (clean) path, behind which there may have been a slash.
pub(crate) async fn answer(
    context: &Arc<Context>,
    request: Request<Incoming>,
    (path, slash): (Bytes, bool),
) -> Reply {
    let reads = matches!(*request.method(), Method::GET | Method::HEAD);
    if !reads && !matches!(*request.method(), Method::PUT | Method::POST | Method::DELETE) {
        return reply::method_not_allowed(ALLOWED);
    }
    if path.len() > limits::KEY_BYTES_MAX {
        let text = format!("414 URI Too Long: a key has at most {} bytes\n", limits::KEY_BYTES_MAX);
        return with_cluster(context, reply::text(StatusCode::URI_TOO_LONG, text));
    }
    if context.handle.is_fenced() {
        return failure::refused(context, Refused::Corrupt);
    }
    let (method, query) = (request.method().clone(), request.uri().query().map(str::to_owned));
    let has_form = has_form(&request);
    let claim = Claim::of(&request);
    let bytes_max = context.config.grpc.request_bytes_max;
    let body = match upload::read_up_to(request, bytes_max).await {
        Ok(body) => body,
        Err(reply) => return with_cluster(context, reply),
    };
    let body = has_form.map(|has_form| if has_form { body } else { Bytes::new() });
    let parsed = parse(&method, body, query.as_deref().unwrap_or_default());
    let (mut times, about) = (Times::begin(), path.clone());
    let reply = match parsed {
        Err(failure) => failure::answer(context, &failure),
        Ok(parameters) if reads => {
            let asked = Asked { claim, path, slash, recursive: parameters.recursive };
            read(context, &method, asked, (parameters, &mut times)).await
        }
        Ok(parameters) => {
            let key = (claim, path, slash);
            write(context, &method, key, (parameters, &mut times)).await
        }
    };
    slow::v2(context, (&method, &about), &times, reply.status());
    reply
}

/// What somebody wants to read.
struct Asked {
    claim: Claim,
    path: Bytes,
    slash: bool,
    recursive: bool,
}

impl Asked {
    /// Whether he may, and how; else the answer that he gets.
    async fn permit(&self, context: &Context) -> Result<Permit, Reply> {
        let permitted = self.try_permit(context).await;
        self.claim.judged(permitted.as_ref().err().copied());
        permitted.map_err(|why| failure::denied(context, why))
    }

    async fn try_permit(&self, context: &Context) -> Result<Permit, Denied> {
        let reader = context.handle.reader();
        if !reader.auth_is_enabled() {
            return Ok(Permit { revision: None, by: None, readable: Readable::All, shows: None });
        }
        for _ in 0..TRIES {
            let by = self.claim.settle(context).await?;
            let auth = reader.auth();
            let path = Path { path: &self.path, slash: self.slash, recursive: self.recursive };
            match auth.v2_reads(by.as_ref(), path) {
                Ok(readable) => {
                    let revision = auth.is_enabled().then(|| auth.revision());
                    let is_part = readable == Readable::Itself;
                    let shows = is_part.then(|| Shows { auth, by: by.clone() });
                    return Ok(Permit { revision, by, readable, shows });
                }
                Err(Refused::AuthOldRevision) => {}
                Err(_) => break,
            }
        }
        Err(Denied::Credentials)
    }
}

/// What was permitted, as users and roles were then.
struct Permit {
    /// `None`: nobody was asked.
    revision: Option<u64>,
    by: Option<By>,
    readable: Readable,
    /// What of a listing; `None`: all.
    shows: Option<Shows>,
}

impl Permit {
    /// The same for a watch. It does not keep the claim: what is recorded of a request is recorded
    /// once nobody has that any more.
    fn of_watch(self, asked: Asked) -> Permitted {
        let Asked { claim, path, slash, recursive } = asked;
        let below_only = self.is_below_only();
        let Self { revision, by, .. } = self;
        let watches = Watches::of(by, claim.is_made());
        Permitted { path, slash, recursive, watches, below_only, revision }
    }

    /// Whether it still is, and this is part of it.
    fn allows(&self, context: &Context, found: &Result<Found, keys::Error>) -> bool {
        let is_key = found.as_ref().is_ok_and(|found| !found.node.dir);
        self.holds(context) && !(self.is_below_only() && is_key)
    }

    fn is_below_only(&self) -> bool {
        self.readable == Readable::Below
    }

    fn holds(&self, context: &Context) -> bool {
        let reader = context.handle.reader();
        reader.auth_is_enabled().then(|| reader.auth().revision()) == self.revision
    }
}

fn with_cluster(context: &Context, mut reply: Reply) -> Reply {
    reply.headers_mut().insert(X_ETCD_CLUSTER_ID, context.cluster_id.clone());
    reply
}

/// Whether this request has a form for a body: of the methods, only these two can. (The bodies of
/// others are read and not looked at.)
fn has_form(request: &Request<Incoming>) -> Result<bool, &'static str> {
    if !matches!(*request.method(), Method::PUT | Method::POST) {
        return Ok(false);
    }
    let content_type = request.headers().get(header::CONTENT_TYPE);
    match content_type.map(HeaderValue::as_bytes) {
        None | Some(b"") => Ok(false),
        Some(value) => content_type::is_form(value),
    }
}

fn parse(method: &Method, body: Result<Bytes, &str>, query: &str) -> Result<Parameters, Failure> {
    let body = body.map_err(|text| failure::form(Code::InvalidForm, text))?;
    let mut form = Form::default();
    let bad = |text| failure::form(Code::InvalidForm, text);
    form.add(&body).map_err(bad)?;
    form.add(query.as_bytes()).map_err(bad)?;
    Parameters::parse(method, &form)
}

/// Answers a GET without a body if that needs no waiting, as nearly none does: without the cost
/// of carrying the request through futures.
pub(crate) fn answer_now(
    context: &Context,
    key: &[u8],
    (query, has_claim): (&str, bool),
) -> Option<Reply> {
    // Passwords are not checked here.
    let asks = context.handle.reader().auth_is_enabled();
    if key.len() > limits::KEY_BYTES_MAX || context.handle.is_fenced() || asks {
        return None;
    }
    let parameters = match parse(&Method::GET, Ok(Bytes::new()), query) {
        Ok(parameters) if parameters.quorum => return None,
        Ok(parameters) => parameters,
        Err(failure) => return Some(failure::answer(context, &failure)),
    };
    let path = Bytes::copy_from_slice(key);
    if parameters.wait {
        let permitted = Permitted::by_nobody(path, parameters.recursive, has_claim);
        return Some(watch(context, permitted, &parameters));
    }
    let began = context.handle.clock().monotonic();
    let most = limits::ANSWER_SMALL_BYTES_MAX;
    let found = match context.handle.reader().get_up_to(&path, parameters.recursive, most) {
        // That waits for room.
        Ok(Err(Larger(_))) => return None,
        Ok(Ok(found)) => Ok(found),
        Err(error) => Err(error),
    };
    context.counters.count(Kind::Get);
    Some(get_reply(context, (Kind::Get, began), (found, None), false))
}

async fn read(
    context: &Context,
    method: &Method,
    asked: Asked,
    (parameters, times): (Parameters, &mut Times),
) -> Reply {
    asked.claim.note(|trail| {
        let does = if parameters.wait { Does::Watch } else { Does::Read };
        trail.path(does, &asked.path, asked.recursive);
    });
    let mut permit = asked.permit(context).await;
    // Who wants the newest is not refused because of what this member has not heard.
    if permit.is_err()
        && parameters.quorum
        && times.at_read_index(context.handle.read_barrier()).await.is_ok()
    {
        permit = asked.permit(context).await;
    }
    let permit = match permit {
        Ok(permit) => permit,
        Err(reply) => return reply,
    };
    if parameters.wait && !parameters.quorum {
        return watch(context, permit.of_watch(asked), &parameters);
    }
    let kind = if parameters.quorum { Kind::QuorumGet } else { Kind::Get };
    let began = context.counters.received(kind, &context.handle);
    if parameters.quorum
        && let Err(why) = times.at_read_index(context.handle.read_barrier()).await
    {
        context.counters.failed(kind, Code::RaftInternal);
        return failure::unserved(context, why);
    }
    let is_head = *method == Method::HEAD;
    match get(context, &asked.path, asked.recursive, times).await {
        Ok((found, _)) if !permit.allows(context, &found) => {
            asked.claim.judged(Some(Denied::Credentials));
            context.counters.failed(kind, Code::Unauthorized);
            failure::denied(context, Denied::Credentials)
        }
        Ok((found, hold)) => {
            let reply = get_reply(context, (kind, began), (found, permit.shows), is_head);
            with_room(reply, hold)
        }
        Err(crowded) => {
            context.counters.failed(kind, Code::RaftInternal);
            failure::unread(context, &crowded.into())
        }
    }
}

/// A node, with the room that a large one needs.
async fn get(
    context: &Context,
    path: &Bytes,
    recursive: bool,
    times: &mut Times,
) -> Result<(Result<Found, keys::Error>, Option<Hold>), Crowded> {
    let (reader, most) = (context.handle.reader(), limits::ANSWER_SMALL_BYTES_MAX);
    let hold = times.for_room(context.room_for_small()).await?;
    match reader.get_up_to(path, recursive, most) {
        Ok(Ok(found)) => Ok((Ok(found), hold)),
        Err(error) => Ok((Err(error), hold)),
        Ok(Err(Larger(bytes))) => {
            drop(hold);
            let hold = times.for_room(context.room_for(bytes * FORMS)).await?;
            Ok((reader.get(path, recursive), Some(hold)))
        }
    }
}

/// The room that an answer has goes along until it is sent.
fn with_room(mut reply: Reply, hold: Option<Hold>) -> Reply {
    if let Some(hold) = hold {
        let is_whole = matches!(reply.body(), ReplyBody::Whole(_));
        reply.extensions_mut().insert(Held { hold, is_whole });
    }
    reply
}

fn get_reply(
    context: &Context,
    (kind, began): (Kind, Duration),
    (found, shows): (Result<Found, keys::Error>, Option<Shows>),
    is_head: bool,
) -> Reply {
    match found {
        Ok(found) => {
            let reply = found_reply(context, found, shows, is_head);
            context.counters.succeeded(kind, began, &context.handle);
            reply
        }
        Err(error) => {
            context.counters.failed(kind, code(&error));
            failure::read(context, &error)
        }
    }
}

fn code(error: &keys::Error) -> Code {
    match error {
        keys::Error::Refused(failure) => failure.code,
        keys::Error::Read(_) => Code::RaftInternal,
    }
}

fn found_reply(context: &Context, found: Found, shows: Option<Shows>, is_head: bool) -> Reply {
    let Found { node, index, listing } = found;
    // A time matters only to what expires.
    let timeless = listing.is_none() && node.expiry.is_none();
    let now = if timeless { UnixNanos::default() } else { context.handle.clock().wall() };
    let value_bytes = node.value.as_ref().map_or(0, Bytes::len);
    let mut out = Vec::with_capacity(160 + node.key.len() + value_bytes);
    let body = match listing {
        None => {
            out.extend_from_slice(b"{\"action\":\"get\",\"node\":");
            json::write_node(&mut out, &node, now);
            out.extend_from_slice(b"}\n");
            ReplyBody::whole(out)
        }
        Some(listing) => match ListingBody::new(node, listing, now).only(shows).begin() {
            listing::Begun::Whole(bytes) => ReplyBody::whole(bytes),
            // Nobody would read it.
            listing::Begun::Long(_) if is_head => ReplyBody::EMPTY,
            listing::Begun::Long(body) => ReplyBody::Listing(body),
            listing::Begun::Failed(error) => {
                return failure::read(context, &keys::Error::Read(error));
            }
        },
    };
    event_reply(context, StatusCode::OK, index, context.standing(), body)
}

/// What is permitted is asked again before each event: nothing slips between that and the watch.
fn watch(context: &Context, permitted: Permitted, parameters: &Parameters) -> Reply {
    let store = context.handle.reader().store();
    context.counters.watch();
    let Permitted { path, recursive, below_only, .. } = &permitted;
    match keys::watch(store, path, *recursive, parameters.wait_index) {
        Err(error) => failure::read(context, &error),
        Ok(watcher) => {
            let watcher = watcher.below_only(*below_only);
            let index = watcher.index();
            let (watched, stream) = ((watcher, permitted), parameters.stream);
            let body = WatchBody::new(watched, stream, &context.handle, context.over());
            let body = ReplyBody::Watch(Box::new(body));
            event_reply(context, StatusCode::OK, index, context.standing(), body)
        }
    }
}

async fn write(
    context: &Arc<Context>,
    method: &Method,
    (claim, path, slash): (Claim, Bytes, bool),
    (parameters, times): (Parameters, &mut Times),
) -> Reply {
    let kind = match *method {
        Method::PUT => Kind::Put,
        Method::POST => Kind::Post,
        _ => Kind::Delete,
    };
    let began = context.counters.received(kind, &context.handle);
    let now = context.handle.clock().wall();
    let expiry = parameters.ttl.and_then(|ttl| expiry(now, ttl));
    let without_values = parameters.no_value_on_success;
    let op = Op::Keys(KeysWrite { slash, ..parameters.write(method, path, expiry) });
    if let Err(why) = claim.allowed(context, &op).await {
        return failure::denied(context, why);
    }
    let hold = match times.for_room(context.room_for_answer_to(&op)).await {
        Ok(hold) => hold,
        Err(why) => {
            context.counters.failed(kind, Code::RaftInternal);
            return failure::unread(context, &why);
        }
    };
    let done = match claim.write(context, op).await {
        Ok(done) => done,
        Err(why) => {
            context.counters.failed(kind, Code::Unauthorized);
            return failure::denied(context, why);
        }
    };
    match done {
        Err(why) => {
            context.counters.failed(kind, Code::RaftInternal);
            failure::unserved(context, why)
        }
        Ok(Done { response: Applied::Keys(Ok(event)), index, term }) => {
            context.counters.succeeded(kind, began, &context.handle);
            let now = context.handle.clock().wall();
            with_room(written(context, &event, (index.0, term.0), now, without_values), hold)
        }
        Ok(Done { response: Applied::Keys(Err(failure)), .. }) => {
            context.counters.failed(kind, failure.code);
            failure::answer(context, &failure)
        }
        Ok(Done { response: Applied::V3(Err(refused)), .. }) => {
            context.counters.failed(kind, Code::RaftInternal);
            failure::refused(context, refused)
        }
        Ok(Done { response, .. }) => {
            // Only the keys' own answer belongs to such a command.
            tracing::error!(?response, "a write got the answer of another command");
            let text = "the answer of another command";
            failure::answer(context, &failure::form(Code::RaftInternal, text))
        }
    }
}

/// When what is to live for so many seconds expires; `None`: never, as far as clocks go (in 2.3.8
/// the sum wrapped, to "never" or to some other time).
fn expiry(now: UnixNanos, ttl_seconds: u64) -> Option<i64> {
    let nanos = i64::try_from(ttl_seconds).ok()?.checked_mul(1_000_000_000)?;
    now.0.checked_add(nanos)
}

fn written(
    context: &Context,
    event: &Event,
    raft: (u64, u64),
    now: UnixNanos,
    without_values: bool,
) -> Reply {
    let bytes = |node: &keys::Node| node.key.len() + node.value.as_ref().map_or(0, Bytes::len);
    let length = bytes(&event.node) + event.prev_node.as_ref().map_or(0, bytes);
    let mut out = Vec::with_capacity(256 + length);
    // Deletes show their node all the same.
    let without_values = without_values
        && matches!(
            event.action,
            Action::Set | Action::Create | Action::Update | Action::CompareAndSwap
        );
    json::write_event(&mut out, event, now, without_values);
    let status = if event.created { StatusCode::CREATED } else { StatusCode::OK };
    event_reply(context, status, event.index, raft, ReplyBody::whole(out))
}

/// `raft`: index and term.
fn event_reply(
    context: &Context,
    status: StatusCode,
    index: u64,
    raft: (u64, u64),
    body: ReplyBody,
) -> Reply {
    let mut reply = Response::new(body);
    *reply.status_mut() = status;
    let headers = reply.headers_mut();
    headers.reserve(5);
    headers.insert(header::CONTENT_TYPE, JSON);
    headers.insert(X_ETCD_CLUSTER_ID, context.cluster_id.clone());
    headers.insert(X_ETCD_INDEX, numbers::value(Shown::Index, index));
    headers.insert(X_RAFT_INDEX, numbers::value(Shown::RaftIndex, raft.0));
    headers.insert(X_RAFT_TERM, numbers::value(Shown::RaftTerm, raft.1));
    reply
}

impl Context {
    /// Raft's committed index and term.
    fn standing(&self) -> (u64, u64) {
        let status = self.handle.status();
        (status.committed.0, status.term.0)
    }
}
