//! JWTs: tokens that say themselves who has them, and until when.

use std::{path::PathBuf, sync::Arc, time::Duration};

use base::UnixNanos;
use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};
use tls::Jws;

/// How tokens are signed, and how long they are good for.
#[derive(Clone, Debug)]
pub struct Jwt {
    keys: Arc<Jws>,
    ttl: Duration,
}

/// As `--auth-token jwt,…` gives them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct JwtOptions {
    /// One of JWS: `RS256`, `ES256`, `HS256`, …
    pub sign_method: String,
    pub public_key: Option<PathBuf>,
    /// Without it there are only others' tokens.
    pub private_key: Option<PathBuf>,
    pub ttl: Duration,
}

#[derive(Deserialize, Serialize)]
struct Head<'a> {
    alg: &'a str,
    #[serde(default)]
    typ: &'a str,
}

#[derive(Serialize)]
struct Claims<'a> {
    exp: i64,
    revision: u64,
    username: &'a str,
}

/// What others may have written: numbers need not be whole.
#[derive(Deserialize)]
struct Read {
    username: String,
    revision: f64,
    #[serde(default)]
    exp: Option<f64>,
    #[serde(default)]
    nbf: Option<f64>,
}

impl Jwt {
    /// Reads the keys. The error is one line for operators.
    pub fn load(options: &JwtOptions) -> Result<Self, String> {
        let JwtOptions { sign_method, public_key, private_key, ttl } = options;
        let keys = Jws::load(sign_method, public_key.as_deref(), private_key.as_deref());
        let keys = keys.map_err(|error| error.to_string())?;
        Ok(Self { keys: Arc::new(keys), ttl: *ttl })
    }

    /// A token for a user, with the auth revision at which the password was right; `None`: there is
    /// no private key.
    pub(crate) fn sign(&self, username: &str, revision: u64, now: UnixNanos) -> Option<String> {
        let exp = now.0.checked_add(i64::try_from(self.ttl.as_nanos()).ok()?)? / 1_000_000_000;
        let head = serde_json::to_vec(&Head { alg: self.keys.method(), typ: "JWT" }).ok()?;
        let claims = serde_json::to_vec(&Claims { exp, revision, username }).ok()?;
        let encode = |bytes: &[u8]| BASE64_URL_SAFE_NO_PAD.encode(bytes);
        let message = format!("{}.{}", encode(&head), encode(&claims));
        let signature = self.keys.sign(message.as_bytes())?;
        Some(format!("{message}.{}", encode(&signature)))
    }

    /// The user and the auth revision that a token says, if it is signed and its time is now.
    pub(crate) fn verify(&self, token: &str, now: UnixNanos) -> Option<(String, u64)> {
        let (message, signature) = token.rsplit_once('.')?;
        let (head, claims) = message.split_once('.')?;
        let decode = |text: &str| BASE64_URL_SAFE_NO_PAD.decode(text).ok();
        let head = decode(head)?;
        let head: Head<'_> = serde_json::from_slice(&head).ok()?;
        // Never the one that the token would like.
        if head.alg != self.keys.method() {
            return None;
        }
        if !self.keys.verify(message.as_bytes(), &decode(signature)?) {
            return None;
        }
        let Read { username, revision, exp, nbf } =
            serde_json::from_slice(&decode(claims)?).ok()?;
        #[expect(clippy::cast_precision_loss, reason = "seconds; tokens say them as JSON does")]
        let now = now.0 as f64 / 1e9;
        let is_now = exp.is_none_or(|exp| now < exp) && nbf.is_none_or(|nbf| nbf <= now);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "as in etcd")]
        let revision = revision as u64;
        is_now.then_some((username, revision))
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    const NOW: UnixNanos = UnixNanos(1_700_000_000 * 1_000_000_000);

    fn after(seconds: i64) -> UnixNanos {
        UnixNanos(NOW.0 + seconds * 1_000_000_000)
    }

    fn jwt(method: &str, private: &str) -> Jwt {
        let keys = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../tls/testdata/jws"));
        let private_key = Some(keys.join(private));
        let (sign_method, ttl) = (method.to_owned(), Duration::from_mins(1));
        Jwt::load(&JwtOptions { sign_method, public_key: None, private_key, ttl }).unwrap()
    }

    #[test]
    fn a_token_says_who_has_it_until_its_time_is_over() {
        for (method, private) in [
            ("ES256", "p256.pem"),
            ("ES512", "p521.pem"),
            ("HS256", "rsa.pem"),
            ("RS256", "rsa.pem"),
        ] {
            let jwt = jwt(method, private);
            let token = jwt.sign("alice", 7, NOW).unwrap();
            let alice = Some(("alice".to_owned(), 7));
            assert_eq!(jwt.verify(&token, NOW), alice);
            assert_eq!(jwt.verify(&token, after(59)), alice);
            assert_eq!(jwt.verify(&token, after(60)), None);
            let other = jwt.sign("root", 7, NOW).unwrap();
            let parts = |token: &str| token.split('.').map(str::to_owned).collect::<Vec<_>>();
            let (mine, others) = (parts(&token), parts(&other));
            let forged = [&mine[0][..], &others[1], &mine[2]].join(".");
            assert_eq!(jwt.verify(&forged, NOW), None, "another's claims");
            let bare = format!("{}.{}.", mine[0], mine[1]);
            for broken in ["", ".", "..", "a.b.c", &mine[0], &bare] {
                assert_eq!(jwt.verify(broken, NOW), None, "{broken}");
            }
        }
    }

    #[test]
    fn a_token_is_not_signed_as_it_would_like() {
        let (public, secret) = (jwt("RS256", "rsa.pem"), jwt("HS256", "rsa.pem"));
        let token = secret.sign("root", 7, NOW).unwrap();
        assert_eq!(public.verify(&token, NOW), None);
        let claims = token.split('.').nth(1).unwrap();
        let head = BASE64_URL_SAFE_NO_PAD.encode(r#"{"alg":"none","typ":"JWT"}"#);
        assert_eq!(public.verify(&format!("{head}.{claims}."), NOW), None);
    }

    /// As programs of others make them.
    #[test]
    fn claims_of_others_are_read_as_etcd_reads_them() {
        let jwt = jwt("HS256", "rsa.pem");
        let check = |claims: &str, expected: Option<u64>| {
            let head = BASE64_URL_SAFE_NO_PAD.encode(r#"{"alg":"HS256"}"#);
            let message = format!("{head}.{}", BASE64_URL_SAFE_NO_PAD.encode(claims));
            let signature = jwt.keys.sign(message.as_bytes()).unwrap();
            let token = format!("{message}.{}", BASE64_URL_SAFE_NO_PAD.encode(signature));
            let expected = expected.map(|revision| ("a".to_owned(), revision));
            assert_eq!(jwt.verify(&token, NOW), expected, "{claims}");
        };
        check(r#"{"username":"a","revision":3,"sub":"x"}"#, Some(3));
        check(r#"{"username":"a","revision":3.0,"exp":1700000001}"#, Some(3));
        check(r#"{"username":"a","revision":3,"exp":1.7e9}"#, None);
        check(r#"{"username":"a","revision":3,"nbf":1700000001}"#, None);
        check(r#"{"username":"a","revision":3,"nbf":1700000000}"#, Some(3));
        check(r#"{"username":"a","revision":3,"exp":"1800000000"}"#, None);
        check(r#"{"username":"a"}"#, None);
        check(r#"{"revision":3}"#, None);
        check(r#"{"username":1,"revision":3}"#, None);
    }
}
