//! Who asks: tokens, names in certificates, passwords.
//!
//! What they may do `state::auth` says. Whatever is slow or random is done here, before a command is
//! proposed.
//!
//! - `asker`: who a request of v3 is from, and what that permits
//! - `claim`: the same of v2; `remembered`: what was found right; `checks`: what is being looked at
//! - `login`: from a password to a token; `jwt`: those that say themselves whose they are

mod asker;
mod checks;
mod claim;
mod jwt;
mod login;
mod remembered;

use std::time::Duration;

use base::{Complaints, limits::TOKEN_TTL_DEFAULT};
use parking_lot::Mutex;
use proto::command::By;
use ring::rand::SystemRandom;
use server::{Handle, Passwords};
use state::auth::Auth;

pub use self::jwt::{Jwt, JwtOptions};
use self::{checks::Checks, remembered::Remembered};

pub(crate) use self::{
    asker::{Asker, CommonName, Pass, TRIES},
    claim::{Claim, Denied},
    login::password_error,
};

/// How users log in.
#[derive(Clone, Debug)]
pub struct AuthConfig {
    /// `--bcrypt-cost`: of the hashes of new passwords.
    pub bcrypt_cost: u32,
    /// `--auth-token`: what tokens are like.
    pub tokens: Tokens,
    /// `--auth-token-ttl`: how long a simple token lives that nobody uses.
    pub token_ttl: Duration,
    /// `--client-cert-auth`: whoever brings no token is the user whose name stands in his certificate.
    pub names_in_certificates: bool,
}

impl Default for AuthConfig {
    fn default() -> Self {
        Self {
            bcrypt_cost: 10,
            tokens: Tokens::Simple,
            token_ttl: TOKEN_TTL_DEFAULT,
            names_in_certificates: false,
        }
    }
}

/// What tokens are like.
#[derive(Clone, Debug)]
pub enum Tokens {
    /// There are none.
    None,
    /// All members know them.
    Simple,
    Jwt(Jwt),
}

/// Finds out who asks.
#[derive(Debug)]
pub(crate) struct Authentication {
    pub(crate) passwords: Passwords,
    remembered: Remembered,
    checks: Checks,
    complaints: Mutex<Complaints<String>>,
    random: SystemRandom,
    tokens: Tokens,
}

impl Authentication {
    pub(crate) fn new(config: &AuthConfig) -> Self {
        let (passwords, random) = (Passwords::new(config.bcrypt_cost), SystemRandom::new());
        let (remembered, tokens) = (Remembered::new(&random), config.tokens.clone());
        let (checks, complaints) = (Checks::default(), Mutex::default());
        Self { passwords, remembered, checks, complaints, random, tokens }
    }

    /// Whose token it is, while users are as these; `None`: nobody's.
    fn bearer(&self, handle: &Handle, auth: &Auth, token: &str) -> Option<By> {
        match &self.tokens {
            Tokens::None => None,
            Tokens::Simple => {
                handle.reader().tokens().find(auth, token, handle.clock().monotonic())
            }
            Tokens::Jwt(jwt) => {
                let (user, auth_revision) = jwt.verify(token, handle.clock().wall())?;
                // Deleted since, or with another password.
                auth.user(&user).filter(|known| known.since <= auth_revision)?;
                Some(By { user, auth_revision })
            }
        }
    }
}
