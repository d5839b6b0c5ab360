//! Rows as they lie in the file: a value has a checksum behind it, over key and value.
//!
//! The storage engine checks its pages only after a crash; a row that has rotted since would be
//! served as if it were what was written.

pub(crate) const CRC_BYTES: usize = 4;

/// Puts what is stored for `value` under `key` into `row`.
pub(crate) fn seal(key: &[u8], value: &[u8], row: &mut Vec<u8>) {
    row.clear();
    row.extend_from_slice(value);
    row.extend_from_slice(&crc(key, value).to_le_bytes());
}

/// The value; `None`: this is not what was written under `key`.
pub(crate) fn unseal<'a>(key: &[u8], row: &'a [u8]) -> Option<&'a [u8]> {
    let (value, stored) = row.split_last_chunk::<CRC_BYTES>()?;
    (u32::from_le_bytes(*stored) == crc(key, value)).then_some(value)
}

fn crc(key: &[u8], value: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(key), value)
}
