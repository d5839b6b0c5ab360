//! Signatures of tokens (JWS, RFC 7518): keys of PEM files, and the algorithms that there are.

use std::{fmt, path::Path};

use p521::{
    SecretKey,
    ecdsa::{
        Signature, SigningKey, VerifyingKey,
        signature::{Signer as _, Verifier as _},
    },
    pkcs8::DecodePrivateKey as _,
};
use ring::{
    hmac,
    rand::SystemRandom,
    signature::{
        self, ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED,
        ECDSA_P384_SHA384_FIXED_SIGNING, ED25519, EcdsaKeyPair, EcdsaSigningAlgorithm,
        Ed25519KeyPair, KeyPair as _, RsaEncoding, RsaKeyPair, UnparsedPublicKey,
        VerificationAlgorithm,
    },
};
use rustls::pki_types::{
    CertificateDer, PrivateKeyDer, SubjectPublicKeyInfoDer, pem::PemObject as _,
};
use x509_parser::{
    prelude::{FromDer as _, X509Certificate},
    x509::SubjectPublicKeyInfo,
};

use crate::{Error, files};

/// What a private key of PKCS #8 begins with, before the key as SEC 1 has it.
const P256: &[u8] = b"\x02\x01\x00\x30\x13\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07";
const P384: &[u8] =
    b"\x02\x01\x00\x30\x10\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x05\x2b\x81\x04\x00\x22";
const SEQUENCE: u8 = 0x30;
const OCTETS: u8 = 0x04;

/// How tokens are signed.
#[derive(Clone, Copy)]
enum Family {
    Hmac(hmac::Algorithm),
    Rsa(&'static dyn RsaEncoding, &'static dyn VerificationAlgorithm),
    Ec(Curve),
    /// The curve that `ring` has not.
    P521,
    Ed,
}

#[derive(Clone, Copy)]
struct Curve {
    signing: &'static EcdsaSigningAlgorithm,
    verifying: &'static dyn VerificationAlgorithm,
    prefix: &'static [u8],
    /// Of a public key.
    length: usize,
}

const ED_LENGTH: usize = 32;
/// Of a public key: a byte, and a point.
const P521_LENGTH: usize = 133;
const P256_CURVE: Curve = Curve {
    signing: &ECDSA_P256_SHA256_FIXED_SIGNING,
    verifying: &ECDSA_P256_SHA256_FIXED,
    prefix: P256,
    length: 65,
};
const P384_CURVE: Curve = Curve {
    signing: &ECDSA_P384_SHA384_FIXED_SIGNING,
    verifying: &ECDSA_P384_SHA384_FIXED,
    prefix: P384,
    length: 97,
};

/// All that there are, by their names.
const METHODS: [(&str, Family); 13] = [
    ("HS256", Family::Hmac(hmac::HMAC_SHA256)),
    ("HS384", Family::Hmac(hmac::HMAC_SHA384)),
    ("HS512", Family::Hmac(hmac::HMAC_SHA512)),
    ("RS256", Family::Rsa(&signature::RSA_PKCS1_SHA256, &signature::RSA_PKCS1_2048_8192_SHA256)),
    ("RS384", Family::Rsa(&signature::RSA_PKCS1_SHA384, &signature::RSA_PKCS1_2048_8192_SHA384)),
    ("RS512", Family::Rsa(&signature::RSA_PKCS1_SHA512, &signature::RSA_PKCS1_2048_8192_SHA512)),
    ("PS256", Family::Rsa(&signature::RSA_PSS_SHA256, &signature::RSA_PSS_2048_8192_SHA256)),
    ("PS384", Family::Rsa(&signature::RSA_PSS_SHA384, &signature::RSA_PSS_2048_8192_SHA384)),
    ("PS512", Family::Rsa(&signature::RSA_PSS_SHA512, &signature::RSA_PSS_2048_8192_SHA512)),
    ("ES256", Family::Ec(P256_CURVE)),
    ("ES384", Family::Ec(P384_CURVE)),
    ("ES512", Family::P521),
    ("EdDSA", Family::Ed),
];

/// Signs tokens, or only says whether others have signed them.
pub struct Jws {
    method: &'static str,
    family: Family,
    private: Option<Private>,
    /// Of HMAC there is none.
    public: Vec<u8>,
}

