//! Values of fields in JSON, as proto3 has them and pbjson does not: `null` is a field that is not given;
//! an enumeration is a name that is known, or any number, since those of proto3 are open; a whole number may
//! be written as `1.0`; base64 may be broken into lines.

use std::{fmt, marker::PhantomData, str::FromStr};

use pbjson::private::BytesDeserialize;
use serde::{
    Deserialize, Deserializer,
    de::{Error, IntoDeserializer as _, Visitor, value::StrDeserializer},
};

/// Above it a floating-point number does not tell whole numbers apart.
const EXACT_MAX: f64 = 9_007_199_254_740_992.0;

/// A value, or what its field has if it is not given.
pub(crate) struct Given<T>(pub(crate) T);

impl<'de, T: Deserialize<'de> + Default> Deserialize<'de> for Given<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Option::deserialize(deserializer).map(|given| Self(given.unwrap_or_default()))
    }
}

/// A whole number, or a string that holds one.
#[derive(Default)]
pub(crate) struct Number<T>(pub(crate) T);

impl<'de, T> Deserialize<'de> for Number<T>
where
    T: FromStr<Err: fmt::Display> + TryFrom<i64> + TryFrom<u64> + Default,
{
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Whole(PhantomData)).map(Self)
    }
}

struct Whole<T>(PhantomData<T>);

impl<T> Visitor<'_> for Whole<T>
where
    T: FromStr<Err: fmt::Display> + TryFrom<i64> + TryFrom<u64> + Default,
{
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number of its size, or one in a string")
    }

    fn visit_str<X: Error>(self, text: &str) -> Result<T, X> {
        text.parse().map_err(X::custom)
    }

    fn visit_u64<X: Error>(self, number: u64) -> Result<T, X> {
        let unexpected = serde::de::Unexpected::Unsigned(number);
        T::try_from(number).map_err(|_| X::invalid_value(unexpected, &self))
    }

    fn visit_i64<X: Error>(self, number: i64) -> Result<T, X> {
        let unexpected = serde::de::Unexpected::Signed(number);
        T::try_from(number).map_err(|_| X::invalid_value(unexpected, &self))
    }

    fn visit_f64<X: Error>(self, number: f64) -> Result<T, X> {
        // A whole one is written without a point.
        let whole = (number.abs() <= EXACT_MAX).then(|| number.to_string().parse().ok()).flatten();
        whole.ok_or_else(|| X::invalid_value(serde::de::Unexpected::Float(number), &self))
    }

    fn visit_unit<X: Error>(self) -> Result<T, X> {
        Ok(T::default())
    }
}

/// Bytes in base64, of either alphabet, with padding or without.
pub(crate) struct Base64<T>(pub(crate) T);

impl<'de, T: From<Vec<u8>> + Default> Deserialize<'de> for Base64<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Lines(PhantomData)).map(Self)
    }
}

struct Lines<T>(PhantomData<T>);

impl<T: From<Vec<u8>> + Default> Visitor<'_> for Lines<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a base64 string")
    }

    fn visit_str<X: Error>(self, text: &str) -> Result<T, X> {
        let decode =
            |text| BytesDeserialize::deserialize(StrDeserializer::new(text)).map(|bytes| bytes.0);
        if text.contains(['\r', '\n']) {
            decode(&text.replace(['\r', '\n'], ""))
        } else {
            decode(text)
        }
    }

    fn visit_unit<X: Error>(self) -> Result<T, X> {
        Ok(T::default())
    }
}

/// The number of an enumeration's value.
pub(crate) struct Open<E>(pub(crate) i32, PhantomData<E>);

impl<'de, E: Deserialize<'de> + Into<i32>> Deserialize<'de> for Open<E> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer
            .deserialize_any(Numbers::<E>(PhantomData))
            .map(|number| Self(number, PhantomData))
    }
}

struct Numbers<E>(PhantomData<E>);

impl<'de, E: Deserialize<'de> + Into<i32>> Visitor<'de> for Numbers<E> {
    type Value = i32;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name or a number")
    }

    fn visit_str<X: Error>(self, name: &str) -> Result<i32, X> {
        E::deserialize(name.to_owned().into_deserializer()).map(Into::into)
    }

    fn visit_u64<X: Error>(self, number: u64) -> Result<i32, X> {
        i32::try_from(number).map_err(X::custom)
    }

    fn visit_i64<X: Error>(self, number: i64) -> Result<i32, X> {
        i32::try_from(number).map_err(X::custom)
    }

    /// What is null is not given.
    fn visit_unit<X: Error>(self) -> Result<i32, X> {
        Ok(0)
    }
}

