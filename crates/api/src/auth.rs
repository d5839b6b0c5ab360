//! Who asks: tokens, names in certificates, passwords.
//!
//! What they may do `state::auth` says. Whatever is slow or random is done here, before a command is
//! proposed.
//!
//! - `asker`: who a request of v3 is from, and what that permits
//! - `claim`: the same of v2; `remembered`: what was found right
//! - `login`: from a password to a token

mod asker;
mod claim;
mod login;
mod remembered;

use proto::command::By;
use ring::rand::SystemRandom;
use server::{Handle, Passwords};
use state::auth::Auth;

use self::remembered::Remembered;

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
    /// `--client-cert-auth`: whoever brings no token is the user whose name stands in his certificate.
    pub names_in_certificates: bool,
}

impl Default for AuthConfig {
    fn default() -> Self {
        Self { bcrypt_cost: 10, names_in_certificates: false }
    }
}

/// Finds out who asks.
#[derive(Debug)]
pub(crate) struct Authentication {
    pub(crate) passwords: Passwords,
    remembered: Remembered,
    random: SystemRandom,
}

impl Authentication {
    pub(crate) fn new(config: &AuthConfig) -> Self {
        let (passwords, random) = (Passwords::new(config.bcrypt_cost), SystemRandom::new());
        Self { passwords, remembered: Remembered::new(&random), random }
    }

    /// Whose token it is, while users are as these; `None`: nobody's.
    fn bearer(&self, handle: &Handle, auth: &Auth, token: &str) -> Option<By> {
        handle.reader().tokens().find(auth, token, handle.clock().monotonic())
    }
}
