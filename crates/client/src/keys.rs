//! The keys API: reads and writes. Watches are in [`crate::watch`].

use http::Method;

use crate::{
    cluster::Client,
    error::{Error, EtcdError},
    escape::{Form, key_path},
    node::Response,
    request::Request,
    transport::Answer,
    watch::{Watch, Watcher},
};

/// A value to compare with goes into the URL up to this length, as in etcdctl 2.3.8, and into
/// the body beyond it: heads of requests are bounded.
const QUERY_VALUE_BYTES_MAX: usize = 4 * 1024;

/// How to read.
#[derive(Clone, Copy, Debug, Default)]
pub struct Get {
    /// A directory's whole subtree.
    pub recursive: bool,
    /// Children in order of their keys.
    pub sorted: bool,
    /// See every write that was acknowledged before (linearizable).
    pub quorum: bool,
}

/// How to write, and on what condition.
#[derive(Clone, Debug, Default)]
pub struct Set {
    /// Seconds to live. `None` means for ever, and takes a time to live away from a key.
    pub ttl: Option<u64>,
    /// Only if it exists (`true`), or only if it does not (`false`).
    pub prev_exist: Option<bool>,
    /// Only if this is its value. etcd refuses to compare with an empty value (code 201).
    pub prev_value: Option<Vec<u8>>,
    /// Only if this is its modified index. Zero compares nothing.
    pub prev_index: Option<u64>,
    /// Make or touch a directory; the value is not sent.
    pub dir: bool,
    /// Change the time to live only, and tell no watcher; the value is not sent.
    pub refresh: bool,
}

/// How to delete, and on what condition.
#[derive(Clone, Debug, Default)]
pub struct Delete {
    /// An empty directory too.
    pub dir: bool,
    /// A directory with all below it.
    pub recursive: bool,
    /// Only if this is its value.
    pub prev_value: Option<Vec<u8>>,
    /// Only if this is its modified index. Zero compares nothing.
    pub prev_index: Option<u64>,
}

impl Client {
    /// Reads a key or lists a directory.
    pub async fn get(&self, key: impl AsRef<[u8]>, how: &Get) -> Result<Response, Error> {
        let mut query = Form::default();
        query.add("quorum", how.quorum.to_string());
        query.add("recursive", how.recursive.to_string());
        query.add("sorted", how.sorted.to_string());
        let request = Request::get(key_path(self.keys(), key.as_ref())).with_query(&query);
        keys_answer(&self.send(&request).await?)
    }

    /// Writes a key or a directory, if the conditions hold (code 101 or 105 if not).
    ///
    /// Repeated on another endpoint after an unclear failure only where that changes nothing:
    /// not when it creates or compares.
    pub async fn set(
        &self,
        key: impl AsRef<[u8]>,
        value: impl AsRef<[u8]>,
        how: &Set,
    ) -> Result<Response, Error> {
        let request = set_request(&key_path(self.keys(), key.as_ref()), value.as_ref(), how);
        keys_answer(&self.send(&request).await?)
    }

    /// Writes a key that must not exist yet (code 105).
    pub async fn create(
        &self,
        key: impl AsRef<[u8]>,
        value: impl AsRef<[u8]>,
    ) -> Result<Response, Error> {
        self.set(key, value, &Set { prev_exist: Some(false), ..Set::default() }).await
    }

    /// Writes a key that must exist (code 100).
    pub async fn update(
        &self,
        key: impl AsRef<[u8]>,
        value: impl AsRef<[u8]>,
    ) -> Result<Response, Error> {
        self.set(key, value, &Set { prev_exist: Some(true), ..Set::default() }).await
    }

    /// Makes a key below `directory` that is named by the index, so that the keys made so sort
    /// in the order of their making.
    pub async fn create_in_order(
        &self,
        directory: impl AsRef<[u8]>,
        value: impl AsRef<[u8]>,
        ttl: Option<u64>,
    ) -> Result<Response, Error> {
        let mut form = Form::default();
        form.add("value", value);
        add_number(&mut form, "ttl", ttl);
        let path = key_path(self.keys(), directory.as_ref());
        let request = Request::write(Method::POST, path).with_form(&form);
        keys_answer(&self.send(&request).await?)
    }