#[cfg(test)]
mod tests {
    use crate::etcdserverpb::{
        Compare, MemberAddRequest, PutRequest, RangeRequest, RequestOp, TxnRequest,
        WatchCreateRequest, WatchRequest, compare::TargetUnion,
    };

    fn read<T: serde::de::DeserializeOwned>(text: &str) -> Result<T, serde_json::Error> {
        serde_json::from_str(text)
    }

    #[test]
    fn what_is_null_is_not_given() {
        let range = r#"{"key":null,"limit":null,"sort_order":null,"serializable":null}"#;
        assert_eq!(read::<RangeRequest>(range).unwrap(), RangeRequest::default());
        let txn = r#"{"compare":null,"success":null}"#;
        assert_eq!(read::<TxnRequest>(txn).unwrap(), TxnRequest::default());
        let operation = r#"{"request_put":null,"request_range":null}"#;
        assert_eq!(read::<RequestOp>(operation).unwrap(), RequestOp::default());
        let compare = r#"{"key":null,"version":null,"value":"YQ=="}"#;
        let compare = read::<Compare>(compare).unwrap();
        assert_eq!(compare.target_union, Some(TargetUnion::Value("a".into())));
        let watch = r#"{"filters":null,"prev_kv":null}"#;
        assert_eq!(read::<WatchCreateRequest>(watch).unwrap(), WatchCreateRequest::default());
        assert_eq!(
            read::<WatchRequest>(r#"{"create_request":null}"#).unwrap(),
            WatchRequest::default()
        );
        let member = r#"{"peerURLs":null,"isLearner":null}"#;
        assert_eq!(read::<MemberAddRequest>(member).unwrap(), MemberAddRequest::default());
        // One of a list is something.
        assert!(read::<TxnRequest>(r#"{"success":[null]}"#).is_err());
    }

    #[test]
    fn numbers_are_whole_and_fit() {
        let limit = |text: &str| {
            read::<RangeRequest>(&format!("{{\"limit\":{text}}}")).map(|request| request.limit)
        };
        for (text, expected) in [
            ("7", 7),
            ("-7", -7),
            ("\"7\"", 7),
            ("1.0", 1),
            ("1e3", 1_000),
            ("-2.5e1", -25),
            ("9223372036854775807", i64::MAX),
            ("\"-9223372036854775808\"", i64::MIN),
        ] {
            assert_eq!(limit(text).unwrap(), expected, "{text}");
        }
        let wrong =
            ["1.5", "\"x\"", "\"\"", "9223372036854775808", "1e300", "9e18", "true", "[]", "{}"];
        for text in wrong {
            assert!(limit(text).is_err(), "{text}");
        }
    }

    #[test]
    fn bytes_come_in_either_alphabet_and_in_lines() {
        let key = |text: &str| {
            read::<PutRequest>(&format!("{{\"key\":\"{text}\"}}")).map(|request| request.key)
        };
        for text in ["+/8=", "-_8=", "+/8", "-_8", "+/8=\\n", "+\\r\\n/8="] {
            assert_eq!(key(text).unwrap(), &b"\xfb\xff"[..], "{text}");
        }
        assert_eq!(key("").unwrap(), "");
        for text in ["*", "+ /8=", "+/8=+/8=", "a"] {
            assert!(key(text).is_err(), "{text}");
        }
        assert!(read::<PutRequest>(r#"{"key":5}"#).is_err());
    }

    #[test]
    fn names_are_known_and_numbers_are_any() {
        let order = |text: &str| {
            serde_json::from_str::<RangeRequest>(&format!("{{\"sort_order\":{text}}}"))
                .map(|request| request.sort_order)
        };
        assert_eq!(order("\"DESCEND\"").unwrap(), 2);
        assert_eq!(order("1").unwrap(), 1);
        assert_eq!(order("9").unwrap(), 9);
        assert_eq!(order("-1").unwrap(), -1);
        assert_eq!(order("null").unwrap(), 0);
        assert!(order("\"SIDEWAYS\"").is_err());
        assert!(order("9000000000").is_err());
        assert!(order("[]").is_err());
        let watch = "{\"filters\":[\"NODELETE\",0,7]}";
        let watch: WatchCreateRequest = serde_json::from_str(watch).unwrap();
        assert_eq!(watch.filters, [1, 0, 7]);
    }
}
