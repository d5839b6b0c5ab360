//! What a request of the log does to a v2 store, in our words.

use bytes::Bytes;
use mvcc::path;
use proto::command::{KeysMethod, KeysWrite};

use crate::messages::Request;

/// What a request does.
#[derive(Debug, PartialEq)]
pub(super) enum Step {
    Keys(KeysWrite),
    /// What was to expire up to then goes, in nanoseconds since 1970.
    Expire(i64),
}

/// `None`: it does nothing, or was refused.
pub(super) fn step(request: &Request) -> Option<Step> {
    let has_comparison = request.prev_index > 0 || !request.prev_value.is_empty();
    let method = match (&request.method[..], request.prev_exist) {
        ("SYNC", _) => return Some(Step::Expire(request.time)),
        ("POST", _) => KeysMethod::CreateInOrder,
        ("PUT", Some(false)) => KeysMethod::Create,
        ("PUT", _) if has_comparison => KeysMethod::CompareAndSwap,
        ("PUT", Some(true)) => KeysMethod::Update,
        ("PUT", None) => KeysMethod::Set,
        ("DELETE", _) if has_comparison => KeysMethod::CompareAndDelete,
        ("DELETE", _) => KeysMethod::Delete,
        _ => return None,
    };
    let path = clean(&request.path);
    // Of the original, which has these from the start, and lets nobody change them.
    let is_fixed = matches!(&path[..], b"/" | b"/0" | b"/1");
    if !path::is_path(&path) || (is_fixed && method != KeysMethod::CreateInOrder) {
        return None;
    }
    let some = |bytes: &Bytes| (!bytes.is_empty()).then(|| bytes.clone());
    let compares = matches!(method, KeysMethod::CompareAndSwap | KeysMethod::CompareAndDelete);
    Some(Step::Keys(KeysWrite {
        method: method.into(),
        path,
        value: request.value.clone(),
        dir: request.dir,
        recursive: request.recursive,
        prev_value: some(&request.prev_value).filter(|_| compares),
        prev_index: if compares { request.prev_index } else { 0 },
        expiry: (request.expiration != 0).then_some(request.expiration),
        refresh: request.refresh == Some(true),
        slash: false,
    }))
}

/// As Go's `path.Clean`, for what begins at the root.
fn clean(text: &str) -> Bytes {
    let mut segments: Vec<&str> = Vec::new();
    for segment in text.split('/') {
        match segment {
            "" | "." => {}
            ".." => {
                segments.pop();
            }
            segment => segments.push(segment),
        }
    }
    Bytes::from(format!("/{}", segments.join("/")))
}
