//! One request, before it is known which endpoint gets it.

use bytes::Bytes;
use http::Method;

use crate::escape::Form;

/// What to ask, and what may be done when asking fails.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) method: Method,
    /// Escaped, with the query.
    pub(crate) target: String,
    pub(crate) body: Option<Body>,
    /// Whether a second endpoint may be asked when the first may have carried it out.
    pub(crate) repeatable: bool,
    /// A watch: its answer may take for ever.
    pub(crate) waits: bool,
}

/// A request's body and its type.
#[derive(Clone, Debug)]
pub(crate) struct Body {
    pub(crate) content_type: &'static str,
    pub(crate) bytes: Bytes,
}

impl Request {
    /// A plain read, which can be asked of anybody at any time.
    pub(crate) fn get(path: impl Into<String>) -> Self {
        let target = path.into();
        Self { method: Method::GET, target, body: None, repeatable: true, waits: false }
    }

    /// A write of unknown effect when it fails.
    pub(crate) fn write(method: Method, path: impl Into<String>) -> Self {
        Self { method, repeatable: false, ..Self::get(path) }
    }

    pub(crate) fn with_query(mut self, query: &Form) -> Self {
        let query = query.encode();
        if !query.is_empty() {
            self.target.push('?');
            self.target.push_str(&query);
        }
        self
    }

    pub(crate) fn with_form(self, form: &Form) -> Self {
        self.with_body("application/x-www-form-urlencoded", form.encode())
    }

    pub(crate) fn with_body(mut self, content_type: &'static str, body: impl Into<Bytes>) -> Self {
        self.body = Some(Body { content_type, bytes: body.into() });
        self
    }

    /// The request as a curl command, in the wording of etcdctl 2.3.8's `--debug`.
    pub(crate) fn curl(&self, url: &str) -> String {
        let command = format!("curl -X {} {url}", self.method);
        match &self.body {
            // Forms and JSON of ours are text, and the quotes are Go's %q for such.
            Some(body) => format!("{command} -d {:?}", String::from_utf8_lossy(&body.bytes)),
            None => command,
        }
    }
}