    /// Deletes a key or a directory, if the conditions hold.
    pub async fn delete(&self, key: impl AsRef<[u8]>, how: &Delete) -> Result<Response, Error> {
        let mut query = Form::default();
        if let Some(value) = &how.prev_value {
            query.add("prevValue", value);
        }
        add_number(&mut query, "prevIndex", how.prev_index);
        if how.dir {
            query.add("dir", "true");
        }
        if how.recursive {
            query.add("recursive", "true");
        }
        let path = key_path(self.keys(), key.as_ref());
        let request = Request::write(Method::DELETE, path).with_query(&query);
        keys_answer(&self.send(&request).await?)
    }

    /// Follows a key, or all below it. Asks nothing yet: the first [`Watcher::next`] does.
    pub fn watch(&self, key: impl AsRef<[u8]>, how: Watch) -> Watcher {
        Watcher::new(self.clone(), key.as_ref(), how)
    }
}

fn set_request(path: &str, value: &[u8], how: &Set) -> Request {
    let (mut query, mut form) = (Form::default(), Form::default());
    if how.dir {
        query.add("dir", "true");
    } else if !how.refresh {
        form.add("value", value);
    }
    match &how.prev_value {
        Some(expected) if expected.len() > QUERY_VALUE_BYTES_MAX => form.add("prevValue", expected),
        Some(expected) => query.add("prevValue", expected),
        None => {}
    }
    add_number(&mut query, "prevIndex", how.prev_index);
    if let Some(exists) = how.prev_exist {
        query.add("prevExist", exists.to_string());
    }
    add_number(&mut form, "ttl", how.ttl);
    if how.refresh {
        form.add("refresh", "true");
    }
    let mut request = Request::write(Method::PUT, path).with_query(&query).with_form(&form);
    request.repeatable =
        how.prev_exist != Some(false) && how.prev_value.is_none() && how.prev_index.is_none();
    request
}

fn add_number(form: &mut Form, name: &'static str, number: Option<u64>) {
    if let Some(number) = number {
        form.add(name, number.to_string());
    }
}

/// An answer of the keys API: what it holds, or why it was refused.
pub(crate) fn keys_answer(answer: &Answer) -> Result<Response, Error> {
    if matches!(answer.status, 200 | 201) {
        return Response::parse(&answer.body, answer.etcd_index);
    }
    let refusal: EtcdError = serde_json::from_slice(&answer.body).map_err(|problem| {
        Error::Malformed { reason: format!("status {}: {problem}", answer.status) }
    })?;
    Err(refusal.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wire(how: &Set) -> (String, String, bool) {
        let request = set_request("/v2/keys/k", b"v w", how);
        let body = request.body.expect("a form");
        let form = String::from_utf8(body.bytes.to_vec()).expect("ASCII");
        (request.target, form, request.repeatable)
    }

    #[test]
    fn a_set_puts_conditions_in_the_url_and_the_rest_in_the_form() {
        let case = |how: Set, target: &str, form: &str, repeatable: bool| {
            assert_eq!(wire(&how), (target.to_owned(), form.to_owned(), repeatable), "{how:?}");
        };
        let set = Set::default;
        case(set(), "/v2/keys/k", "value=v+w", true);
        case(Set { ttl: Some(5), ..set() }, "/v2/keys/k", "ttl=5&value=v+w", true);
        case(
            Set { prev_value: Some(b"a&b".to_vec()), prev_index: Some(7), ..set() },
            "/v2/keys/k?prevIndex=7&prevValue=a%26b",
            "value=v+w",
            false,
        );
        case(
            Set { prev_exist: Some(false), ..set() },
            "/v2/keys/k?prevExist=false",
            "value=v+w",
            false,
        );
        case(
            Set { prev_exist: Some(true), dir: true, ..set() },
            "/v2/keys/k?dir=true&prevExist=true",
            "",
            true,
        );
        case(
            Set { refresh: true, ttl: Some(9), ..set() },
            "/v2/keys/k",
            "refresh=true&ttl=9",
            true,
        );
    }

    #[test]
    fn a_long_value_to_compare_with_stays_out_of_the_url() {
        let how = Set { prev_value: Some(vec![b'x'; QUERY_VALUE_BYTES_MAX + 1]), ..Set::default() };
        let (target, form, _) = wire(&how);
        assert_eq!(target, "/v2/keys/k");
        assert!(form.starts_with("prevValue=xxx"), "{form}");
    }
}
