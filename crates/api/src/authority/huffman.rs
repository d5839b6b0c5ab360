//! Strings as HPACK codes them (RFC 7541, appendix B), as far as URLs need it.

/// Code and its bits, of what may stand in an authority or before it.
const CODES: [(u8, u32, u32); 71] = [
    (b'-', 0x16, 6),
    (b'.', 0x17, 6),
    (b'%', 0x15, 6),
    (b'/', 0x18, 6),
    (b':', 0x5c, 7),
    (b'0', 0x0, 5),
    (b'1', 0x1, 5),
    (b'2', 0x2, 5),
    (b'3', 0x19, 6),
    (b'4', 0x1a, 6),
    (b'5', 0x1b, 6),
    (b'6', 0x1c, 6),
    (b'7', 0x1d, 6),
    (b'8', 0x1e, 6),
    (b'9', 0x1f, 6),
    (b'A', 0x21, 6),
    (b'B', 0x5d, 7),
    (b'C', 0x5e, 7),
    (b'D', 0x5f, 7),
    (b'E', 0x60, 7),
    (b'F', 0x61, 7),
    (b'G', 0x62, 7),
    (b'H', 0x63, 7),
    (b'I', 0x64, 7),
    (b'J', 0x65, 7),
    (b'K', 0x66, 7),
    (b'L', 0x67, 7),
    (b'M', 0x68, 7),
    (b'N', 0x69, 7),
    (b'O', 0x6a, 7),
    (b'P', 0x6b, 7),
    (b'Q', 0x6c, 7),
    (b'R', 0x6d, 7),
    (b'S', 0x6e, 7),
    (b'T', 0x6f, 7),
    (b'U', 0x70, 7),
    (b'V', 0x71, 7),
    (b'W', 0x72, 7),
    (b'X', 0xfc, 8),
    (b'Y', 0x73, 7),
    (b'Z', 0xfd, 8),
    (b'[', 0x1ffb, 13),
    (b']', 0x1ffc, 13),
    (b'_', 0x22, 6),
    (b'a', 0x3, 5),
    (b'b', 0x23, 6),
    (b'c', 0x4, 5),
    (b'd', 0x24, 6),
    (b'e', 0x5, 5),
    (b'f', 0x25, 6),
    (b'g', 0x26, 6),
    (b'h', 0x27, 6),
    (b'i', 0x6, 5),
    (b'j', 0x74, 7),
    (b'k', 0x75, 7),
    (b'l', 0x28, 6),
    (b'm', 0x29, 6),
    (b'n', 0x2a, 6),
    (b'o', 0x7, 5),
    (b'p', 0x2b, 6),
    (b'q', 0x76, 7),
    (b'r', 0x2c, 6),
    (b's', 0x8, 5),
    (b't', 0x9, 5),
    (b'u', 0x2d, 6),
    (b'v', 0x77, 7),
    (b'w', 0x78, 7),
    (b'x', 0x79, 7),
    (b'y', 0x7a, 7),
    (b'z', 0x7b, 7),
    (b'~', 0x1ffd, 13),
];

/// What a string begins with that begins with `http`: its first two bytes.
pub(super) const HTTP: &[u8] = &[0x9d, 0x29];

/// The text; `None` if there is anything in it that stands in no URL.
pub(super) fn decode(coded: &[u8]) -> Option<Vec<u8>> {
    let (mut text, mut bits, mut count) = (Vec::new(), 0_u32, 0);
    for byte in coded {
        for shift in (0..8).rev() {
            bits = bits << 1 | u32::from(byte >> shift & 1);
            count += 1;
            if let Some((letter, ..)) =
                CODES.iter().find(|(_, code, length)| (*code, *length) == (bits, count))
            {
                text.push(*letter);
                (bits, count) = (0, 0);
            } else if count > 13 {
                return None;
            }
        }
    }
    // At the end stand ones, fewer than eight.
    (count < 8 && bits == (1 << count) - 1).then_some(text)
}
