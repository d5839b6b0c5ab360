//! Who a request of v2 is from: name and password go along with each, or nothing.

use base::Refused;
use base64::{Engine as _, prelude::BASE64_STANDARD};
use http::{HeaderMap, HeaderValue, Request, StatusCode, header};
use proto::command::{Auth as Command, By, Op};
use server::{Applicant, Done, PasswordError, Unserved};
use state::Response;

use super::TRIES;
use crate::{
    audit::Trail,
    context::Context,
    reply::{self, Reply},
};

/// Who a request is from, as it says itself.
#[derive(Clone, Debug, Default)]
pub(crate) struct Claim {
    header: Option<HeaderValue>,
    trail: Option<Trail>,
    applicant: Option<Applicant>,
}

/// Why a request is not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Denied {
    Credentials,
    /// Too many passwords wait to be checked.
    Crowded,
    Stopped,
}

impl Denied {
    pub(crate) const fn text(self) -> &'static str {
        match self {
            Self::Credentials => "Insufficient credentials",
            Self::Crowded => Refused::TooManyRequests.text(),
            Self::Stopped => Refused::Stopped.text(),
        }
    }

    /// As all but the keys API word it.
    pub(crate) fn reply(self) -> Reply {
        let status = match self {
            Self::Credentials => StatusCode::UNAUTHORIZED,
            Self::Crowded | Self::Stopped => StatusCode::SERVICE_UNAVAILABLE,
        };
        reply::message(status, self.text())
    }
}

impl From<PasswordError> for Denied {
    fn from(why: PasswordError) -> Self {
        match why {
            PasswordError::TooMany => Self::Crowded,
            PasswordError::TooLong | PasswordError::TooCostly => Self::Credentials,
            PasswordError::Stopped => Self::Stopped,
        }
    }
}

impl Claim {
    pub(crate) fn of<B>(request: &Request<B>) -> Self {
        let extensions = request.extensions();
        let (trail, applicant) = (Trail::of(extensions), extensions.get().cloned());
        Self { trail, applicant, ..Self::in_headers(request.headers()) }
    }

    fn in_headers(headers: &HeaderMap) -> Self {
        let claim = headers.get(header::AUTHORIZATION);
        let header = claim.filter(|claim| !claim.is_empty()).cloned();
        Self { header, ..Self::default() }
    }

    /// Whether somebody says who he is.
    pub(crate) fn is_made(&self) -> bool {
        self.header.is_some()
    }

    /// The same of a request.
    pub(crate) fn is_in(headers: &HeaderMap) -> bool {
        headers.get(header::AUTHORIZATION).is_some_and(|claim| !claim.is_empty())
    }

    /// Whoever keeps an audit log is told this of the request.
    pub(crate) fn note(&self, tell: impl FnOnce(&Trail)) {
        if let Some(trail) = &self.trail {
            tell(trail);
        }
    }

    /// What was said about permission.
    pub(crate) fn judged(&self, denied: Option<Denied>) {
        self.note(|trail| match denied {
            None => trail.allows(),
            Some(denied) => trail.refuses(denied.text()),
        });
    }

    /// Name and password, as Go reads them.
    fn pair(&self) -> Option<(String, String)> {
        let text = self.header.as_ref()?.to_str().ok()?;
        let (scheme, rest) = text.split_at_checked(6)?;
        if !scheme.eq_ignore_ascii_case("basic ") {
            return None;
        }
        let pair = String::from_utf8(BASE64_STANDARD.decode(rest).ok()?).ok()?;
        let (user, password) = pair.split_once(':')?;
        Some((user.to_owned(), password.to_owned()))
    }

    /// Who it is; `None`: a guest, or nobody wants to know. A claim that is wrong is not that of a
    /// guest.
    pub(crate) async fn settle(&self, context: &Context) -> Result<Option<By>, Denied> {
        if !context.handle.reader().auth_is_enabled() {
            return Ok(None);
        }
        if self.header.is_none() {
            let is_guest = context.handle.reader().auth().is_open_to_guests();
            self.note(|trail| if is_guest { trail.is_by_guest() } else { trail.is_by(None) });
            return Ok(None);
        }
        // Until he shows who he is.
        self.note(|trail| trail.is_by(None));
        let (user, password) = self.pair().ok_or(Denied::Credentials)?;
        self.note(|trail| trail.claims(&user));
        let applicant = self.applicant.clone().unwrap_or_default();
        let by = context.auth.claimed(context, (user, &applicant), &password).await?;
        self.note(|trail| trail.is_by(Some(&by)));
        Ok(Some(by))
    }

