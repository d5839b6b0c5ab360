//! Clients of etcd 3.4 and before send a whole URL where a host belongs, when they ask one member
//! (`endpoint status`, `move-leader`): our library for HTTP/2 refuses it. So what comes in is looked
//! through for such an authority, and its scheme is left out. Those that come by a socket in the file
//! system call us by its path, which is no host either: at one, all authorities become another.
//!
//! An entry of HPACK's table that is smaller here than its sender reckons is no harm: the sender
//! refers to none that it has dropped, and counts them from the newest.

mod huffman;

use bytes::{BufMut as _, BytesMut};

use crate::calm::{FRAME_HEAD_BYTES, Head};

/// What every connection begins with.
const PREFACE_BYTES: usize = 24;
const HEADERS: u8 = 1;
const PADDED: u8 = 0x8;
const PRIORITY: u8 = 0x20;
/// Longer frames are not permitted; they are somebody else's to refuse.
const FRAME_BYTES_MAX: usize = 16 << 10;
/// `:authority` in HPACK's static table.
const AUTHORITY: usize = 1;
const SCHEMES: [&[u8]; 2] = [b"http://", b"https://"];
/// What a member is called that is reached by a file.
const AT_A_FILE: &[u8] = b"localhost";
/// What HPACK's longest code of a letter takes.
const CODE_BITS_MAX: usize = 30;

/// Looks through what a client sends.
#[derive(Debug)]
pub(crate) struct Authorities {
    state: State,
    /// Of the head, or of a frame with headers, what has come of it.
    gathered: BytesMut,
    /// The client has come by a socket in the file system.
    at_a_file: bool,
}

#[derive(Debug)]
enum State {
    /// So many bytes are of no interest.
    Pass(usize),
    /// The head of a frame comes.
    Head,
    /// A frame with headers comes, so long with its head.
    Headers(usize),
}

impl Authorities {
    pub(crate) fn new(at_a_file: bool) -> Self {
        Self { state: State::Pass(PREFACE_BYTES), gathered: BytesMut::new(), at_a_file }
    }

    /// Adds to `out` what is to be read in place of `input`, perhaps later. Calls `begun` for each
    /// frame whose head has come.
    pub(crate) fn pass(
        &mut self,
        mut input: &[u8],
        out: &mut BytesMut,
        mut begun: impl FnMut(Head),
    ) {
        while !input.is_empty() {
            let wanted = match self.state {
                State::Pass(left) => left,
                State::Head => FRAME_HEAD_BYTES - self.gathered.len(),
                State::Headers(length) => length - self.gathered.len(),
            };
            let (now, rest) = input.split_at(wanted.min(input.len()));
            let is_whole = now.len() == wanted;
            input = rest;
            match self.state {
                State::Pass(left) => {
                    out.put_slice(now);
                    self.state = if is_whole { State::Head } else { State::Pass(left - now.len()) };
                }
                State::Head => {
                    self.gathered.put_slice(now);
                    if is_whole {
                        self.state = self.begin_frame(out, &mut begun);
                    }
                }
                State::Headers(_) => {
                    self.gathered.put_slice(now);
                    if is_whole {
                        mend(&mut self.gathered, self.at_a_file);
                        out.unsplit(self.gathered.split());
                        self.state = State::Head;
                    }
                }
            }
        }
    }

    fn begin_frame(&mut self, out: &mut BytesMut, begun: &mut impl FnMut(Head)) -> State {
        let Ok(head) = self.gathered[..].try_into().map(Head::read) else { return State::Head };
        begun(head);
        let Head { length, kind, .. } = head;
        if kind == HEADERS && (1..=FRAME_BYTES_MAX).contains(&length) {
            return State::Headers(FRAME_HEAD_BYTES + length);
        }
        out.unsplit(self.gathered.split());
        if length == 0 { State::Head } else { State::Pass(length) }
    }
}

