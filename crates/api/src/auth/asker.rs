//! Who a request of v3 is from, and what that permits.

use std::sync::Arc;

use base::Refused;
use http::{Extensions, HeaderMap, HeaderValue};
use proto::command::{Auth as Command, By, Op};
use server::Applicant;
use state::auth::Auth;
use tonic::{Code, Status, metadata::MetadataMap};

use crate::{
    audit::{Does, Trail},
    context::Context,
    v3::{status, unserved},
};

/// Users may change while somebody is looked at: so often it is begun anew.
pub(crate) const TRIES: usize = 5;

/// The common name in the certificate that a client has shown.
#[derive(Clone, Debug)]
pub(crate) struct CommonName(pub(crate) Arc<str>);

/// Who a request is from, as it says itself.
#[derive(Clone, Debug, Default)]
pub(crate) struct Asker {
    token: Option<HeaderValue>,
    name: Option<CommonName>,
    trail: Option<Trail>,
    applicant: Option<Applicant>,
}

/// What was permitted, as users and roles were then.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pass(Option<u64>);

impl Pass {
    /// Whether it still is: asked when an answer has been read, before it is given away.
    pub(crate) fn holds(self, context: &Context) -> bool {
        let reader = context.handle.reader();
        let now = reader.auth_is_enabled().then(|| reader.auth().revision());
        now == self.0
    }
}

impl Asker {
    pub(crate) fn of<T>(request: &tonic::Request<T>) -> Self {
        Self::new(request.metadata().as_ref(), request.extensions())
    }

    /// What goes along with a request, and what is known of its connection.
    pub(crate) fn new(metadata: &HeaderMap, extensions: &Extensions) -> Self {
        let token = metadata.get("token").or_else(|| metadata.get("authorization"));
        let (token, name) = (token.cloned(), extensions.get().cloned());
        Self { token, name, trail: Trail::of(extensions), applicant: extensions.get().cloned() }
    }

    /// Of a request through the gateway: by a token alone.
    pub(crate) fn of_gateway(metadata: &MetadataMap, trail: Option<Trail>) -> Self {
        Self { trail, ..Self::new(metadata.as_ref(), &Extensions::new()) }
    }

    /// Whoever keeps an audit log is told this of the request.
    pub(crate) fn note(&self, tell: impl FnOnce(&Trail)) {
        if let Some(trail) = &self.trail {
            tell(trail);
        }
    }

    pub(crate) fn note_keys(&self, does: Does, key: &[u8], range_end: &[u8]) {
        self.note(|trail| trail.keys(does, key, range_end));
    }

    /// The same, for one question of a stream.
    pub(crate) fn branch(&self, context: &Context, is_kept: bool) -> Self {
        let trail = self.trail.as_ref();
        let trail = trail.map(|trail| trail.branch(context.handle.clock().wall(), is_kept));
        Self { trail, ..self.clone() }
    }

    /// A question of a stream could not be read, for another reason than that its client has gone.
    pub(crate) fn note_unread(&self, context: &Context, code: Code) {
        if ![Code::Cancelled, Code::Unknown, Code::Unavailable].contains(&code) {
            self.branch(context, true).note(|trail| trail.ended(code));
        }
    }

    /// As whom he waits while his password is looked at.
    pub(crate) fn applicant(&self) -> Applicant {
        self.applicant.clone().unwrap_or_default()
    }

    fn judged(&self, refused: Option<Refused>) {
        self.note(|trail| match refused {
            None => trail.allows(),
            Some(refused) => trail.refuses(refused.text()),
        });
    }

    /// Users and roles were others when a command was carried out.
    pub(crate) fn refused_at_last(&self, refused: Refused) {
        if matches!(
            refused,
            Refused::PermissionDenied
                | Refused::UserEmpty
                | Refused::UserNotFound
                | Refused::AuthOldRevision
        ) {
            self.judged(Some(refused));
        }
    }

    fn token(&self) -> Option<&str> {
        let text = self.token.as_ref()?.to_str().unwrap_or_default();
        Some(text.strip_prefix("Bearer ").unwrap_or(text))
    }

