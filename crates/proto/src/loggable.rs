//! Requests as the log tells of them: keys, but never values. In etcd's form, cut short where it is long.

use std::fmt::{Display, Formatter, Result, Write as _};

use crate::{
    command::{Command, KeysMethod, KeysWrite, Op},
    etcdserverpb::{
        DeleteRangeRequest, PutRequest, RangeRequest, RequestOp, TxnRequest,
        request_op::Request as Nested,
    },
};

/// Of a key no more is told.
const KEY_BYTES_MAX: usize = 256;
/// Nor of the operations of a transaction.
const OPS_MAX: usize = 16;

/// A request, as the log tells of it.
#[derive(Debug)]
pub struct Loggable<'a, R>(pub &'a R);

struct Key<'a>(&'a [u8]);

impl Display for Key<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        let shown = self.0.get(..KEY_BYTES_MAX).unwrap_or(self.0);
        write!(f, "\"{}\"", shown.escape_ascii())?;
        if shown.len() < self.0.len() { write!(f, "… ({} bytes)", self.0.len()) } else { Ok(()) }
    }
}

fn range_of(f: &mut Formatter<'_>, key: &[u8], range_end: &[u8]) -> Result {
    write!(f, "key:{} ", Key(key))?;
    if range_end.is_empty() { Ok(()) } else { write!(f, "range_end:{} ", Key(range_end)) }
}

impl Display for Loggable<'_, RangeRequest> {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        let request = self.0;
        range_of(f, &request.key, &request.range_end)?;
        for (name, number) in [("limit", request.limit), ("revision", request.revision)] {
            if number != 0 {
                write!(f, "{name}:{number} ")?;
            }
        }
        for (name, is) in [
            ("serializable", request.serializable),
            ("keys_only", request.keys_only),
            ("count_only", request.count_only),
        ] {
            if is {
                write!(f, "{name}:true ")?;
            }
        }
        Ok(())
    }
}

impl Display for Loggable<'_, PutRequest> {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        let request = self.0;
        write!(f, "key:{} value_size:{} ", Key(&request.key), request.value.len())?;
        if request.lease == 0 { Ok(()) } else { write!(f, "lease:{} ", request.lease) }
    }
}

impl Display for Loggable<'_, DeleteRangeRequest> {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        range_of(f, &self.0.key, &self.0.range_end)
    }
}

impl Display for Loggable<'_, TxnRequest> {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        let TxnRequest { compare, success, failure } = self.0;
        for compare in compare.iter().take(OPS_MAX) {
            write!(
                f,
                "compare:<target:{} key:{} > ",
                compare.target().as_str_name(),
                Key(&compare.key)
            )?;
        }
        rest(f, compare.len())?;
        for (name, ops) in [("success", success), ("failure", failure)] {
            write!(f, "{name}:<")?;
            for op in ops.iter().take(OPS_MAX) {
                nested(f, op)?;
            }
            rest(f, ops.len())?;
            f.write_str("> ")?;
        }
        Ok(())
    }
}

fn rest(f: &mut Formatter<'_>, count: usize) -> Result {
    if count > OPS_MAX { write!(f, "… ({count}) ") } else { Ok(()) }
}

fn nested(f: &mut Formatter<'_>, op: &RequestOp) -> Result {
    match &op.request {
        Some(Nested::RequestRange(request)) => write!(f, "request_range:<{}> ", Loggable(request)),
        Some(Nested::RequestPut(request)) => write!(f, "request_put:<{}> ", Loggable(request)),
        Some(Nested::RequestDeleteRange(request)) => {
            write!(f, "request_delete_range:<{}> ", Loggable(request))
        }
        // What lies within is told by number: it may lie deep.
        Some(Nested::RequestTxn(TxnRequest { success, failure, .. })) => {
            write!(f, "request_txn:<success:{} failure:{}> ", success.len(), failure.len())
        }
        None => Ok(()),
    }
}

impl Display for Loggable<'_, KeysWrite> {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        let KeysWrite { method, path, value, .. } = self.0;
        let method = KeysMethod::try_from(*method).unwrap_or(KeysMethod::Set);
        write!(f, "method:{method:?} path:{} val_size:{} ", Key(path), value.len())
    }
}

/// Of commands that are none of these only the kind is told: they may hold what is secret.
impl Display for Loggable<'_, Command> {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        if self.0.id != 0 {
            write!(f, "header:<ID:{} > ", self.0.id)?;
        }
        match &self.0.op {
            Some(Op::Put(request)) => write!(f, "put:<{}>", Loggable(request)),
            Some(Op::DeleteRange(request)) => write!(f, "delete_range:<{}>", Loggable(request)),
            Some(Op::Txn(request)) => write!(f, "txn:<{}>", Loggable(request)),
            Some(Op::Compact(request)) => write!(f, "compaction:<revision:{} >", request.revision),
            Some(Op::LeaseGrant(request)) => {
                write!(f, "lease_grant:<ttl:{}-second id:{:016x} >", request.ttl, request.id)
            }
            Some(Op::LeaseRevoke(request)) => write!(f, "lease_revoke:<id:{:016x} >", request.id),
            Some(Op::Keys(write)) => write!(f, "v2:<{}>", Loggable(write)),
            Some(Op::Expire(_)) => f.write_str("v2:<method:Sync >"),
            _ => f.write_char('-'),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::etcdserverpb::Compare;

    fn put(key: &[u8], value: &str) -> PutRequest {
        let (key, value) = (bytes::Bytes::copy_from_slice(key), value.to_owned().into());
        PutRequest { key, value, ..PutRequest::default() }
    }

    #[test]
    fn keys_are_told_and_values_are_not() {
        let check = |op: Op, expected: &str| {
            assert_eq!(
                Loggable(&Command::new(7, op)).to_string(),
                format!("header:<ID:7 > {expected}")
            );
        };
        check(Op::Put(put(b"a\x00\n", "secret")), r#"put:<key:"a\x00\n" value_size:6 >"#);
        let (key, range_end) = ("a".into(), "b".into());
        let range = DeleteRangeRequest { key, range_end, prev_kv: false };
        check(Op::DeleteRange(range), r#"delete_range:<key:"a" range_end:"b" >"#);
        let put = Nested::RequestPut(put(b"k", "secret"));
        let compare = vec![Compare { key: "k".into(), ..Compare::default() }];
        let success = vec![RequestOp { request: Some(put) }; 17];
        let txn = Loggable(&TxnRequest { compare, success, failure: Vec::new() }).to_string();
        assert!(
            txn.starts_with(r#"compare:<target:VERSION key:"k" > success:<request_put:<key:"k" "#)
        );
        assert!(txn.ends_with("… (17) > failure:<> "), "{txn}");
        assert!(!txn.contains("secret"));
    }

    #[test]
    fn a_long_key_is_cut_short() {
        let told = Loggable(&put(&[b'x'; 1_000], "")).to_string();
        assert!(told.contains("\"… (1000 bytes) ") && told.len() < 400, "{told}");
    }
}