    /// Whether it is somebody who may do everything.
    pub(crate) async fn is_admin(&self, context: &Context) -> Result<(), Denied> {
        let asked = self.try_is_admin(context).await;
        self.judged(asked.err());
        asked
    }

    async fn try_is_admin(&self, context: &Context) -> Result<(), Denied> {
        for _ in 0..TRIES {
            let by = self.settle(context).await?;
            match context.handle.reader().auth().is_admin(by.as_ref()) {
                Ok(()) => return Ok(()),
                Err(Refused::AuthOldRevision) => {}
                Err(_) => break,
            }
        }
        Err(Denied::Credentials)
    }

    /// Whether a command is permitted; and on whose behalf it is. Nobody is refused because of what
    /// others have changed meanwhile, and this member has not heard.
    pub(crate) async fn allowed(&self, context: &Context, op: &Op) -> Result<Option<By>, Denied> {
        self.note(|trail| trail.op(op));
        let allowed = self.try_allowed(context, op).await;
        self.judged(allowed.as_ref().err().copied());
        allowed
    }

    async fn try_allowed(&self, context: &Context, op: &Op) -> Result<Option<By>, Denied> {
        let reader = context.handle.reader();
        if !reader.auth_is_enabled() {
            return Ok(None);
        }
        let revision = reader.auth().revision();
        let allowed = self.allowed_now(context, op).await;
        if allowed == Err(Denied::Credentials)
            && context.handle.read_barrier().await.is_ok()
            && reader.auth().revision() != revision
        {
            return self.allowed_now(context, op).await;
        }
        allowed
    }

    async fn allowed_now(&self, context: &Context, op: &Op) -> Result<Option<By>, Denied> {
        let reader = context.handle.reader();
        for _ in 0..TRIES {
            let by = self.settle(context).await?;
            match reader.allows(by.as_ref(), op) {
                Ok(()) => return Ok(by),
                Err(Refused::AuthOldRevision) => {}
                Err(_) => break,
            }
        }
        Err(Denied::Credentials)
    }

    /// Whether it is somebody who may change users and roles.
    pub(crate) async fn may_change_users(&self, context: &Context) -> Result<(), Denied> {
        self.allowed(context, &Op::Auth(Command { change: None })).await.map(drop)
    }

    /// Carries a command out on all members, if it is permitted.
    pub(crate) async fn write(
        &self,
        context: &Context,
        op: Op,
    ) -> Result<Result<Done, Unserved>, Denied> {
        self.note(|trail| trail.op(&op));
        let written = self.try_write(context, op).await;
        if let Err(why) = written {
            self.judged(Some(why));
        }
        written
    }

    async fn try_write(&self, context: &Context, op: Op) -> Result<Result<Done, Unserved>, Denied> {
        if !context.handle.reader().auth_is_enabled() {
            return Self::once(context, None, op).await;
        }
        for _ in 0..TRIES {
            let by = self.allowed(context, &op).await?;
            match Self::once(context, by, op.clone()).await? {
                // Users have changed since it was proposed: it did nothing.
                Ok(Done { response: Response::V3(Err(Refused::AuthOldRevision)), .. }) => {}
                done => return Ok(done),
            }
        }
        Err(Denied::Credentials)
    }

    async fn once(
        context: &Context,
        by: Option<By>,
        op: Op,
    ) -> Result<Result<Done, Unserved>, Denied> {
        match context.handle.write_by(by, op).await {
            Ok(Done {
                response:
                    Response::V3(Err(
                        Refused::PermissionDenied | Refused::UserEmpty | Refused::UserNotFound,
                    )),
                ..
            }) => Err(Denied::Credentials),
            done => Ok(done),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_claim_is_read_as_go_reads_it() {
        let check = |text: &str, expected: Option<(&str, &str)>| {
            let mut headers = HeaderMap::new();
            headers.insert(header::AUTHORIZATION, HeaderValue::from_str(text).unwrap());
            let pair = Claim::in_headers(&headers).pair();
            let pair = pair.as_ref().map(|(user, password)| (&user[..], &password[..]));
            assert_eq!(pair, expected, "{text}");
        };
        check("Basic cm9vdDpwdw==", Some(("root", "pw")));
        check("basic cm9vdDphOmI=", Some(("root", "a:b")));
        check("BASIC Og==", Some(("", "")));
        for wrong in ["Basic", "Basic ", "Basic x", "Basic cm9vdA==", "Bearer cm9vdDpwdw==", "ä"] {
            check(wrong, None);
        }
    }
}