    /// Waits until all is applied here that whoever gave out the token had applied.
    pub(crate) async fn settle(&self, context: &Context) -> Result<(), Status> {
        let handle = &context.handle;
        if !handle.reader().auth_is_enabled() {
            return Ok(());
        }
        let Some(token) = self.token() else { return Ok(()) };
        let index = token.split_once('.').and_then(|(_, index)| index.parse::<u64>().ok());
        if index.is_some_and(|index| index > handle.status().applied.0) {
            handle.read_barrier().await.map_err(unserved)?;
        }
        Ok(())
    }

    /// Who it is, while users are as these; `None`: it is not said, or nobody wants to know.
    pub(crate) fn who(&self, context: &Context, auth: &Auth) -> Result<Option<By>, Refused> {
        if !auth.is_enabled() {
            return Ok(None);
        }
        let by = if let Some(token) = self.token() {
            let by = context.auth.bearer(&context.handle, auth, token);
            self.note(|trail| trail.is_by(by.as_ref()));
            Some(by.ok_or(Refused::InvalidAuthToken)?)
        } else {
            let name = self.name.as_ref().map(|CommonName(name)| name.to_string());
            name.map(|user| By { user, auth_revision: auth.revision() })
        };
        self.note(|trail| trail.is_by(by.as_ref()));
        Ok(by)
    }

    /// Whether something is permitted.
    pub(crate) async fn may(
        &self,
        context: &Context,
        asks: impl Fn(&Auth, Option<&By>) -> Result<(), Refused>,
    ) -> Result<Pass, Status> {
        self.settle(context).await?;
        self.may_now(context, asks).map_err(status)
    }

    /// The same, of somebody who [has been settled](Self::settle).
    pub(crate) fn may_now(
        &self,
        context: &Context,
        asks: impl Fn(&Auth, Option<&By>) -> Result<(), Refused>,
    ) -> Result<Pass, Refused> {
        let reader = context.handle.reader();
        if !reader.auth_is_enabled() {
            return Ok(Pass(None));
        }
        let auth = reader.auth();
        let asked = self.who(context, &auth).and_then(|by| asks(&auth, by.as_ref()));
        self.judged(asked.err());
        asked?;
        Ok(Pass(auth.is_enabled().then(|| auth.revision())))
    }

    /// Whether it is somebody at all.
    pub(crate) async fn identified(&self, context: &Context) -> Result<(), Status> {
        self.may(context, Auth::identified).await.map(drop)
    }

    /// Whether it is somebody who may do everything.
    pub(crate) async fn is_admin(&self, context: &Context) -> Result<(), Status> {
        self.may(context, Auth::is_admin).await.map(drop)
    }

    /// The same, by all that has been acknowledged so far, by any member: for what is not asked again
    /// when it is carried out.
    pub(crate) async fn is_admin_by_now(&self, context: &Context) -> Result<(), Status> {
        context.handle.read_barrier().await.map_err(unserved)?;
        self.is_admin(context).await
    }

    /// Whether a command is permitted; and on whose behalf it is. Nobody is refused because of what
    /// others have changed meanwhile, and this member has not heard.
    pub(crate) async fn allowed(&self, context: &Context, op: &Op) -> Result<Option<By>, Status> {
        self.note(|trail| trail.op(op));
        if !context.handle.reader().auth_is_enabled() {
            return Ok(None);
        }
        self.settle(context).await?;
        if let Ok(by) = self.allowed_now(context, op) {
            return Ok(by);
        }
        context.handle.read_barrier().await.map_err(unserved)?;
        self.allowed_now(context, op).map_err(status)
    }

    fn allowed_now(&self, context: &Context, op: &Op) -> Result<Option<By>, Refused> {
        let allowed = self.try_allowed_now(context, op);
        self.judged(allowed.as_ref().err().copied());
        allowed
    }

    fn try_allowed_now(&self, context: &Context, op: &Op) -> Result<Option<By>, Refused> {
        let reader = context.handle.reader();
        for _ in 0..TRIES {
            let by = self.who(context, &reader.auth())?;
            match reader.allows(by.as_ref(), op) {
                Err(Refused::AuthOldRevision) => {}
                allowed => return allowed.map(|()| by),
            }
        }
        Err(Refused::AuthOldRevision)
    }

    /// Whether it is somebody who may change users and roles.
    pub(crate) async fn may_change_users(&self, context: &Context) -> Result<(), Status> {
        self.allowed(context, &Op::Auth(Command { change: None })).await.map(drop)
    }
}
