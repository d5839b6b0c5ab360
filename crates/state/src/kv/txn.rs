//! Transactions.

use std::sync::Arc;

use base::Refused;
use mvcc::{Store, Txn};
use proto::etcdserverpb::{
    RangeRequest, RangeResponse, RequestOp, ResponseHeader, ResponseOp, TxnRequest, TxnResponse,
    request_op::Request, response_op::Response,
};

use super::{
    Error,
    answer::{Budget, header},
    compare,
    range::{At, Held, Most, Plan, Source},
    write::{First, delete_range_in, put_in},
};
use crate::lease::Leases;

/// Whether a transaction only reads, and need not be proposed. As in etcd, one with another inside is
/// taken for one that writes.
pub fn is_read_only(request: &TxnRequest) -> bool {
    ranges(request).all(|range| range.is_some())
}

/// Whether a transaction that only reads may be answered from this member's keyspace as it is.
pub fn is_serializable(request: &TxnRequest) -> bool {
    ranges(request).all(|range| range.is_some_and(|range| range.serializable))
}

/// The operations of both branches; `None` where one is no range.
fn ranges(request: &TxnRequest) -> impl Iterator<Item = Option<&RangeRequest>> {
    request.success.iter().chain(&request.failure).map(|op| match &op.request {
        Some(Request::RequestRange(range)) => Some(range),
        _ => None,
    })
}

/// Carries out a transaction. An error is that of its first part that cannot be done; nothing of it
/// must happen then.
pub(crate) fn txn(
    txn: &mut Txn<'_>,
    leases: &Leases,
    request: &TxnRequest,
) -> Result<TxnResponse, Error> {
    let path = Path::new(txn, request)?;
    let most = Most::WHOLE;
    let mut run = Run { to: To::Write(txn, leases), path, budget: Budget::new(), most };
    let answer = run.all(request)?;
    let revision = run.to.revision();
    Ok(TxnResponse { header: Some(header(revision)), ..answer })
}

/// Answers a transaction that [only reads](is_read_only), at one revision.
pub(crate) fn read(
    store: &Arc<Store>,
    request: &TxnRequest,
    most: Most,
) -> Result<TxnResponse, Error> {
    let held = Held::new(store, 0)?;
    let source = held.source_up_to(most.names);
    let path = Path::new(&source, request)?;
    let most = Most { names: source.names_left(), ..most };
    let mut run = Run { to: To::Read(&held), path, budget: Budget::of(most.bytes), most };
    let answer = run.all(request)?;
    Ok(TxnResponse { header: Some(header(held.current)), ..answer })
}

/// Which branch each transaction takes, one after the other as they are carried out. All conditions
/// are looked at before anything is written, those of nested transactions too.
struct Path(std::vec::IntoIter<bool>);

impl Path {
    fn new(source: &impl Source, request: &TxnRequest) -> Result<Self, Error> {
        let mut path = Vec::new();
        Self::add(source, request, &mut path)?;
        Ok(Self(path.into_iter()))
    }

    fn add(source: &impl Source, request: &TxnRequest, path: &mut Vec<bool>) -> Result<(), Error> {
        let succeeds = compare::hold(source, &request.compare)?;
        path.push(succeeds);
        for op in branch(request, succeeds) {
            if let Some(Request::RequestTxn(nested)) = &op.request {
                Self::add(source, nested, path)?;
            }
        }
        Ok(())
    }

    fn next(&mut self) -> bool {
        self.0.next().unwrap_or(false)
    }
}

fn branch(request: &TxnRequest, succeeds: bool) -> &[RequestOp] {
    if succeeds { &request.success } else { &request.failure }
}

/// What operations are carried out on.
enum To<'t, 'w> {
    Write(&'t mut Txn<'w>, &'t Leases),
    Read(&'t Held),
}

impl<'w> To<'_, 'w> {
    fn revision(&self) -> i64 {
        match self {
            Self::Write(txn, _) if txn.has_writes() => txn.main(),
            Self::Write(txn, _) => txn.revision(),
            Self::Read(held) => held.current,
        }
    }

    /// The revision before.
    fn before(&self) -> i64 {
        match self {
            Self::Write(txn, _) => txn.revision(),
            Self::Read(held) => held.current,
        }
    }

    /// What only reads is not asked to write.
    fn writing(&mut self) -> Result<(&mut Txn<'w>, &Leases), Refused> {
        match self {
            Self::Write(txn, leases) => Ok((txn, leases)),
            Self::Read(_) => Err(Refused::NotCapable),
        }
    }

    fn store(&self) -> &Arc<Store> {
        match self {
            Self::Write(txn, _) => txn.store(),
            Self::Read(held) => &held.store,
        }
    }
}

struct Run<'t, 'w> {
    to: To<'t, 'w>,
    path: Path,
    budget: Budget,
    /// Names: that are left.
    most: Most,
}

impl Run<'_, '_> {
    /// Carries out the branch that is taken. The header is that of a nested one.
    fn all(&mut self, request: &TxnRequest) -> Result<TxnResponse, Error> {
        let succeeded = self.path.next();
        let mut responses = Vec::new();
        for op in branch(request, succeeded) {
            let response = op.request.as_ref().map(|request| self.one(request)).transpose()?;
            responses.push(ResponseOp { response });
        }
        Ok(TxnResponse { header: Some(ResponseHeader::default()), succeeded, responses })
    }

    fn one(&mut self, request: &Request) -> Result<Response, Error> {
        let Self { to, budget, .. } = self;
        Ok(match request {
            Request::RequestRange(range) => Response::ResponseRange(self.range(range)?),
            Request::RequestTxn(nested) => Response::ResponseTxn(self.all(nested)?),
            Request::RequestPut(put) => {
                let (txn, leases) = to.writing()?;
                Response::ResponsePut(put_in(txn, leases, put, First::Key, budget)?)
            }
            Request::RequestDeleteRange(deletion) => {
                let (txn, _) = to.writing()?;
                Response::ResponseDeleteRange(delete_range_in(txn, deletion, budget)?)
            }
        })
    }

    /// Without a revision: as the operations before have left it.
    fn range(&mut self, request: &RangeRequest) -> Result<RangeResponse, Error> {
        let (before, revision) = (self.to.before(), self.to.revision());
        if request.revision > before {
            return Err(Refused::FutureRevision.into());
        }
        // As in etcd; a range alone takes a revision below 0 for now.
        if request.revision != 0 && request.revision < self.to.store().compacted() {
            return Err(Refused::Compacted.into());
        }
        match &self.to {
            To::Write(txn, _) if request.revision <= 0 => Plan::new(*txn, request, self.most)?
                .answer(*txn, request, revision, &mut self.budget),
            To::Write(..) | To::Read(_) => {
                let at = if request.revision > 0 { request.revision } else { before };
                let source = At::new(self.to.store(), at, self.most.names);
                let plan = Plan::new(&source, request, self.most)?;
                self.most.names = source.names_left();
                plan.answer(&source, request, revision, &mut self.budget)
            }
        }
    }
}
