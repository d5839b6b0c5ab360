//! Answers as Go's `encoding/json` writes the original's structures, byte for byte.

use std::fmt::Write;

use client::{Node, Response};

/// The whole answer on one line, without its end.
pub(crate) fn encode(response: &Response) -> String {
    let mut line = String::from("{\"action\":");
    push_string(&mut line, &response.action);
    line.push_str(",\"node\":");
    push_node(&mut line, &response.node);
    line.push_str(",\"prevNode\":");
    match &response.prev_node {
        Some(node) => push_node(&mut line, node),
        None => line.push_str("null"),
    }
    line.push('}');
    line
}

fn push_node(line: &mut String, node: &Node) {
    line.push_str("{\"key\":");
    push_string(line, &node.key);
    if node.dir {
        line.push_str(",\"dir\":true");
    }
    line.push_str(",\"value\":");
    push_string(line, node.value.as_deref().unwrap_or_default());
    line.push_str(",\"nodes\":");
    push_nodes(line, &node.nodes);
    push_number(line, "createdIndex", node.created_index);
    push_number(line, "modifiedIndex", node.modified_index);
    if let Some(expiration) = &node.expiration {
        line.push_str(",\"expiration\":");
        push_string(line, expiration);
    }
    if let Some(ttl) = node.ttl.filter(|ttl| *ttl != 0) {
        push_number(line, "ttl", ttl);
    }
    line.push('}');
}

fn push_nodes(line: &mut String, nodes: &[Node]) {
    if nodes.is_empty() {
        return line.push_str("null");
    }
    for (position, node) in nodes.iter().enumerate() {
        line.push(if position == 0 { '[' } else { ',' });
        push_node(line, node);
    }
    line.push(']');
}

fn push_number(line: &mut String, name: &str, number: impl std::fmt::Display) {
    // Writing to a String does not fail.
    write!(line, ",\"{name}\":{number}").ok();
}

fn push_string(line: &mut String, text: &str) {
    // Writing to a String does not fail.
    write_string(line, text).ok();
}

/// Go escapes what could end a script element, and the two line ends that JavaScript alone knows.
pub(crate) fn write_string(line: &mut impl Write, text: &str) -> std::fmt::Result {
    line.write_char('"')?;
    for letter in text.chars() {
        match letter {
            '"' => line.write_str("\\\"")?,
            '\\' => line.write_str("\\\\")?,
            '\n' => line.write_str("\\n")?,
            '\r' => line.write_str("\\r")?,
            '\t' => line.write_str("\\t")?,
            '\0'..='\x1f' | '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => {
                write!(line, "\\u{:04x}", u32::from(letter))?;
            }
            other => line.write_char(other)?,
        }
    }
    line.write_char('"')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_come_in_the_originals_order() {
        let node = Node {
            key: "/a".to_owned(),
            value: Some("v".to_owned()),
            expiration: Some("2030-01-01T00:00:00.5Z".to_owned()),
            ttl: Some(9),
            modified_index: 6,
            created_index: 5,
            ..Node::default()
        };
        let directory =
            Node { dir: true, nodes: vec![node.clone(), node.clone()], ..Node::default() };
        let mut line = String::new();
        push_node(&mut line, &node);
        assert_eq!(
            line,
            "{\"key\":\"/a\",\"value\":\"v\",\"nodes\":null,\"createdIndex\":5,\"modifiedIndex\":6,\
             \"expiration\":\"2030-01-01T00:00:00.5Z\",\"ttl\":9}"
        );
        let response =
            Response { action: "get".to_owned(), node: directory, prev_node: None, index: 7 };
        assert_eq!(
            encode(&response),
            format!(
                "{{\"action\":\"get\",\"node\":{{\"key\":\"\",\"dir\":true,\"value\":\"\",\
                 \"nodes\":[{line},{line}],\"createdIndex\":0,\"modifiedIndex\":0}},\
                 \"prevNode\":null}}"
            )
        );
    }

    #[test]
    fn strings_are_escaped_as_go_does() {
        let mut line = String::new();
        push_string(&mut line, "<a href=\"x\">&\\\n\t\r\u{8}\u{7f}ä\u{2028}\u{1f600}");
        assert_eq!(
            line,
            "\"\\u003ca href=\\\"x\\\"\\u003e\\u0026\\\\\\n\\t\\r\\u0008\u{7f}ä\\u2028\u{1f600}\""
        );
    }
}
