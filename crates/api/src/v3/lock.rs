//! `v3lockpb.Lock`: locks for clients that do not make them themselves.

use std::sync::Arc;

use bytes::Bytes;
use proto::{
    command::Op,
    etcdserverpb::DeleteRangeRequest,
    v3lockpb::{LockRequest, LockResponse, UnlockRequest, UnlockResponse},
};
use state::{apply::Reply, kv::check};
use tonic::{Request, Response, Status};

use super::{
    failure::status,
    generated::v3lockpb::lock_server,
    header,
    kv::{unexpected, write},
    queue::{self, Ended, Place, passed_on},
};
use crate::{auth::Asker, context::Context};

pub(crate) struct Lock(pub(crate) Arc<Context>);

#[tonic::async_trait]
impl lock_server::Lock for Lock {
    async fn lock(&self, request: Request<LockRequest>) -> Result<Response<LockResponse>, Status> {
        let asker = Asker::of(&request);
        let LockRequest { name, lease } = request.into_inner();
        let lease = queue::lease(&self.0, &asker, lease).await?;
        let entered = Place::enter(&self.0, asker, &name, lease, Bytes::new()).await;
        let (mut place, entered) = entered.map_err(passed_on)?;
        let is_first =
            queue::found(&entered, 1).is_none_or(|owner| owner.create_revision == place.revision);
        if is_first {
            let (header, key) = (entered.header, place.key.clone());
            return Ok(Response::new(LockResponse { header, key }));
        }
        match place.wait().await {
            Ok(()) => {}
            Err(Ended::Lost) => return Err(expired()),
            Err(Ended::Refused(status)) => return Err(passed_on(status)),
        }
        // Whoever waited long may have lost its lease meanwhile.
        match place.own().await.map_err(passed_on)? {
            Some((_, header)) => {
                Ok(Response::new(LockResponse { header: Some(header), key: place.key.clone() }))
            }
            None => Err(expired()),
        }
    }

    async fn unlock(
        &self,
        request: Request<UnlockRequest>,
    ) -> Result<Response<UnlockResponse>, Status> {
        let (asker, key) = (Asker::of(&request), request.into_inner().key);
        let delete = DeleteRangeRequest { key, ..DeleteRangeRequest::default() };
        check::delete_range(&delete).map_err(|refused| passed_on(status(refused)))?;
        match write(&self.0, &asker, Op::DeleteRange(delete)).await.map_err(passed_on)? {
            (Reply::DeleteRange(mut answer), term) => {
                header::complete(&self.0.handle, &mut answer.header, term);
                Ok(Response::new(UnlockResponse { header: answer.header }))
            }
            (other, _) => Err(unexpected(&other)),
        }
    }
}

/// In the words of etcd's client.
fn expired() -> Status {
    Status::unknown("mutex: session is expired")
}
