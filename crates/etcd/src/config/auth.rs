//! What the flags say about users: tokens, and the hashes of passwords.

use std::{path::PathBuf, time::Duration};

use base::duration;

use super::{Refusal, given::Given};

/// bcrypt's bounds, and what is taken in place of a cost beyond them (etcd).
const COST_MIN: u64 = 4;
const COST_MAX: u64 = 31;
const COST_DEFAULT: u32 = 10;
/// How long a JWT is good for, unless it says so.
const JWT_TTL_DEFAULT: Duration = Duration::from_mins(5);

/// How users log in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Auth {
    bcrypt_cost: u32,
    tokens: Tokens,
    token_ttl: Duration,
    names_in_certificates: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Tokens {
    None,
    Simple,
    Jwt(api::JwtOptions),
}

impl Auth {
    /// Reads the files that are named.
    pub(crate) fn load(&self) -> Result<api::AuthConfig, String> {
        Ok(api::AuthConfig {
            bcrypt_cost: self.bcrypt_cost,
            tokens: match &self.tokens {
                Tokens::None => api::Tokens::None,
                Tokens::Simple => api::Tokens::Simple,
                Tokens::Jwt(options) => {
                    let jwt = api::Jwt::load(options);
                    api::Tokens::Jwt(jwt.map_err(|why| format!("--auth-token: {why}"))?)
                }
            },
            token_ttl: self.token_ttl,
            names_in_certificates: self.names_in_certificates,
        })
    }
}

pub(super) fn read(given: &mut Given, names_in_certificates: bool) -> Result<Auth, Refusal> {
    let (shown, cost) = (given.show("bcrypt-cost"), given.count("bcrypt-cost"));
    let bcrypt_cost = match u32::try_from(cost) {
        Ok(bcrypt_cost) if (COST_MIN..=COST_MAX).contains(&cost) => bcrypt_cost,
        _ => {
            given.warn(format!(
                "{shown} {cost} is not between {COST_MIN} and {COST_MAX}: {COST_DEFAULT} is taken"
            ));
            COST_DEFAULT
        }
    };
    let seconds = given.count("auth-token-ttl");
    let default = base::limits::TOKEN_TTL_DEFAULT;
    let token_ttl = if seconds == 0 { default } else { Duration::from_secs(seconds) };
    let text = given.text("auth-token").to_owned();
    let tokens = tokens(&text).map_err(|why| {
        let shown = given.show("auth-token");
        Refusal::Conflict(format!("{shown} {text:?}: auth: invalid auth options: {why}"))
    })?;
    Ok(Auth { bcrypt_cost, tokens, token_ttl, names_in_certificates })
}

/// `simple`, or `jwt` with its options.
fn tokens(text: &str) -> Result<Tokens, String> {
    let mut parts = text.split(',');
    let kind = parts.next().unwrap_or_default();
    let mut options = api::JwtOptions { ttl: JWT_TTL_DEFAULT, ..api::JwtOptions::default() };
    let mut seen = Vec::new();
    for part in parts {
        let (name, value) = part.split_once('=').ok_or(format!("{part:?} is no name=value"))?;
        if seen.contains(&name) {
            return Err(format!("{name} is given twice"));
        }
        seen.push(name);
        match name {
            "sign-method" => value.clone_into(&mut options.sign_method),
            "pub-key" => options.public_key = file(value),
            "priv-key" => options.private_key = file(value),
            "ttl" if value.is_empty() => {}
            "ttl" => options.ttl = duration::parse(value).map_err(|why| format!("ttl: {why}"))?,
            other => return Err(format!("there is no option {other}")),
        }
    }
    match kind {
        "" => Ok(Tokens::None),
        "simple" => Ok(Tokens::Simple),
        "jwt" if options.sign_method.is_empty() => Err("sign-method is missing".to_owned()),
        "jwt" => Ok(Tokens::Jwt(options)),
        other => Err(format!("tokens are simple or jwt, not {other:?}")),
    }
}

fn file(path: &str) -> Option<PathBuf> {
    (!path.is_empty()).then(|| PathBuf::from(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_simple_or_have_keys() {
        assert_eq!(tokens("simple"), Ok(Tokens::Simple));
        assert_eq!(tokens(""), Ok(Tokens::None));
        let options = api::JwtOptions {
            sign_method: "RS256".to_owned(),
            public_key: Some("a.pub".into()),
            private_key: Some("a".into()),
            ttl: Duration::from_mins(10),
        };
        let text = "jwt,pub-key=a.pub,priv-key=a,sign-method=RS256,ttl=10m";
        assert_eq!(tokens(text), Ok(Tokens::Jwt(options.clone())));
        let less = api::JwtOptions { public_key: None, ttl: JWT_TTL_DEFAULT, ..options };
        assert_eq!(tokens("jwt,priv-key=a,sign-method=RS256"), Ok(Tokens::Jwt(less)));
        for (text, why) in [
            ("jwt", "sign-method is missing"),
            ("jwt,priv-key=a", "sign-method is missing"),
            ("jwt,sign-method", "\"sign-method\" is no name=value"),
            ("jwt,ttl=1m,ttl=2m", "ttl is given twice"),
            ("jwt,ttl=5", "ttl: a duration like"),
            ("jwt,sign-methd=RS256", "there is no option sign-methd"),
            ("paseto", "tokens are simple or jwt, not \"paseto\""),
        ] {
            let refused = tokens(text).unwrap_err();
            assert!(refused.contains(why), "{text}: {refused}");
        }
    }
}
