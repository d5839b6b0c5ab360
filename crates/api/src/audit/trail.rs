//! What is learned of a request on its way through the services.

use std::{borrow::Cow, fmt, net::SocketAddr, sync::Arc};

use base::UnixNanos;
use http::Extensions;
use parking_lot::Mutex;
use proto::{
    command::{By, Op},
    etcdserverpb::{AlarmRequest, DowngradeRequest, TxnRequest},
};
use tonic::Code;

use super::{About, Audit, Does, Record, Who, keys::cut};
use crate::v3::methods::Method;

/// The keys API of etcd 2, and what belongs to it.
pub(crate) const V2: &str = "v2";
/// What operators ask.
pub(crate) const HTTP: &str = "http";

/// The record of a request that is not over. It is kept once nobody knows the request any more.
#[derive(Clone)]
pub(crate) struct Trail(Arc<Under>);

struct Under {
    audit: Audit,
    facts: Mutex<Facts>,
}

#[derive(Clone)]
struct Facts {
    record: Record,
    /// How it ended; `None`: its client has gone away.
    code: Option<Cow<'static, str>>,
    keeps: Keeps,
}

/// When a record is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Keeps {
    /// It is not known of what, or of nothing that is of interest.
    Never,
    Always,
    /// What is allowed on a stream has records of its own.
    IfRefused,
}

impl fmt::Debug for Trail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Trail").finish_non_exhaustive()
    }
}

impl Trail {
    /// Of a request that has come from there. Nothing is kept of it before it is [told](Self::is_of)
    /// what it is.
    pub(crate) fn begin(audit: &Audit, from: Option<SocketAddr>, at: UnixNanos) -> Self {
        let record = Record {
            at,
            who: Who::NotAsked,
            user: None,
            claimed: None,
            from,
            api: "",
            method: String::new(),
            keys: Vec::new(),
            more_keys: 0,
            about: About::default(),
            allowed: true,
            error: None,
            code: String::new(),
        };
        Self::of_facts(audit, Facts { record, code: None, keeps: Keeps::Never })
    }

    fn of_facts(audit: &Audit, facts: Facts) -> Self {
        Self(Arc::new(Under { audit: Arc::clone(audit), facts: Mutex::new(facts) }))
    }

    /// The trail of a request that came with these.
    pub(crate) fn of(extensions: &Extensions) -> Option<Self> {
        extensions.get().cloned()
    }

    /// It is one over HTTP, so many words of whose path say what it is. `api`: [`V2`] or [`HTTP`].
    pub(crate) fn is_of_http(&self, api: &'static str, method: &http::Method, path: &str) {
        self.begins(api, format!("{method} {}", cut(path)), Keeps::Always);
    }

    /// It is a call.
    pub(crate) fn is_of(&self, method: &Method, is_json: bool) {
        let speaks_on = method.is("etcdserverpb.Watch", "Watch")
            || method.is("etcdserverpb.Lease", "LeaseKeepAlive");
        let keeps = match method.service {
            // Whoever looks whether we are well.
            service if service.starts_with("grpc.") => Keeps::Never,
            _ if speaks_on => Keeps::IfRefused,
            _ => Keeps::Always,
        };
        let api = if is_json { "v3-json" } else { "v3" };
        self.begins(api, format!("{}/{}", method.service, method.name), keeps);
    }

    /// It is a call to which this was said before anybody asked who asks.
    pub(crate) fn ends_at_once(&self, method: &Method, is_json: bool, code: Code) {
        self.is_of(method, is_json);
        self.is_kept_anyway();
        self.ended(code);
    }

    /// It is a call through the gateway whose message could not be read.
    pub(crate) fn is_unread(&self, method: &Method, status: http::StatusCode) {
        self.is_of(method, true);
        self.is_kept_anyway();
        self.ends(status.as_str().to_owned().into());
    }

    fn is_kept_anyway(&self) {
        let mut facts = self.0.facts.lock();
        if facts.keeps == Keeps::IfRefused {
            facts.keeps = Keeps::Always;
        }
    }

    fn begins(&self, api: &'static str, method: String, keeps: Keeps) {
        let mut facts = self.0.facts.lock();
        (facts.record.api, facts.record.method, facts.keeps) = (api, method, keeps);
    }

