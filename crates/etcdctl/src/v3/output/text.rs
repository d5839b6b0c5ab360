//! Lines for stdout, and how what all answers have stands on them.

use std::{fmt::Display, io::Write as _};

use proto::{etcdserverpb::ResponseHeader, mvccpb::KeyValue};

use crate::v3::go;

/// What is to be printed.
#[derive(Debug, Default)]
pub(crate) struct Text {
    bytes: Vec<u8>,
    /// Bytes and ids in hexadecimal.
    hex: bool,
    value_only: bool,
}

impl Text {
    pub(crate) fn new(hex: bool, value_only: bool) -> Self {
        Self { bytes: Vec::new(), hex, value_only }
    }

    pub(crate) fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    pub(crate) fn bytes(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    pub(crate) fn add(&mut self, text: impl Display) {
        // Writing to a Vec does not fail.
        write!(self.bytes, "{text}").ok();
    }

    pub(crate) fn line(&mut self, text: impl Display) {
        self.add(text);
        self.bytes.push(b'\n');
    }

    /// A field of the format `fields`.
    pub(crate) fn field(&mut self, name: &str, value: impl Display) {
        self.line(format_args!("\"{name}\" : {value}"));
    }

    /// A field whose text is quoted.
    pub(crate) fn quoted(&mut self, name: &str, value: &[u8]) {
        self.field(name, go::quote(value));
    }

    /// A field with the id of a member or cluster.
    pub(crate) fn id(&mut self, name: &str, id: u64) {
        if self.hex { self.field(name, format_args!("{id:x}")) } else { self.field(name, id) }
    }

    /// A field with the id of a lease.
    pub(crate) fn lease(&mut self, name: &str, id: i64) {
        if self.hex { self.field(name, go::hex16(id)) } else { self.field(name, id) }
    }

    /// What stands at the head of every answer, in the format `fields`.
    pub(crate) fn header(&mut self, header: Option<&ResponseHeader>) {
        let header = header.copied().unwrap_or_default();
        self.id("ClusterID", header.cluster_id);
        self.id("MemberID", header.member_id);
        // Answers that are not about keys have none.
        if header.revision > 0 {
            self.field("Revision", header.revision);
        }
        self.field("RaftTerm", header.raft_term);
    }

    /// A key in the format `simple`: two lines.
    pub(crate) fn key_value(&mut self, kv: &KeyValue) {
        if !self.value_only {
            self.raw_line(&kv.key);
        }
        self.raw_line(&kv.value);
    }

    /// A name on a line of its own.
    pub(crate) fn name(&mut self, name: &[u8]) {
        self.raw_line(name);
    }

    fn raw_line(&mut self, bytes: &[u8]) {
        if self.hex {
            for byte in bytes {
                self.add(format_args!("\\x{byte:02x}"));
            }
        } else {
            self.bytes(bytes);
        }
        self.bytes(b"\n");
    }

    /// A key in the format `fields`; `before` stands before each name.
    pub(crate) fn key_fields(&mut self, before: &str, kv: &KeyValue) {
        let name = |name: &str| format!("{before}{name}");
        self.quoted(&name("Key"), &kv.key);
        self.field(&name("CreateRevision"), kv.create_revision);
        self.field(&name("ModRevision"), kv.mod_revision);
        self.field(&name("Version"), kv.version);
        self.quoted(&name("Value"), &kv.value);
        self.lease(&name("Lease"), kv.lease);
    }
}
