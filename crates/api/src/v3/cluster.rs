//! `etcdserverpb.Cluster`: who the members are, and changing that.

use std::sync::Arc;

use base::{MemberId, Refused};
use proto::{
    command,
    etcdserverpb::{
        Member, MemberAddRequest, MemberAddResponse, MemberListRequest, MemberListResponse,
        MemberPromoteRequest, MemberPromoteResponse, MemberRemoveRequest, MemberRemoveResponse,
        MemberUpdateRequest, MemberUpdateResponse, ResponseHeader,
    },
};
use server::{Done, PromotionError};
use state::{
    Response as Applied,
    apply::membership_change::Change,
    membership::{self, Refusal},
};
use tonic::{Request, Response, Status};

use super::{
    failure::{status, unserved},
    generated::etcdserverpb::cluster_server,
    header,
};
use crate::{auth::Asker, context::Context, v2};

pub(crate) struct Cluster(pub(crate) Arc<Context>);

impl Cluster {
    /// A change of the members is no write of keys: its answer has no revision.
    fn header(&self) -> ResponseHeader {
        header::header(&self.0.handle, 0)
    }

    fn members(&self) -> Vec<Member> {
        let members = self.0.handle.reader().members();
        members.members.values().map(shown).collect()
    }

    /// The members after the change.
    async fn change(&self, asker: &Asker, change: Change) -> Result<Vec<Member>, Status> {
        let handle = &self.0.handle;
        // Whoever is refused at once need not wait for it.
        handle.reader().members().check(&change).map_err(refused)?;
        handle.may_change_members(&change).await.map_err(unserved)?;
        asker.is_admin_by_now(&self.0).await?;
        match handle.change_members(change).await.map_err(unserved)? {
            // Somebody else was faster.
            Done { response: Applied::Refused(text), .. } => {
                let refusal = Refusal::ALL.into_iter().find(|one| one.to_string() == text);
                Err(refusal.map_or_else(|| Status::unknown(text), refused))
            }
            _ => Ok(self.members()),
        }
    }
}

#[tonic::async_trait]
impl cluster_server::Cluster for Cluster {
    async fn member_add(
        &self,
        request: Request<MemberAddRequest>,
    ) -> Result<Response<MemberAddResponse>, Status> {
        let asker = Asker::of(&request);
        asker.note(|trail| trail.peer_urls(&request.get_ref().peer_ur_ls));
        asker.is_admin(&self.0).await?;
        let MemberAddRequest { peer_ur_ls, is_learner } = request.into_inner();
        let peer_urls = urls(peer_ur_ls)?;
        let id = self.0.handle.new_member_id(&peer_urls);
        let learner = is_learner;
        let added = command::Member { id: id.0, peer_urls, learner, ..command::Member::default() };
        let change = if learner {
            Change::AddLearner(added.clone(), self.0.handle.learners_max())
        } else {
            Change::Add(added.clone())
        };
        let members = self.change(&asker, change).await?;
        let member = Some(shown(&added.into()));
        Ok(Response::new(MemberAddResponse { header: Some(self.header()), member, members }))
    }

    async fn member_remove(
        &self,
        request: Request<MemberRemoveRequest>,
    ) -> Result<Response<MemberRemoveResponse>, Status> {
        let asker = Asker::of(&request);
        asker.note(|trail| trail.member(request.get_ref().id));
        asker.is_admin(&self.0).await?;
        let members = self.change(&asker, Change::Remove(MemberId(request.get_ref().id))).await?;
        Ok(Response::new(MemberRemoveResponse { header: Some(self.header()), members }))
    }

    async fn member_update(
        &self,
        request: Request<MemberUpdateRequest>,
    ) -> Result<Response<MemberUpdateResponse>, Status> {
        let asker = Asker::of(&request);
        asker.note(|trail| {
            trail.member(request.get_ref().id);
            trail.peer_urls(&request.get_ref().peer_ur_ls);
        });
        asker.is_admin(&self.0).await?;
        let MemberUpdateRequest { id, peer_ur_ls } = request.into_inner();
        // Where it cannot be reached the original crashes.
        let peer_urls = urls(peer_ur_ls)?;
        let moved = command::Member { id, peer_urls, ..command::Member::default() };
        let members = self.change(&asker, Change::Update(moved)).await?;
        Ok(Response::new(MemberUpdateResponse { header: Some(self.header()), members }))
    }

    async fn member_list(
        &self,
        request: Request<MemberListRequest>,
    ) -> Result<Response<MemberListResponse>, Status> {
        if request.get_ref().linearizable {
            self.0.handle.read_barrier().await.map_err(unserved)?;
        }
        Asker::of(&request).identified(&self.0).await?;
        let (header, members) = (Some(self.header()), self.members());
        Ok(Response::new(MemberListResponse { header, members }))
    }

    async fn member_promote(
        &self,
        request: Request<MemberPromoteRequest>,
    ) -> Result<Response<MemberPromoteResponse>, Status> {
        let asker = Asker::of(&request);
        asker.note(|trail| trail.member(request.get_ref().id));
        asker.is_admin_by_now(&self.0).await?;
        let promoted = self.0.handle.promote(MemberId(request.get_ref().id)).await;
        promoted.map_err(|why| match why {
            PromotionError::Refused(refusal) => refused(refusal),
            PromotionError::Unserved(why) => unserved(why),
        })?;
        let (header, members) = (Some(self.header()), self.members());
        Ok(Response::new(MemberPromoteResponse { header, members }))
    }
}

fn shown(member: &membership::Member) -> Member {
    Member {
        id: member.id.0,
        name: member.name.clone(),
        peer_ur_ls: member.peer_urls.clone(),
        client_ur_ls: member.client_urls.clone(),
        is_learner: member.learner,
    }
}

/// Well-formed ones, in order.
fn urls(mut urls: Vec<String>) -> Result<Vec<String>, Status> {
    v2::members::check_urls(&urls).map_err(|_| status(Refused::MemberBadUrls))?;
    urls.sort_unstable();
    Ok(urls)
}

fn refused(refusal: Refusal) -> Status {
    status(match refusal {
        // Who is gone for good is not there.
        Refusal::IdRemoved | Refusal::IdNotFound => Refused::MemberNotFound,
        Refusal::IdExists => Refused::MemberExists,
        Refusal::PeerUrlExists => Refused::PeerUrlExists,
        Refusal::NotLearner => Refused::MemberNotLearner,
        Refusal::TooManyLearners => Refused::TooManyLearners,
    })
}