enum Private {
    Hmac(hmac::Key),
    Rsa(Box<RsaKeyPair>),
    Ec(EcdsaKeyPair),
    P521(Box<SigningKey>),
    Ed(Ed25519KeyPair),
}

impl fmt::Debug for Jws {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Jws").field("method", &self.method).finish_non_exhaustive()
    }
}

impl Jws {
    /// Reads the keys of a method: one of both will do, but of HMAC it is the private one.
    pub fn load(
        method: &str,
        public: Option<&Path>,
        private: Option<&Path>,
    ) -> Result<Self, Error> {
        let known = METHODS.into_iter().find(|(name, _)| *name == method);
        let (method, family) = known.ok_or_else(|| {
            let names: Vec<&str> = METHODS.iter().map(|(name, _)| *name).collect();
            Error::Settings(format!("sign-method {method:?} is none of {}", names.join(", ")))
        })?;
        let private = private.map(|path| Private::load(family, path)).transpose()?;
        let own = private.as_ref().map(Private::public);
        let given = match family {
            Family::Hmac(_) => None,
            Family::Rsa(..) | Family::Ec(_) | Family::P521 | Family::Ed => {
                public.map(|path| public_key(family, path)).transpose()?
            }
        };
        if let (Some(own), Some(given)) = (&own, &given)
            && own != given
        {
            let text = "auth: public and private keys don't match".to_owned();
            return Err(Error::Settings(text));
        }
        let missing = || Error::Settings("auth: missing key data".to_owned());
        Ok(Self { method, family, private, public: own.or(given).ok_or_else(missing)? })
    }

    /// As it stands in the head of a token.
    pub fn method(&self) -> &'static str {
        self.method
    }

    /// `None`: there is only a public key.
    pub fn sign(&self, message: &[u8]) -> Option<Vec<u8>> {
        let random = SystemRandom::new();
        match (self.private.as_ref()?, self.family) {
            (Private::Hmac(key), _) => Some(hmac::sign(key, message).as_ref().to_vec()),
            (Private::Ec(key), _) => Some(key.sign(&random, message).ok()?.as_ref().to_vec()),
            (Private::P521(key), _) => {
                let signature: Signature = key.try_sign(message).ok()?;
                Some(signature.to_bytes().to_vec())
            }
            (Private::Ed(key), _) => Some(key.sign(message).as_ref().to_vec()),
            (Private::Rsa(key), Family::Rsa(encoding, _)) => {
                let mut signature = vec![0; key.public().modulus_len()];
                key.sign(encoding, &random, message, &mut signature).ok()?;
                Some(signature)
            }
            (Private::Rsa(_), _) => None,
        }
    }

    /// Whether somebody has signed this who has the private key.
    pub fn verify(&self, message: &[u8], signature: &[u8]) -> bool {
        let verifying: &'static dyn VerificationAlgorithm = match self.family {
            Family::Hmac(_) => {
                let Some(Private::Hmac(key)) = &self.private else { return false };
                return hmac::verify(key, message, signature).is_ok();
            }
            Family::Rsa(_, verifying) => verifying,
            Family::Ec(curve) => curve.verifying,
            Family::P521 => {
                let signature = Signature::from_slice(signature);
                let key = VerifyingKey::from_sec1_bytes(&self.public);
                let (Ok(signature), Ok(key)) = (signature, key) else { return false };
                return key.verify(message, &signature).is_ok();
            }
            Family::Ed => &ED25519,
        };
        UnparsedPublicKey::new(verifying, &self.public).verify(message, signature).is_ok()
    }
}

