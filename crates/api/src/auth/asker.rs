//! Who a request of v3 is from, and what that permits.

use std::sync::Arc;

use base::Refused;
use http::{Extensions, HeaderMap, HeaderValue};
use proto::command::{Auth as Command, By, Op};
use state::auth::Auth;
use tonic::{Status, metadata::MetadataMap};

use crate::{
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
        Self { token: token.cloned(), name: extensions.get().cloned() }
    }

    /// Of a request through the gateway: by a token alone.
    pub(crate) fn of_gateway(metadata: &MetadataMap) -> Self {
        Self::new(metadata.as_ref(), &Extensions::new())
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
        if let Some(token) = self.token() {
            let by = context.auth.bearer(&context.handle, auth, token);
            return by.map(Some).ok_or(Refused::InvalidAuthToken);
        }
        let name = self.name.as_ref().map(|CommonName(name)| name.to_string());
        Ok(name.map(|user| By { user, auth_revision: auth.revision() }))
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
        let by = self.who(context, &auth)?;
        asks(&auth, by.as_ref())?;
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

    /// Whether a command is permitted; and on whose behalf it is. Nobody is refused because of what
    /// others have changed meanwhile, and this member has not heard.
    pub(crate) async fn allowed(&self, context: &Context, op: &Op) -> Result<Option<By>, Status> {
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
