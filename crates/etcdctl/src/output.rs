//! The outcome on stdout: `--output simple`, `extended` or `json`.

use std::{
    convert::Infallible,
    fmt,
    io::{self, Write},
    str::FromStr,
};

use client::Response;

use crate::json;

/// How `--output` wants an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// The value alone.
    Simple,
    /// A head of named fields, an empty line, the value.
    Extended,
    /// The answer on one line.
    Json,
    /// What the original refuses only after the request, with exit code 0.
    Unsupported(String),
}

impl FromStr for Format {
    type Err = Infallible;

    fn from_str(name: &str) -> Result<Self, Infallible> {
        Ok(match name {
            "simple" => Self::Simple,
            "extended" => Self::Extended,
            "json" => Self::Json,
            other => Self::Unsupported(other.to_owned()),
        })
    }
}

/// Prints a line. All that `etcdctl` says on stdout goes through here or [`response`], and is
/// seen at once: stdout ends its buffer with each line.
pub(crate) fn line(text: impl fmt::Display) -> io::Result<()> {
    writeln!(io::stdout().lock(), "{text}")
}

/// Prints a line on stderr, if there is one.
pub(crate) fn note(text: impl fmt::Display) {
    writeln!(io::stderr().lock(), "{text}").ok();
}

/// Prints an answer.
pub(crate) fn response(response: &Response, format: &Format) -> io::Result<()> {
    if let Format::Unsupported(name) = format {
        note(format_args!("Unsupported output format: {name}"));
        return Ok(());
    }
    write_response(&mut io::stdout().lock(), response, format)
}

fn write_response(to: &mut impl Write, response: &Response, format: &Format) -> io::Result<()> {
    match format {
        Format::Simple => write_simple(to, response),
        Format::Extended => write_extended(to, response),
        Format::Json => writeln!(to, "{}", json::encode(response)),
        Format::Unsupported(_) => Ok(()),
    }
}

fn write_simple(to: &mut impl Write, response: &Response) -> io::Result<()> {
    if is_delete(response) {
        return writeln!(to, "PrevNode.Value: {}", previous_value(response).unwrap_or_default());
    }
    writeln!(to, "{}", value(response))
}

fn write_extended(to: &mut impl Write, response: &Response) -> io::Result<()> {
    let node = &response.node;
    writeln!(to, "Key: {}", node.key)?;
    writeln!(to, "Created-Index: {}", node.created_index)?;
    writeln!(to, "Modified-Index: {}", node.modified_index)?;
    if let Some(value) = previous_value(response) {
        writeln!(to, "PrevNode.Value: {value}")?;
    }
    writeln!(to, "TTL: {}", node.ttl.unwrap_or(0))?;
    writeln!(to, "Index: {}", response.index)?;
    if is_delete(response) {
        return Ok(());
    }
    writeln!(to, "\n{}", value(response))
}

/// Neither `compareAndDelete` nor `expire`: those print an empty value, as the original does.
fn is_delete(response: &Response) -> bool {
    response.action == "delete"
}

fn value(response: &Response) -> &str {
    response.node.value.as_deref().unwrap_or_default()
}

fn previous_value(response: &Response) -> Option<&str> {
    let previous = response.prev_node.as_ref()?;
    Some(previous.value.as_deref().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use client::Node;

    use super::*;

    fn printed(action: &str, old: Option<&str>, new: Option<&str>, format: &Format) -> String {
        let node = |value: &str| Node { value: Some(value.to_owned()), ..Node::default() };
        let response = Response {
            action: action.to_owned(),
            node: Node { key: "/k".to_owned(), ..new.map(node).unwrap_or_default() },
            prev_node: old.map(node),
            index: 7,
        };
        let mut text = Vec::new();
        write_response(&mut text, &response, format).expect("writes");
        String::from_utf8(text).expect("UTF-8")
    }

    #[test]
    fn simple_prints_the_value_or_what_was_deleted() {
        let simple = |action, old, new| printed(action, old, new, &Format::Simple);
        assert_eq!(simple("get", None, Some("v")), "v\n");
        assert_eq!(simple("delete", Some("old"), None), "PrevNode.Value: old\n");
        assert_eq!(simple("compareAndDelete", Some("old"), None), "\n");
        assert_eq!(simple("expire", Some("old"), None), "\n");
    }

    #[test]
    fn extended_prints_a_head_and_the_value() {
        let extended = |action, old, new| printed(action, old, new, &Format::Extended);
        let head = "Key: /k\nCreated-Index: 0\nModified-Index: 0\n";
        assert_eq!(extended("get", None, Some("v")), format!("{head}TTL: 0\nIndex: 7\n\nv\n"));
        assert_eq!(
            extended("delete", Some("old"), None),
            format!("{head}PrevNode.Value: old\nTTL: 0\nIndex: 7\n")
        );
    }
}
