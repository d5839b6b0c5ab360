//! How leases lie in the table `Meta`: a row each, so that a change costs no more when there are
//! many.

use bytes::{BufMut as _, Bytes, BytesMut};
use prost::Message as _;

use super::Lease;

/// What the names of the rows begin with; the id follows.
pub(crate) const PREFIX: &[u8] = b"state.lease/";

#[derive(Clone, Copy, PartialEq, prost::Message)]
struct Row {
    #[prost(int64, tag = "1")]
    ttl: i64,
    #[prost(int64, tag = "2")]
    remaining: i64,
    #[prost(uint64, tag = "3")]
    granted: u64,
}

pub(crate) fn key(id: i64) -> Bytes {
    let mut key = BytesMut::with_capacity(PREFIX.len() + 8);
    key.put_slice(PREFIX);
    key.put_i64(id);
    key.freeze()
}

pub(crate) fn encode(lease: Lease) -> Bytes {
    let Lease { ttl, remaining, granted } = lease;
    Row { ttl, remaining, granted }.encode_to_vec().into()
}

/// The id and the lease of a row; the error says what is wrong.
pub(crate) fn decode(key: &[u8], row: &[u8]) -> Result<(i64, Lease), String> {
    let id = key.strip_prefix(PREFIX).and_then(|id| id.try_into().ok());
    let id = id.map(i64::from_be_bytes).ok_or("its name has no id")?;
    let Row { ttl, remaining, granted } = Row::decode(row).map_err(|error| error.to_string())?;
    Ok((id, Lease { ttl, remaining, granted }))
}
