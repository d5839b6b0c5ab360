//! What a command is, without decoding it.

use bytes::Buf as _;
use prost::encoding::{DecodeContext, WireType, decode_key, decode_varint, skip_field};

use crate::command::KeysMethod;

/// The first of the numbers by which a command says what it does: see `command::Op`.
const FIRST_OP: u32 = 10;
const KEYS: u32 = 10;
const AUTH: u32 = 27;
/// The field of a write through v2 that says how.
const METHOD: u32 = 1;

/// What a command is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Glance {
    /// A write through v2.
    Keys(KeysMethod),
    /// A change of users and roles, by its number: see `command::AuthChange`.
    Auth(u32),
    /// The number of another operation.
    Op(u32),
}

/// What this command is, as far as its first bytes tell: for counting, not for carrying it out.
pub fn glance(mut command: &[u8]) -> Option<Glance> {
    let op = field(&mut command, |number| number >= FIRST_OP)?;
    if ![KEYS, AUTH].contains(&op) {
        return Some(Glance::Op(op));
    }
    let length = usize::try_from(decode_varint(&mut command).ok()?).ok()?;
    let mut within = command.get(..length.min(command.len()))?;
    let first = decode_key(&mut within);
    if op == AUTH {
        return first.ok().map(|(change, _)| Glance::Auth(change));
    }
    let method = match first {
        Ok((METHOD, WireType::Varint)) => decode_varint(&mut within).ok()?,
        _ => 0,
    };
    let method = i32::try_from(method).ok()?;
    Some(Glance::Keys(KeysMethod::try_from(method).ok()?))
}

/// Goes to the first field whose number is wanted.
fn field(from: &mut &[u8], is_wanted: impl Fn(u32) -> bool) -> Option<u32> {
    while from.has_remaining() {
        let (number, wire) = decode_key(from).ok()?;
        if is_wanted(number) {
            return Some(number);
        }
        skip_field(wire, number, from, DecodeContext::default()).ok()?;
    }
    None
}

#[cfg(test)]
mod tests {
    use prost::Message as _;

    use super::*;
    use crate::command::{Auth, AuthChange, Command, Compact, Expire, KeysWrite, Named, Op};

    #[test]
    fn a_glance_tells_what_decoding_would() {
        let check = |op: Op, expected| {
            for id in [0, 7, u64::MAX] {
                let bytes = Command::new(id, op.clone()).encode_to_vec();
                assert_eq!(glance(&bytes), Some(expected), "{op:?}");
            }
        };
        for method in [KeysMethod::Set, KeysMethod::Create, KeysMethod::CompareAndDelete] {
            let path = "/a".into();
            let write = KeysWrite { method: method.into(), path, ..KeysWrite::default() };
            check(Op::Keys(write), Glance::Keys(method));
        }
        check(Op::Keys(KeysWrite::default()), Glance::Keys(KeysMethod::Set));
        check(Op::Expire(Expire::default()), Glance::Op(11));
        check(Op::Compact(Compact { revision: 1 }), Glance::Op(14));
        check(Op::Put(crate::etcdserverpb::PutRequest::default()), Glance::Op(20));
        let change = Some(AuthChange::RoleDelete(Named { name: "r".to_owned() }));
        check(Op::Auth(Auth { change }), Glance::Auth(9));
    }

    #[test]
    fn what_is_no_command_tells_nothing() {
        for bytes in [&b""[..], b"\x08", b"\xff\xff\xff", b"\x52\xff", b"\x08\x01\x10\x02"] {
            assert_eq!(glance(bytes), None, "{bytes:?}");
        }
    }
}