/// Mends a frame with headers, if there is something to be mended.
fn mend(frame: &mut BytesMut, at_a_file: bool) {
    let Some((value, text)) = find(frame, at_a_file) else { return };
    let mut mended = BytesMut::with_capacity(frame.len() + 8);
    mended.put_slice(frame.get(..value.start).unwrap_or_default());
    put_length(&mut mended, text.len());
    mended.put_slice(&text);
    mended.put_slice(frame.get(value.end..).unwrap_or_default());
    let length = u32::try_from(mended.len() - FRAME_HEAD_BYTES).unwrap_or(u32::MAX);
    if let Some(head) = mended.get_mut(..3) {
        head.copy_from_slice(&length.to_be_bytes()[1..]);
    }
    *frame = mended;
}

/// Where an authority stands that is none, its length included, and what it should be.
fn find(frame: &[u8], at_a_file: bool) -> Option<(std::ops::Range<usize>, Vec<u8>)> {
    let flags = *frame.get(4)?;
    let (mut at, mut end) = (FRAME_HEAD_BYTES, frame.len());
    if flags & PADDED != 0 {
        end = end.checked_sub(usize::from(*frame.get(at)?))?;
        at += 1;
    }
    if flags & PRIORITY != 0 {
        at += 5;
    }
    let block = frame.get(..end)?;
    while at < block.len() {
        let first = *block.get(at)?;
        // An index alone; a new size of the table.
        let prefix = match first {
            0x80.. => 7,
            0x40..0x80 => 6,
            0x20..0x40 => 5,
            _ => 4,
        };
        let name = number(block, &mut at, prefix)?;
        if prefix == 7 || prefix == 5 {
            continue;
        }
        if name == 0 {
            string(block, &mut at)?;
        }
        let begin = at;
        let (is_coded, value) = string(block, &mut at)?;
        if name == AUTHORITY {
            let text = if at_a_file {
                Some(no_longer_than(is_coded, value).to_vec())
            } else {
                without_scheme(is_coded, value)
            };
            return text.map(|text| (begin..at, text));
        }
    }
    None
}

/// As much of our name as cannot be longer than what came: see the file's head.
fn no_longer_than(is_coded: bool, value: &[u8]) -> &'static [u8] {
    let least = if is_coded {
        (value.len() * 8).saturating_sub(7).div_ceil(CODE_BITS_MAX)
    } else {
        value.len()
    };
    AT_A_FILE.get(..least).unwrap_or(AT_A_FILE)
}

fn without_scheme(is_coded: bool, value: &[u8]) -> Option<Vec<u8>> {
    if !is_coded {
        let rest = SCHEMES.iter().find_map(|scheme| value.strip_prefix(*scheme))?;
        return Some(rest.to_vec());
    }
    // Nearly all are told by their first bytes.
    if !value.starts_with(huffman::HTTP) {
        return None;
    }
    let text = huffman::decode(value)?;
    SCHEMES.iter().find_map(|scheme| text.strip_prefix(*scheme)).map(<[u8]>::to_vec)
}

/// A number whose first bits are the last `prefix` of a byte.
fn number(block: &[u8], at: &mut usize, prefix: u32) -> Option<usize> {
    let most = (1 << prefix) - 1;
    let first = usize::from(*block.get(*at)?) & most;
    *at += 1;
    if first < most {
        return Some(first);
    }
    let mut number = most;
    for shift in [0, 7, 14] {
        let next = usize::from(*block.get(*at)?);
        *at += 1;
        number += (next & 0x7f) << shift;
        if next & 0x80 == 0 {
            return Some(number);
        }
    }
    // More than any frame holds.
    None
}

/// A string, and whether it is coded.
fn string<'a>(block: &'a [u8], at: &mut usize) -> Option<(bool, &'a [u8])> {
    let is_coded = *block.get(*at)? & 0x80 != 0;
    let length = number(block, at, 7)?;
    let value = block.get(*at..at.checked_add(length)?)?;
    *at += length;
    Some((is_coded, value))
}

/// The length of a string that is not coded.
fn put_length(out: &mut BytesMut, length: usize) {
    const MOST: usize = 0x7f;
    let byte = |bits: usize| u8::try_from(bits).unwrap_or(u8::MAX);
    if length < MOST {
        out.put_u8(byte(length));
        return;
    }
    out.put_u8(byte(MOST));
    let mut rest = length - MOST;
    while rest > MOST {
        out.put_u8(byte(rest & MOST) | 0x80);
        rest >>= 7;
    }
    out.put_u8(byte(rest));
}

#[cfg(test)]
mod tests;
