//! The parameters of the keys API, checked in 2.3.8's order.

use base::Code;
use bytes::Bytes;
use http::Method;
use proto::command::{KeysMethod, KeysWrite};
use state::keys::Failure;

use super::{failure::form as refuse, form::Form};

/// What a request to the keys API asks for.
#[derive(Debug, Default)]
#[allow(clippy::struct_excessive_bools, reason = "the parameters of the wire, one by one")]
pub(crate) struct Parameters {
    pub(crate) prev_index: u64,
    pub(crate) wait_index: u64,
    pub(crate) recursive: bool,
    pub(crate) wait: bool,
    pub(crate) dir: bool,
    pub(crate) quorum: bool,
    pub(crate) stream: bool,
    pub(crate) prev_value: Option<Bytes>,
    /// Seconds.
    pub(crate) ttl: Option<u64>,
    pub(crate) prev_exist: Option<bool>,
    pub(crate) refresh: bool,
    pub(crate) value: Bytes,
    pub(crate) no_value_on_success: bool,
}

impl Parameters {
    pub(crate) fn parse(method: &Method, form: &Form<'_>) -> Result<Self, Failure> {
        if form.is_empty() {
            return Ok(Self::default());
        }
        let mut parsed = Self {
            prev_index: index(form, "prevIndex")?,
            wait_index: index(form, "waitIndex")?,
            recursive: flag(form, "recursive")?,
            ..Self::default()
        };
        // Listings are always sorted; the value must be a good one all the same.
        flag(form, "sorted")?;
        parsed.wait = flag(form, "wait")?;
        parsed.dir = flag(form, "dir")?;
        parsed.quorum = flag(form, "quorum")?;
        parsed.stream = flag(form, "stream")?;
        if parsed.wait && *method != Method::GET {
            let cause = "\"wait\" can only be used with GET requests";
            return Err(refuse(Code::InvalidField, cause));
        }
        parsed.prev_value = form.get("prevValue").map(Bytes::copy_from_slice);
        if parsed.prev_value.as_ref().is_some_and(Bytes::is_empty) {
            return Err(refuse(Code::PrevValueRequired, "\"prevValue\" cannot be empty"));
        }
        parsed.no_value_on_success = flag(form, "noValueOnSuccess")?;
        parsed.ttl = ttl(form)?;
        parsed.prev_exist = form
            .get("prevExist")
            .map(|value| parse_bool(value).ok_or_else(|| bad_field("prevExist")))
            .transpose()?;
        parsed.value = form.get("value").map(Bytes::copy_from_slice).unwrap_or_default();
        parsed.refresh = refresh(form, &parsed)?;
        Ok(parsed)
    }

    /// Which write this is. `method` is PUT, POST or DELETE.
    pub(crate) fn write(self, method: &Method, path: Bytes, expiry: Option<i64>) -> KeysWrite {
        let compares = self.prev_index != 0 || self.prev_value.is_some();
        let method = match (method, self.prev_exist) {
            (&Method::POST, _) => KeysMethod::CreateInOrder,
            (&Method::DELETE, _) if compares => KeysMethod::CompareAndDelete,
            (&Method::DELETE, _) => KeysMethod::Delete,
            (_, Some(false)) => KeysMethod::Create,
            (_, _) if compares => KeysMethod::CompareAndSwap,
            (_, Some(true)) => KeysMethod::Update,
            (_, None) => KeysMethod::Set,
        };
        KeysWrite {
            method: method.into(),
            path,
            value: self.value,
            dir: self.dir,
            recursive: self.recursive,
            prev_value: self.prev_value,
            prev_index: self.prev_index,
            expiry,
            refresh: self.refresh,
            // Of the path that is said here, only its clean form is left.
            slash: false,
        }
    }
}

/// An empty one is none.
fn ttl(form: &Form<'_>) -> Result<Option<u64>, Failure> {
    match form.get("ttl") {
        None | Some(b"") => Ok(None),
        Some(value) => parse_u64(value)
            .map(Some)
            .ok_or_else(|| refuse(Code::TtlNaN, "invalid value for \"ttl\"")),
    }
}

