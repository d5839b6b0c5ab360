//! From a password to a token.

use base::Refused;
use proto::command::{Auth as Command, AuthChange, Authenticate, By, Op};
use ring::rand::SecureRandom as _;
use server::{Done, PasswordError};
use state::{Response, apply::Reply};
use tonic::Status;

use super::{Denied, TRIES, Tokens};
use crate::{
    context::Context,
    v3::{status, unserved},
};

/// The part of a token that nobody can guess.
const SECRET_LENGTH: usize = 16;
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
        user: &str,
        password: &str,
    ) -> Result<String, Status> {
        let handle = &context.handle;
        handle.read_barrier().await.map_err(unserved)?;
        for _ in 0..TRIES {
            let checked = self.check(context, user, password).await?;
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
        user: String,
        password: &str,
    ) -> Result<By, Denied> {
        let auth = context.handle.reader().auth();
        let auth_revision = auth.revision();
        if !self.remembered.knows(auth_revision, &user, password) {
            let hash = auth.user(&user).and_then(|known| known.password_hash.as_ref());
            let hash = hash.ok_or_else(|| wrong(&user))?;
            if !self.passwords.check(&user, password, hash).await? {
                return Err(wrong(&user));
            }
            self.remembered.add(auth_revision, &user, password);
        }
        Ok(By { user, auth_revision })
    }

    /// Checks a password; gives the auth revision at which it was right.
    async fn check(&self, context: &Context, user: &str, password: &str) -> Result<u64, Status> {
        let auth = context.handle.reader().auth();
        if !auth.is_enabled() {
            return Err(status(Refused::AuthNotEnabled));
        }
        let known = auth.user(user).ok_or_else(|| failed(user, Refused::AuthFailed))?;
        let hash = known.password_hash.as_ref();
        let hash = hash.ok_or_else(|| failed(user, Refused::NoPasswordUser))?;
        match self.passwords.check(user, password, hash).await {
            Ok(true) => Ok(auth.revision()),
            Ok(false) => Err(failed(user, Refused::AuthFailed)),
            Err(why) => Err(password_error(why)),
        }
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

fn failed(user: &str, refused: Refused) -> Status {
    tracing::warn!(target: "etcdserver", user, error = %refused, "invalid authentication was requested");
    status(refused)
}

fn wrong(user: &str) -> Denied {
    tracing::warn!(target: "etcdserver/auth", user, "auth: no such user, or a wrong password");
    Denied::Credentials
}

pub(crate) fn password_error(why: PasswordError) -> Status {
    match why {
        PasswordError::TooMany => status(Refused::TooManyRequests),
        PasswordError::TooLong => Status::unknown(why.to_string()),
        PasswordError::Stopped => status(Refused::Stopped),
    }
}
