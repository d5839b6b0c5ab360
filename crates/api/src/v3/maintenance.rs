//! `etcdserverpb.Maintenance`: what operators ask.

mod hash;
mod snapshot;

use std::sync::Arc;

use base::{
    MemberId, Refused,
    version::{self, Minor},
};
use proto::{
    command::Op,
    etcdserverpb::{
        AlarmMember, AlarmRequest, AlarmResponse, AlarmType, DefragmentRequest, DefragmentResponse,
        DowngradeInfo, DowngradeRequest, DowngradeResponse, HashKvRequest, HashKvResponse,
        HashRequest, HashResponse, MoveLeaderRequest, MoveLeaderResponse, SnapshotRequest,
        StatusRequest, StatusResponse, alarm_request::AlarmAction,
    },
};
use state::apply::Reply;
use tokio::time::Instant;
use tonic::{Request, Response, Status};

pub(crate) use self::snapshot::Snapshot;
use super::{
    downgrade,
    failure::{status, unserved},
    generated::etcdserverpb::maintenance_server,
    header,
    kv::{unexpected, write},
};
use crate::{auth::Asker, context::Context};

pub(crate) struct Maintenance(pub(crate) Arc<Context>);

#[tonic::async_trait]
impl maintenance_server::Maintenance for Maintenance {
    type SnapshotStream = Snapshot;

    /// To list them the original writes to the log; a read index will do.
    async fn alarm(
        &self,
        request: Request<AlarmRequest>,
    ) -> Result<Response<AlarmResponse>, Status> {
        let asker = Asker::of(&request);
        asker.note(|trail| trail.alarm(request.get_ref()));
        let (handle, request) = (&self.0.handle, request.into_inner());
        let lists = match AlarmAction::try_from(request.action) {
            Ok(AlarmAction::Get) => true,
            Ok(AlarmAction::Activate | AlarmAction::Deactivate) => false,
            // The original crashes.
            Err(_) => return Err(Status::invalid_argument("unknown alarm action")),
        };
        let mut answer = if lists {
            asker.identified(&self.0).await?;
            handle.read_barrier().await.map_err(unserved)?;
            let all = handle.reader().alarms().all();
            let wanted = |alarm: &AlarmMember| [alarm.alarm, 0].contains(&request.alarm);
            let alarms = all.into_iter().filter(wanted).collect();
            AlarmResponse { header: None, alarms }
        } else {
            asker.is_admin_by_now(&self.0).await?;
            match write(&self.0, &asker, Op::Alarm(request)).await? {
                (Reply::Alarm(answer), _) => answer,
                (other, _) => return Err(unexpected(&other)),
            }
        };
        answer.header = Some(header::now(handle));
        Ok(Response::new(answer))
    }

    async fn status(
        &self,
        request: Request<StatusRequest>,
    ) -> Result<Response<StatusResponse>, Status> {
        Asker::of(&request).identified(&self.0).await?;
        let handle = &self.0.handle;
        let (figures, standing, reader) = (handle.figures(), handle.status(), handle.reader());
        let signed = |bytes: u64| i64::try_from(bytes).unwrap_or(i64::MAX);
        let mut errors = Vec::new();
        if standing.leader.is_none() {
            errors.push(Refused::NoLeader.text().to_owned());
        }
        errors.extend(reader.alarms().all().iter().map(shown));
        let members = reader.members();
        let own = members.members.get(&handle.member_id());
        let target = reader.versions().downgrade;
        Ok(Response::new(StatusResponse {
            header: Some(header::now(handle)),
            version: version::SERVER.to_owned(),
            db_size: signed(figures.keyspace_bytes),
            leader: standing.leader.map_or(0, |leader| leader.0),
            raft_index: standing.committed.0,
            raft_term: standing.term.0,
            raft_applied_index: standing.applied.0,
            errors,
            db_size_in_use: signed(figures.keyspace_bytes_in_use),
            is_learner: own.is_some_and(|member| member.learner),
            storage_version: handle.storage_version().map(Minor::in_full).unwrap_or_default(),
            db_size_quota: signed(handle.quota_bytes()),
            downgrade_info: Some(DowngradeInfo {
                enabled: target.is_some(),
                target_version: target.map(Minor::in_full).unwrap_or_default(),
            }),
        }))
    }

    /// Freed space is used again by itself. Tools call this from cron.
    async fn defragment(
        &self,
        request: Request<DefragmentRequest>,
    ) -> Result<Response<DefragmentResponse>, Status> {
        Asker::of(&request).is_admin(&self.0).await?;
        let began = Instant::now();
        tracing::info!("nothing to defragment: the space of what is compacted is used again");
        self.0.counters.storage.defragment.record(began.elapsed());
        Ok(Response::new(DefragmentResponse::default()))
    }

    async fn hash(&self, request: Request<HashRequest>) -> Result<Response<HashResponse>, Status> {
        Asker::of(&request).is_admin(&self.0).await?;
        let hash = hash::of_tables(&self.0).await?;
        let header = Some(header::now(&self.0.handle));
        Ok(Response::new(HashResponse { header, hash }))
    }

    async fn hash_kv(
        &self,
        request: Request<HashKvRequest>,
    ) -> Result<Response<HashKvResponse>, Status> {
        Asker::of(&request).is_admin(&self.0).await?;
        let found = hash::of_keys(&self.0, request.get_ref().revision).await?;
        Ok(Response::new(HashKvResponse {
            header: Some(header::header(&self.0.handle, found.current)),
            hash: found.hash,
            compact_revision: found.compacted,
            hash_revision: found.revision,
        }))
    }

    async fn snapshot(
        &self,
        request: Request<SnapshotRequest>,
    ) -> Result<Response<Snapshot>, Status> {
        let asker = Asker::of(&request);
        Snapshot::begin(&self.0, &asker, request.metadata()).await.map(Response::new)
    }

    async fn move_leader(
        &self,
        request: Request<MoveLeaderRequest>,
    ) -> Result<Response<MoveLeaderResponse>, Status> {
        let asker = Asker::of(&request);
        asker.note(|trail| trail.member(request.get_ref().target_id));
        asker.is_admin(&self.0).await?;
        let heir = MemberId(request.get_ref().target_id);
        self.0.handle.move_leader(heir).await.map_err(status)?;
        Ok(Response::new(MoveLeaderResponse::default()))
    }

    async fn downgrade(
        &self,
        request: Request<DowngradeRequest>,
    ) -> Result<Response<DowngradeResponse>, Status> {
        let asker = Asker::of(&request);
        asker.note(|trail| trail.downgrade(request.get_ref()));
        asker.is_admin_by_now(&self.0).await?;
        let handle = &self.0.handle;
        let version = downgrade::carry_out(handle, request.get_ref()).await?;
        let header = Some(header::now(handle));
        Ok(Response::new(DowngradeResponse { header, version: version.to_string() }))
    }
}

/// As the original shows it, with its space at the end.
fn shown(alarm: &AlarmMember) -> String {
    let kind = alarm.alarm();
    let mut text = format!("memberID:{} ", alarm.member_id);
    if kind != AlarmType::None {
        text.push_str(&format!("alarm:{} ", kind.as_str_name()));
    }
    text
}
