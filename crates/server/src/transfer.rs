//! Handing leadership over to a member of the operator's choice.

use base::{MemberId, Refused};
use tokio::time;

use crate::Handle;

/// Raft gives a transfer up after an election timeout; what follows is a vote.
const ELECTIONS: u32 = 3;

impl Handle {
    /// Hands leadership over, if this member has it, and waits until the other one leads. In etcd's
    /// order of checks.
    pub async fn move_leader(&self, heir: MemberId) -> Result<(), Refused> {
        let shared = &self.shared;
        let own = self.member_id();
        if self.status().leader != Some(own) {
            return Err(Refused::NotLeader);
        }
        let members = shared.reader.members();
        if members.members.get(&heir).is_none_or(|member| member.learner) {
            return Err(Refused::BadLeaderTransferee);
        }
        if heir == own {
            return Ok(());
        }
        let began = shared.now();
        tracing::info!(from = %own, to = %heir, "leadership transfer starting");
        shared.inbox.hand_over(heir);
        let mut stopped = shared.stopped.subscribe();
        while self.status().leader != Some(heir) {
            if shared.now() > began + shared.config.election * ELECTIONS {
                tracing::warn!(from = %own, to = %heir, "leadership transfer took too long");
                return Err(Refused::TimeoutLeaderTransfer);
            }
            tokio::select! {
                () = time::sleep(shared.config.heartbeat) => {}
                _ = stopped.wait_for(|stopped| *stopped) => return Err(Refused::Stopped),
            }
        }
        let took = shared.now().saturating_sub(began);
        tracing::info!(from = %own, to = %heir, ?took, "leadership transfer finished");
        Ok(())
    }
}
