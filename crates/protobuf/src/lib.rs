//! The three calls that the `raft` crate makes on its messages, carried out by prost.
//!
//! `raft` 0.7 is written against the trait `protobuf::Message` of protobuf 2, whichever library
//! its messages come from. The workspace puts this crate in that one's place
//! (`[patch.crates-io]`), so that messages are prost's alone and protobuf 2 is not built.

/// What `raft` calls on a message; every prost message has it.
pub trait Message: prost::Message {
    /// Takes over the fields in `bytes`, as protobuf's merge does.
    fn merge_from_bytes(&mut self, bytes: &[u8]) -> ProtobufResult<()>
    where
        Self: Sized,
    {
        self.merge(bytes).map_err(ProtobufError)
    }

    /// The length of [`Message::write_to_bytes`].
    fn compute_size(&self) -> u32 {
        u32::try_from(self.encoded_len()).unwrap_or(u32::MAX)
    }

    fn write_to_bytes(&self) -> ProtobufResult<Vec<u8>>
    where
        Self: Sized,
    {
        Ok(self.encode_to_vec())
    }
}

impl<M: prost::Message> Message for M {}

pub type ProtobufResult<T> = Result<T, ProtobufError>;

/// Bytes that are no message of the expected kind.
#[derive(Debug)]
pub struct ProtobufError(prost::DecodeError);

impl std::fmt::Display for ProtobufError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("decode a protobuf message")
    }
}

impl std::error::Error for ProtobufError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.0)
    }
}
