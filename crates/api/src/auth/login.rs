//! From a password to a token.

use base::Refused;
use bytes::Bytes;
use proto::command::{Auth as Command, AuthChange, Authenticate, By, Op};
use ring::rand::SecureRandom as _;
use server::{Applicant, Done, PasswordError};
use state::{Response, apply::Reply};
use tonic::Status;

use super::{Denied, TRIES, Tokens, checks::Entered};
use crate::{
    context::Context,
    v3::{status, unserved},
};

/// The part of a token that nobody can guess.
const SECRET_LENGTH: usize = 16;
/// What is shown of a user's name in the log.
const NAME_BYTES_SHOWN: usize = 128;
/// In etcd's words: there is no private key.
const VERIFY_ONLY: &str = "auth: token signing attempted with verify-only key";
/// etcd's.
const LETTERS: &[u8; 52] = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";

impl super::Authentication {
    /// A token for a user whose password this is. Whoever changes the password meanwhile is not
    /// overlooked.
    pub(crate) async fn log_in(
        &self,
        context: &Context,
        (user, applicant): (&str, &Applicant),
        password: &str,
    ) -> Result<String, Status> {
        let handle = &context.handle;
        handle.read_barrier().await.map_err(unserved)?;
        for _ in 0..TRIES {
            let checked = self.check(context, (user, applicant), password).await?;
            match &self.tokens {
                Tokens::None => return Err(status(Refused::AuthFailed)),
                Tokens::Simple => {}
                Tokens::Jwt(jwt) => {
                    let token = jwt.sign(user, checked, handle.clock().wall());
                    return token.ok_or_else(|| Status::unknown(VERIFY_ONLY));
                }
            }
            let (user, secret) = (user.to_owned(), self.secret()?);
            let change = Some(AuthChange::Authenticate(Authenticate { user, secret, checked }));
            let done = handle.write(Op::Auth(Command { change })).await.map_err(unserved)?;
            match done {
                Done { response: Response::V3(Ok(Reply::Token(token))), .. } => return Ok(token),
                Done { response: Response::V3(Err(Refused::AuthOldRevision)), .. } => {}
                Done { response: Response::V3(Err(refused)), .. } => return Err(status(refused)),
                Done { response, .. } => {
                    return Err(Status::internal(format!("unexpected answer: {response:?}")));
                }
            }
        }
        Err(status(Refused::AuthOldRevision))
    }

    /// Who says so with each request, if the password is right.
    pub(crate) async fn claimed(
        &self,
        context: &Context,
        (user, applicant): (String, &Applicant),
        password: &str,
    ) -> Result<By, Denied> {
        let auth = context.handle.reader().auth();
        let auth_revision = auth.revision();
        let hash = auth.user(&user).and_then(|known| known.password_hash.as_ref());
        let is_right = match hash {
            Some(hash) => self.is_right((&user, applicant), password, hash).await?,
            None => self.is_nobodys(applicant, password).await?,
        };
        if !is_right {
            return Err(self.wrong(context, &user));
        }
        Ok(By { user, auth_revision })
    }

    /// Whether this is the user's password. What is remembered waits for nothing, and of those who bring the
    /// same at the same time one waits for all.
    async fn is_right(
        &self,
        (user, applicant): (&str, &Applicant),
        password: &str,
        hash: &Bytes,
    ) -> Result<bool, PasswordError> {
        let Some(tag) = self.remembered.tag(user, hash, password) else {
            return self.passwords.check((user, applicant), password, hash).await;
        };
        loop {
            if self.remembered.knows(&tag) {
                return Ok(true);
            }
            match self.checks.enter(tag) {
                Entered::First(turn) => {
                    let is_right = self.passwords.check((user, applicant), password, hash).await?;
                    if is_right {
                        self.remembered.add(tag);
                    }
                    turn.tell(is_right);
                    return Ok(is_right);
                }
                Entered::After(mut told) => {
                    let told = told.wait_for(Option::is_some).await;
                    if let Ok(is_right) = told.map(|told| *told == Some(true)) {
                        return Ok(is_right);
                    }
                    // Who looked has gone away.
                }
            }
        }
    }

    /// Takes as long as for a user that there is: false. Whatever name is made up, the host waits in one line.
    async fn is_nobodys(
        &self,
        applicant: &Applicant,
        password: &str,
    ) -> Result<bool, PasswordError> {
        self.passwords.check(("", applicant), password, &self.passwords.stand_in()).await?;
        Ok(false)
    }

    /// Checks a password; gives the auth revision at which it was right.
    async fn check(
        &self,
        context: &Context,
        (user, applicant): (&str, &Applicant),
        password: &str,
    ) -> Result<u64, Status> {
        let auth = context.handle.reader().auth();
        if !auth.is_enabled() {
            return Err(status(Refused::AuthNotEnabled));
        }
        let failed = |refused| self.failed(context, user, refused);
        let Some(known) = auth.user(user) else {
            self.is_nobodys(applicant, password).await.map_err(password_error)?;
            return Err(failed(Refused::AuthFailed));
        };
        let hash = known.password_hash.as_ref();
        let hash = hash.ok_or_else(|| failed(Refused::NoPasswordUser))?;
        match self.is_right((user, applicant), password, hash).await {
            Ok(true) => Ok(auth.revision()),
            Ok(false) => Err(failed(Refused::AuthFailed)),
            Err(why) => Err(password_error(why)),
        }
    }

    fn failed(&self, context: &Context, user: &str, refused: Refused) -> Status {
        if let Some(times) = self.complains(context, user) {
            tracing::warn!(
                target: "etcdserver",
                user = shown(user),
                error = %refused,
                times,
                "invalid authentication was requested"
            );
        }
        status(refused)
    }

    fn wrong(&self, context: &Context, user: &str) -> Denied {
        if let Some(times) = self.complains(context, user) {
            tracing::warn!(
                target: "etcdserver/auth",
                user = shown(user),
                times,
                "auth: no such user, or a wrong password"
            );
        }
        Denied::Credentials
    }

    /// Whoever tries passwords does not fill the log: at once, and then once a minute for each user.
    fn complains(&self, context: &Context, user: &str) -> Option<u64> {
        let now = context.handle.clock().monotonic();
        self.complaints.lock().note(shown(user).to_owned(), now)
    }

    fn secret(&self) -> Result<String, Status> {
        let mut secret = String::with_capacity(SECRET_LENGTH);
        while secret.len() < SECRET_LENGTH {
            let mut bytes = [0; 2 * SECRET_LENGTH];
            let filled = self.random.fill(&mut bytes);
            filled.map_err(|_| Status::internal("there is no randomness"))?;
            // Each letter as likely as any other: four times 52 is 208.
            let fair = bytes.iter().filter(|byte| **byte < 208).map(|byte| usize::from(byte % 52));
            let letters = fair.filter_map(|at| LETTERS.get(at)).map(|letter| char::from(*letter));
            secret.extend(letters.take(SECRET_LENGTH - secret.len()));
        }
        Ok(secret)
    }
}

/// Of a name that may be anything.
fn shown(user: &str) -> &str {
    user.get(..user.floor_char_boundary(NAME_BYTES_SHOWN)).unwrap_or_default()
}

pub(crate) fn password_error(why: PasswordError) -> Status {
    match why {
        PasswordError::TooMany => status(Refused::TooManyRequests),
        PasswordError::TooLong => Status::unknown(why.to_string()),
        PasswordError::TooCostly => Status::invalid_argument(why.to_string()),
        PasswordError::Stopped => status(Refused::Stopped),
    }
}
