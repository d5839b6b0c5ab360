//! Enumerations in JSON: a name that is known, or any number, since those of proto3 are open.

use std::{fmt, marker::PhantomData};

use serde::{
    Deserialize, Deserializer,
    de::{Error, IntoDeserializer as _, Visitor},
};

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
    use crate::etcdserverpb::{RangeRequest, WatchCreateRequest};

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