impl Private {
    fn load(family: Family, path: &Path) -> Result<Self, Error> {
        let text = files::read(path)?;
        let bad = |why: String| Error::File { path: path.to_owned(), why };
        if let Family::Hmac(algorithm) = family {
            return Ok(Self::Hmac(hmac::Key::new(algorithm, &text)));
        }
        let key = PrivateKeyDer::from_pem_slice(&text)
            .map_err(|error| bad(format!("has no private key in it: {error}")))?;
        let unfit = |error: ring::error::KeyRejected| bad(format!("is no key for it: {error}"));
        match (family, &key) {
            (Family::Rsa(..), PrivateKeyDer::Pkcs1(key)) => {
                let key = RsaKeyPair::from_der(key.secret_pkcs1_der()).map_err(unfit)?;
                Ok(Self::Rsa(Box::new(key)))
            }
            (Family::Rsa(..), PrivateKeyDer::Pkcs8(key)) => {
                let key = RsaKeyPair::from_pkcs8(key.secret_pkcs8_der()).map_err(unfit)?;
                Ok(Self::Rsa(Box::new(key)))
            }
            (Family::Ec(curve), PrivateKeyDer::Pkcs8(key)) => {
                let random = SystemRandom::new();
                let key = key.secret_pkcs8_der();
                EcdsaKeyPair::from_pkcs8(curve.signing, key, &random).map(Self::Ec).map_err(unfit)
            }
            (Family::Ec(curve), PrivateKeyDer::Sec1(key)) => {
                let random = SystemRandom::new();
                let key = [curve.prefix, &der(OCTETS, key.secret_sec1_der())].concat();
                let key = der(SEQUENCE, &key);
                EcdsaKeyPair::from_pkcs8(curve.signing, &key, &random).map(Self::Ec).map_err(unfit)
            }
            (Family::P521, PrivateKeyDer::Pkcs8(key)) => {
                let key = SecretKey::from_pkcs8_der(key.secret_pkcs8_der());
                let key = key.map_err(|error| bad(format!("is no key for it: {error}")))?;
                Ok(Self::P521(Box::new(key.into())))
            }
            (Family::P521, PrivateKeyDer::Sec1(key)) => {
                let key = SecretKey::from_sec1_der(key.secret_sec1_der());
                let key = key.map_err(|error| bad(format!("is no key for it: {error}")))?;
                Ok(Self::P521(Box::new(key.into())))
            }
            (Family::Ed, PrivateKeyDer::Pkcs8(key)) => {
                let key = Ed25519KeyPair::from_pkcs8_maybe_unchecked(key.secret_pkcs8_der());
                key.map(Self::Ed).map_err(unfit)
            }
            _ => Err(bad("is a key of another kind".to_owned())),
        }
    }

    fn public(&self) -> Vec<u8> {
        match self {
            Self::Hmac(_) => Vec::new(),
            Self::Rsa(key) => key.public_key().as_ref().to_vec(),
            Self::Ec(key) => key.public_key().as_ref().to_vec(),
            Self::P521(key) => key.verifying_key().to_sec1_point(false).to_bytes().to_vec(),
            Self::Ed(key) => key.public_key().as_ref().to_vec(),
        }
    }
}

/// A value of DER with its tag and length.
fn der(tag: u8, value: &[u8]) -> Vec<u8> {
    let length = value.len().to_be_bytes();
    let length: Vec<u8> = length.into_iter().skip_while(|byte| *byte == 0).collect();
    let mut out = vec![tag];
    match (u8::try_from(value.len()), u8::try_from(length.len())) {
        (Ok(short), _) if short < 0x80 => out.push(short),
        (_, Ok(count)) => {
            out.push(0x80 | count);
            out.extend_from_slice(&length);
        }
        (_, Err(_)) => {}
    }
    out.extend_from_slice(value);
    out
}

/// The key that stands in a file by itself, or in a certificate.
fn public_key(family: Family, path: &Path) -> Result<Vec<u8>, Error> {
    let text = files::read(path)?;
    let bad = |why: &str| Error::File { path: path.to_owned(), why: why.to_owned() };
    let key = if let Ok(key) = SubjectPublicKeyInfoDer::from_pem_slice(&text) {
        let parsed = SubjectPublicKeyInfo::from_der(&key).ok();
        parsed.map(|(_, key)| key.subject_public_key.data.to_vec())
    } else if let Ok(certificate) = CertificateDer::from_pem_slice(&text) {
        let parsed = X509Certificate::from_der(&certificate).ok();
        parsed.map(|(_, parsed)| parsed.public_key().subject_public_key.data.to_vec())
    } else {
        None
    };
    let key = key.ok_or_else(|| bad("has no public key in it: expected PEM"))?;
    let fits = match family {
        Family::Hmac(_) => false,
        Family::Rsa(..) => key.first() == Some(&SEQUENCE),
        Family::Ec(curve) => key.len() == curve.length,
        Family::P521 => key.len() == P521_LENGTH,
        Family::Ed => key.len() == ED_LENGTH,
    };
    if fits { Ok(key) } else { Err(bad("is a key of another kind")) }
}

#[cfg(test)]
mod tests;