fn refresh(form: &Form<'_>, parsed: &Parameters) -> Result<bool, Failure> {
    let Some(value) = form.get("refresh") else { return Ok(false) };
    let refresh = parse_bool(value).ok_or_else(|| bad_field("refresh"))?;
    if refresh && !parsed.value.is_empty() {
        return Err(refuse(Code::RefreshValue, "A value was provided on a refresh"));
    }
    if refresh && parsed.ttl.is_none() {
        return Err(refuse(Code::RefreshTtlRequired, "No TTL value set"));
    }
    Ok(refresh)
}

fn index(form: &Form<'_>, name: &str) -> Result<u64, Failure> {
    let Some(value) = form.get(name) else { return Ok(0) };
    parse_u64(value).ok_or_else(|| refuse(Code::IndexNaN, format!("invalid value for \"{name}\"")))
}

fn flag(form: &Form<'_>, name: &str) -> Result<bool, Failure> {
    let Some(value) = form.get(name) else { return Ok(false) };
    parse_bool(value)
        .ok_or_else(|| refuse(Code::InvalidField, format!("invalid value for \"{name}\"")))
}

/// 2.3.8 does not quote these two.
fn bad_field(name: &str) -> Failure {
    refuse(Code::InvalidField, format!("invalid value for {name}"))
}

/// Go's `ParseUint`: digits only, no sign.
fn parse_u64(text: &[u8]) -> Option<u64> {
    if text.is_empty() || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// Go's `ParseBool`.
fn parse_bool(text: &[u8]) -> Option<bool> {
    match text {
        b"1" | b"t" | b"T" | b"true" | b"TRUE" | b"True" => Some(true),
        b"0" | b"f" | b"F" | b"false" | b"FALSE" | b"False" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(method: &Method, query: &str) -> Result<Parameters, (u16, String)> {
        let mut form = Form::default();
        form.add(query.as_bytes()).unwrap();
        Parameters::parse(method, &form).map_err(|failure| (failure.code.number(), failure.cause))
    }

    #[test]
    fn bad_parameters_are_refused_in_order() {
        let check = |method: Method, query: &str, code: u16, cause: &str| {
            assert_eq!(parse(&method, query).unwrap_err(), (code, cause.to_owned()), "{query}");
        };
        check(Method::PUT, "prevIndex=x&waitIndex=y", 203, "invalid value for \"prevIndex\"");
        check(Method::PUT, "waitIndex=-1&wait=x", 203, "invalid value for \"waitIndex\"");
        check(Method::GET, "sorted=x&recursive=y", 209, "invalid value for \"recursive\"");
        check(Method::GET, "sorted=", 209, "invalid value for \"sorted\"");
        check(Method::GET, "stream=tRUE", 209, "invalid value for \"stream\"");
        check(Method::PUT, "wait=1&ttl=x", 209, "\"wait\" can only be used with GET requests");
        check(Method::PUT, "prevValue=&ttl=x", 201, "\"prevValue\" cannot be empty");
        check(Method::PUT, "ttl=-1&prevExist=x", 202, "invalid value for \"ttl\"");
        check(Method::PUT, "prevExist=x&refresh=x", 209, "invalid value for prevExist");
        check(Method::PUT, "refresh=x", 209, "invalid value for refresh");
        check(Method::PUT, "refresh=1&value=a", 211, "A value was provided on a refresh");
        check(Method::PUT, "refresh=1&ttl=", 212, "No TTL value set");
        check(Method::PUT, "noValueOnSuccess=x", 209, "invalid value for \"noValueOnSuccess\"");
    }

    #[test]
    fn the_conditions_choose_the_operation() {
        let check = |method: Method, query: &str, expected: KeysMethod| {
            let parsed = parse(&method, query).unwrap();
            let write = parsed.write(&method, "/a".into(), None);
            assert_eq!(write.method(), expected, "{method} {query}");
        };
        check(Method::POST, "prevExist=false", KeysMethod::CreateInOrder);
        check(Method::PUT, "", KeysMethod::Set);
        check(Method::PUT, "prevIndex=0", KeysMethod::Set);
        check(Method::PUT, "prevExist=true", KeysMethod::Update);
        check(Method::PUT, "prevExist=true&prevIndex=3", KeysMethod::CompareAndSwap);
        check(Method::PUT, "prevValue=a", KeysMethod::CompareAndSwap);
        check(Method::PUT, "prevExist=false&prevValue=a", KeysMethod::Create);
        check(Method::DELETE, "", KeysMethod::Delete);
        check(Method::DELETE, "prevIndex=3", KeysMethod::CompareAndDelete);
    }
}
