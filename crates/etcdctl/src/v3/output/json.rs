//! Answers as Go's `encoding/json` writes the messages' structures, byte for byte.

use std::fmt;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use prost_reflect::{DescriptorPool, DynamicMessage, FieldDescriptor, ReflectMessage, Value};

/// A value, whose fields keep their order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Json {
    Null,
    Bool(bool),
    Number(String),
    Text(String),
    List(Vec<Self>),
    Object(Vec<(String, Self)>),
}

impl Json {
    pub(crate) fn number(number: impl fmt::Display) -> Self {
        Self::Number(number.to_string())
    }

    pub(crate) fn text(text: impl fmt::Display) -> Self {
        Self::Text(text.to_string())
    }

    pub(crate) fn bytes(bytes: &[u8]) -> Self {
        Self::Text(STANDARD.encode(bytes))
    }

    pub(crate) fn object<const N: usize>(fields: [(&str, Self); N]) -> Self {
        Self::Object(fields.map(|(name, value)| (name.to_owned(), value)).into())
    }

    /// The fields of an object; nothing else has any.
    pub(crate) fn into_fields(self) -> Vec<(String, Self)> {
        if let Self::Object(fields) = self { fields } else { Vec::new() }
    }
}

impl fmt::Display for Json {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("null"),
            Self::Bool(is) => write!(f, "{is}"),
            Self::Number(number) => f.write_str(number),
            Self::Text(text) => crate::json::write_string(f, text),
            Self::List(list) => {
                f.write_str("[")?;
                for (at, value) in list.iter().enumerate() {
                    write!(f, "{}{value}", if at == 0 { "" } else { "," })?;
                }
                f.write_str("]")
            }
            Self::Object(fields) => {
                f.write_str("{")?;
                for (at, (name, value)) in fields.iter().enumerate() {
                    f.write_str(if at == 0 { "" } else { "," })?;
                    crate::json::write_string(f, name)?;
                    write!(f, ":{value}")?;
                }
                f.write_str("}")
            }
        }
    }
}

/// A message, by its name with the package. What is zero is left out.
pub(crate) fn of_message(name: &str, bytes: &[u8]) -> Json {
    let read = || {
        let pool = DescriptorPool::decode(proto::DESCRIPTORS).ok()?;
        DynamicMessage::decode(pool.get_message_by_name(name)?, bytes).ok()
    };
    // The bytes were made of such a message.
    read().map_or(Json::Null, |message| object(&message))
}

fn object(message: &DynamicMessage) -> Json {
    let descriptor = message.descriptor();
    let fields = descriptor.fields().filter(|field| message.has_field(field));
    Json::Object(fields.map(|field| named(&field, &message.get_field(&field))).collect())
}

/// A field by its name. Go keeps the one that is set of several in a structure of its own.
fn named(field: &FieldDescriptor, value: &Value) -> (String, Json) {
    let own = (field.name().to_owned(), json(value));
    match field.containing_oneof() {
        Some(oneof) => {
            let mut letters = oneof.name().chars();
            let first = letters.next().map(|first| first.to_ascii_uppercase());
            (first.into_iter().chain(letters).collect(), Json::Object(vec![own]))
        }
        None => own,
    }
}

fn json(value: &Value) -> Json {
    match value {
        Value::Bool(is) => Json::Bool(*is),
        Value::I32(number) | Value::EnumNumber(number) => Json::number(number),
        Value::I64(number) => Json::number(number),
        Value::U32(number) => Json::number(number),
        Value::U64(number) => Json::number(number),
        Value::F32(number) => Json::number(number),
        Value::F64(number) => Json::number(number),
        Value::String(text) => Json::text(text),
        Value::Bytes(bytes) => Json::bytes(bytes),
        Value::Message(message) => object(message),
        Value::List(list) => Json::List(list.iter().map(json).collect()),
        // None of etcd's answers has a map.
        Value::Map(_) => Json::Null,
    }
}

#[cfg(test)]
mod tests {
    use proto::{
        Message as _,
        etcdserverpb::{
            PutResponse, RangeResponse, ResponseHeader, ResponseOp, TxnResponse,
            response_op::Response,
        },
        mvccpb::KeyValue,
    };

    use super::*;

    #[test]
    fn zero_is_left_out_and_numbers_are_numbers() {
        let header =
            ResponseHeader { cluster_id: u64::MAX, member_id: 0, revision: 3, raft_term: 2 };
        let kv = KeyValue { key: "a<".into(), version: 1, ..KeyValue::default() };
        let range = RangeResponse { header: Some(header), kvs: vec![kv], more: true, count: 2 };
        assert_eq!(
            of_message("etcdserverpb.RangeResponse", &range.encode_to_vec()).to_string(),
            "{\"header\":{\"cluster_id\":18446744073709551615,\"revision\":3,\"raft_term\":2},\
             \"kvs\":[{\"key\":\"YTw=\",\"version\":1}],\"more\":true,\"count\":2}"
        );
    }

    #[test]
    fn what_is_one_of_several_has_a_structure_of_its_own() {
        let put = Response::ResponsePut(PutResponse::default());
        let txn = TxnResponse {
            header: None,
            succeeded: true,
            responses: vec![ResponseOp { response: Some(put) }],
        };
        assert_eq!(
            of_message("etcdserverpb.TxnResponse", &txn.encode_to_vec()).to_string(),
            "{\"succeeded\":true,\"responses\":[{\"Response\":{\"response_put\":{}}}]}"
        );
    }

    #[test]
    fn texts_are_escaped_as_go_does() {
        assert_eq!(
            Json::object([("a", Json::text("<&>"))]).to_string(),
            r#"{"a":"\u003c\u0026\u003e"}"#
        );
    }
}
