//! Keys in all the files that openssl writes, and signatures that it has made.

use std::path::PathBuf;

use super::*;

const MESSAGE: &[u8] = b"a message";

fn path(name: &str) -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/jws")).join(name)
}

fn load(method: &str, public: Option<&str>, private: Option<&str>) -> Result<Jws, Error> {
    let (public, private) = (public.map(path), private.map(path));
    Jws::load(method, public.as_deref(), private.as_deref())
}

#[test]
fn who_has_the_public_key_knows_what_the_private_one_has_signed() {
    let check = |method: &str, private: &str, public: Option<&str>| {
        let signer = load(method, None, Some(private)).unwrap();
        assert_eq!(signer.method(), method);
        let signature = signer.sign(MESSAGE).unwrap();
        assert!(signer.verify(MESSAGE, &signature), "{method} {private}");
        assert!(!signer.verify(b"another", &signature), "{method} {private}");
        assert!(!signer.verify(MESSAGE, b""), "{method} {private}");
        let Some(public) = public else { return };
        load(method, Some(public), Some(private)).unwrap();
        let verifier = load(method, Some(public), None).unwrap();
        assert!(verifier.verify(MESSAGE, &signature), "{method} {public}");
        assert!(!verifier.verify(b"another", &signature), "{method} {public}");
        assert_eq!(verifier.sign(MESSAGE), None, "{method} {public}");
    };
    for method in ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512"] {
        check(method, "rsa.pem", Some("rsa.pub.pem"));
    }
    check("RS256", "rsa-pkcs1.pem", Some("rsa.pub.pem"));
    check("ES256", "p256.pem", Some("p256.pub.pem"));
    check("ES256", "p256-sec1.pem", Some("p256.pub.pem"));
    check("ES384", "p384-sec1.pem", Some("p384.pub.pem"));
    check("ES512", "p521.pem", Some("p521.pub.pem"));
    check("ES512", "p521-sec1.pem", Some("p521.pub.pem"));
    check("EdDSA", "ed.pem", Some("ed.pub.pem"));
    // Of any file.
    for method in ["HS256", "HS384", "HS512"] {
        check(method, "rsa.pem", None);
    }
}

#[test]
fn signatures_of_openssl_are_known() {
    for (method, public, signature) in [
        ("RS256", "rsa.pub.pem", "rsa.rs256.sig"),
        ("PS512", "rsa.pub.pem", "rsa.ps512.sig"),
        ("ES512", "p521.pub.pem", "p521.es512.sig"),
        ("EdDSA", "ed.pub.pem", "ed.eddsa.sig"),
    ] {
        let signature = files::read(&path(signature)).unwrap();
        let verifier = load(method, Some(public), None).unwrap();
        assert!(verifier.verify(MESSAGE, &signature), "{method}");
        assert!(!verifier.verify(b"another", &signature), "{method}");
        for at in (0..signature.len()).step_by(13) {
            let mut wrong = signature.clone();
            wrong[at] ^= 1;
            assert!(!verifier.verify(MESSAGE, &wrong), "{method} {at}");
        }
    }
}

#[test]
fn keys_that_do_not_fit_are_refused() {
    let check = |method: &str, public: Option<&str>, private: Option<&str>, expected: &str| {
        let text = load(method, public, private).unwrap_err().to_string();
        assert!(text.contains(expected), "{method} {public:?} {private:?}: {text}");
    };
    check("none", None, Some("rsa.pem"), "sign-method \"none\" is none of HS256");
    check("ES512", None, Some("p256.pem"), "is no key for it");
    check("ES512", None, Some("p384-sec1.pem"), "is no key for it");
    check("ES512", None, Some("rsa-pkcs1.pem"), "is a key of another kind");
    check("ES512", Some("p384.pub.pem"), None, "is a key of another kind");
    check("ES384", None, Some("p521.pem"), "is no key for it");
    check("RS256", None, None, "missing key data");
    check("HS256", Some("rsa.pub.pem"), None, "missing key data");
    check("RS256", None, Some("p256.pem"), "is no key for it");
    check("RS256", None, Some("p256-sec1.pem"), "is a key of another kind");
    check("RS256", Some("p256.pub.pem"), None, "is a key of another kind");
    check("ES256", Some("p384.pub.pem"), None, "is a key of another kind");
    check("ES256", None, Some("p384-sec1.pem"), "is no key for it");
    check("EdDSA", Some("p256.pub.pem"), None, "is a key of another kind");
    check("RS256", Some("rsa.pem"), None, "has no public key in it");
    check("RS256", None, Some("rsa.pub.pem"), "has no private key in it");
    check("RS256", None, Some("missing.pem"), "cannot read");
    check("EdDSA", Some("p256.pub.pem"), Some("ed.pem"), "another kind");
    let differ = "public and private keys don't match";
    check("RS256", Some("rsa-other.pub.pem"), Some("rsa.pem"), differ);
}
