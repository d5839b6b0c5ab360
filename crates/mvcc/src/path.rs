//! The form of names that the v2 API can see: clean absolute paths in UTF-8.
//!
//! The root is `/`. Every other path begins with `/`, ends in none, and has no empty, `.` or `..`
//! segment.

/// Whether v2 can name this key.
pub fn is_path(name: &[u8]) -> bool {
    unimplemented!("{name:?}")
}

/// The directories above `path`, nearest last, without the root: `/a/b/c` gives `/a`, `/a/b`.
pub fn ancestors(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    path.iter()
        .enumerate()
        .skip(1)
        .filter(|(_, byte)| **byte == b'/')
        .filter_map(move |(at, _)| path.get(..at))
}

/// Whether `path`, seen from `from` (itself or a directory above it), is hidden: some segment
/// below `from` begins with `_`.
pub fn is_hidden(from: &[u8], path: &[u8]) -> bool {
    unimplemented!("{from:?} {path:?}")
}
