//! The token that credentials are exchanged for, which every call carries.

use parking_lot::Mutex;
use proto::etcdserverpb::AuthenticateRequest;

use base::Refused;

use super::{client::Client, config::Config, error::Error};

/// What is known of the token.
#[derive(Debug)]
pub(super) struct Token {
    known: Mutex<Known>,
}

#[derive(Clone, Debug)]
enum Known {
    /// Credentials are to be exchanged before the next call.
    Wanted,
    /// Sent with every call.
    Token(String),
    /// There is nothing to exchange, or the cluster wants none.
    None,
}

impl Token {
    pub(super) fn new(config: &Config) -> Self {
        let known = match &config.token {
            Some(token) => Known::Token(token.clone()),
            None if config.credentials.is_some() => Known::Wanted,
            None => Known::None,
        };
        Self { known: Mutex::new(known) }
    }

    /// A token that the server does not take is exchanged, if there is something to exchange.
    pub(super) fn refused(&self, config: &Config) {
        if config.token.is_none() && config.credentials.is_some() {
            *self.known.lock() = Known::Wanted;
        }
    }
}

impl Client {
    /// The token to send; credentials are exchanged for one if that has not been done.
    pub(super) async fn token(&self) -> Result<Option<String>, Error> {
        if self.is_on_behalf() {
            return Ok(None);
        }
        let known = self.shared.token.known.lock().clone();
        match known {
            Known::Token(token) => Ok(Some(token)),
            Known::None => Ok(None),
            Known::Wanted => self.exchange().await,
        }
    }

    /// Exchanges the credentials now, so that what is wrong with them is told before anything else.
    /// Without credentials it does nothing.
    pub async fn log_in(&self) -> Result<(), Error> {
        self.token().await.map(drop)
    }

    async fn exchange(&self) -> Result<Option<String>, Error> {
        let Some(credentials) = &self.shared.config.credentials else { return Ok(None) };
        let request = AuthenticateRequest {
            name: credentials.username.clone(),
            password: credentials.password.clone(),
        };
        let token = match Box::pin(self.authenticate(request)).await {
            Ok(answer) => Some(answer.token),
            Err(error) if error.is(Refused::AuthNotEnabled) => None,
            Err(error) => return Err(error),
        };
        *self.shared.token.known.lock() = token.clone().map_or(Known::None, Known::Token);
        Ok(token)
    }
}