    /// One question of a stream, which came now. `is_kept`: whatever comes of it.
    pub(crate) fn branch(&self, at: UnixNanos, is_kept: bool) -> Self {
        let mut facts = self.0.facts.lock().clone();
        facts.record.at = at;
        facts.keeps = if is_kept { Keeps::Always } else { Keeps::IfRefused };
        Self::of_facts(&self.0.audit, facts)
    }

    pub(crate) fn keys(&self, does: Does, key: &[u8], range_end: &[u8]) {
        self.0.facts.lock().record.add_keys(does, key, range_end);
    }

    /// A path of v2.
    pub(crate) fn path(&self, does: Does, path: &[u8], recursive: bool) {
        self.0.facts.lock().record.add_path(does, path, recursive);
    }

    pub(crate) fn txn(&self, txn: &TxnRequest) {
        self.0.facts.lock().record.add_txn(txn);
    }

    pub(crate) fn op(&self, op: &Op) {
        self.0.facts.lock().record.add_op(op);
    }

    pub(crate) fn user(&self, name: &str) {
        self.0.facts.lock().record.about.user = Some(cut(name));
    }

    pub(crate) fn role(&self, name: &str) {
        self.0.facts.lock().record.about.role = Some(cut(name));
    }

    pub(crate) fn lease(&self, id: i64) {
        self.0.facts.lock().record.about.lease = Some(id);
    }

    pub(crate) fn member(&self, id: u64) {
        self.0.facts.lock().record.about.member = Some(format!("{id:x}"));
    }

    pub(crate) fn peer_urls(&self, urls: &[String]) {
        self.0.facts.lock().record.add_peer_urls(urls);
    }

    pub(crate) fn alarm(&self, alarm: &AlarmRequest) {
        self.0.facts.lock().record.add_alarm(alarm);
    }

    pub(crate) fn downgrade(&self, asked: &DowngradeRequest) {
        self.0.facts.lock().record.add_downgrade(asked);
    }

    pub(crate) fn level(&self, level: &str) {
        self.0.facts.lock().record.about.level = Some(cut(level));
    }

    /// Somebody says to be this one, and has yet to show it.
    pub(crate) fn claims(&self, name: &str) {
        let mut facts = self.0.facts.lock();
        (facts.record.claimed, facts.record.who) = (Some(cut(name)), Who::Unknown);
    }

    /// It is this one; `None`: nobody who is known.
    pub(crate) fn is_by(&self, by: Option<&By>) {
        let mut facts = self.0.facts.lock();
        facts.record.who = if by.is_some() { Who::User } else { Who::Unknown };
        if let Some(By { user, .. }) = by {
            facts.record.user = Some(cut(user));
            facts.record.claimed = None;
        }
    }

    /// It is somebody without a name, whom v2 lets in.
    pub(crate) fn is_by_guest(&self) {
        self.0.facts.lock().record.who = Who::Guest;
    }

    /// What has been said of permission before counts no more.
    pub(crate) fn allows(&self) {
        let mut facts = self.0.facts.lock();
        (facts.record.allowed, facts.record.error) = (true, None);
    }

    pub(crate) fn refuses(&self, why: &str) {
        let mut facts = self.0.facts.lock();
        (facts.record.allowed, facts.record.error) = (false, Some(why.to_owned()));
    }

    pub(crate) fn ended(&self, code: Code) {
        self.ends(if code == Code::Ok { "OK".into() } else { format!("{code:?}").into() });
    }

    /// The answer to one over HTTP; calls know their own end.
    pub(crate) fn answered(&self, status: http::StatusCode) {
        let mut facts = self.0.facts.lock();
        if [V2, HTTP].contains(&facts.record.api) {
            facts.code = Some(status.as_str().to_owned().into());
        }
    }

    fn ends(&self, code: Cow<'static, str>) {
        self.0.facts.lock().code = Some(code);
    }
}

impl Drop for Under {
    fn drop(&mut self) {
        let Facts { record, code, keeps } = self.facts.get_mut();
        let is_kept = match keeps {
            Keeps::Never => false,
            Keeps::Always => true,
            Keeps::IfRefused => !record.allowed,
        };
        if is_kept {
            let mut record = record.clone();
            record.code = code.take().unwrap_or(Cow::Borrowed("Cancelled")).into_owned();
            self.audit.keep(record);
        }
    }
}
