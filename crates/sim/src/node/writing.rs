//! Writes of clients who are not judged by their answers.

use base::Index;
use member::Proposal;
use proto::{Message as _, command::Command};

use super::Node;
use crate::{Sabotage, clients, history::Acknowledged, running, world::Common};

impl Node {
    pub(crate) fn propose(&mut self, common: &mut Common, count: usize) -> Vec<u64> {
        if !self.member.as_ref().is_some_and(|member| member.core.can_propose()) {
            return Vec::new();
        }
        let proposals = self.requests(common, count);
        let ids: Vec<u64> = proposals.iter().map(|proposal| proposal.id).collect();
        let Some(member) = &mut self.member else { return Vec::new() };
        member.propose(proposals);
        let leads = member.core.role().leads;
        if leads && common.options.sabotage == Some(Sabotage::AnswerEarly) {
            let after = member.core.last_index().0 - ids.len() as u64;
            let told = |(id, index)| {
                (id, Acknowledged { index: Index(index), revision: None, values: Vec::new() })
            };
            common.history.acknowledged.extend(ids.iter().copied().zip(after + 1..).map(told));
        }
        ids
    }

    /// What clients ask for, whether there is a leader or not: as in the inbox of a server, it waits
    /// until there is.
    #[cfg(test)]
    pub(crate) fn write(&mut self, common: &mut Common, count: usize) -> Vec<u64> {
        let proposals = self.requests(common, count);
        let ids = proposals.iter().map(|proposal| proposal.id).collect();
        if let Some(member) = &mut self.member {
            member.waiting.extend(proposals);
        }
        ids
    }

    fn requests(&self, common: &mut Common, count: usize) -> Vec<Proposal> {
        let Some(member) = &self.member else { return Vec::new() };
        let mut proposals = Vec::new();
        let now = self.condition.wall(common);
        let cluster = member.applier.state().reader().cluster_version();
        let permitted = self.who.build().format_permitted(cluster);
        let is_early = self.who.next && common.options.sabotage == Some(Sabotage::UseNewEarly);
        let may_be_new = common.rolls && (permitted == running::new_format() || is_early);
        for _ in 0..count {
            let (id, op) = if common.rng.u8(..3) == 0 {
                let op = clients::v3::request(&mut common.rng, &common.history);
                common.history.send_v3(op)
            } else {
                let write = clients::request(&mut common.rng, &common.history, now);
                common.history.send(write)
            };
            common.trace.step("propose", format!("{id} at {}: {op:?}", self.who.id));
            let mut command = Command::new(id, op);
            if may_be_new && common.rng.bool() {
                command.format = running::new_format();
            }
            proposals.push(Proposal { id, data: command.encode_to_vec().into() });
        }
        proposals
    }

    /// What was not taken, or was lost with a leader, waits for the next one, if its client does: as in
    /// the inbox of a server.
    pub(super) fn propose_again(&mut self, common: &mut Common) {
        let Some(member) = &mut self.member else { return };
        let again = std::mem::take(&mut member.again);
        common.report.proposed_again += again.len() as u64;
        member.waiting.splice(..0, again);
        member.waiting.retain(|proposal| common.history.is_awaited(proposal.id));
        if member.waiting.is_empty() || !member.core.takes_proposals() {
            return;
        }
        let waiting = std::mem::take(&mut member.waiting);
        for Proposal { id, .. } in &waiting {
            common.trace.step("propose", format!("{id} waited at {}", self.who.id));
        }
        member.propose(waiting);
    }
}
