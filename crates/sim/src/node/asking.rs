//! Reads at a member, and clients who wait for what it answers.

use base::{Index, UnixNanos};
use member::{Proposal, Read};
use proto::{Message as _, command::Command};

use super::{Asked, Node};
use crate::{
    Sabotage, Violation,
    clients::registers::{self, Call, Caller, Wish},
    invariants,
    running::Running,
    world::Common,
};

impl Node {
    /// A client of the registers asks for something.
    pub(crate) fn ask(&mut self, common: &mut Common, caller: Caller) -> Result<(), Violation> {
        let Some(member) = &mut self.member else { return Ok(()) };
        let value = common.history.next_value();
        let (key, wish) = common.history.registers.wish(caller, value, &mut common.rng);
        let until = common.history.now.saturating_add(registers::patience(&mut common.rng));
        let (change, write) = match wish {
            Wish::Change(change, write) => (change, write),
            Wish::Read => return self.read_register(common, caller, key, until),
        };
        // As in the inbox of a server, what nobody would take waits outside.
        if !member.core.can_propose() {
            return Ok(());
        }
        let (id, op) = common.history.send(write);
        common.trace.step("ask", format!("{id} at {}: {change:?}", self.who.id));
        common.history.registers.changes(caller, key, until, (id, change));
        let data = Command::new(id, op).encode_to_vec().into();
        member.propose(vec![Proposal { id, data }]);
        if member.was_dropped(id) {
            common.history.registers.take_back(caller);
        }
        Ok(())
    }

    fn read_register(
        &mut self,
        common: &mut Common,
        caller: Caller,
        key: usize,
        until: UnixNanos,
    ) -> Result<(), Violation> {
        let Some(member) = &mut self.member else { return Ok(()) };
        let at_once = answers_at_once(member, common.options.sabotage);
        let call = common.history.registers.reads(caller, key, until);
        if !at_once {
            return self.read(common, Some(call));
        }
        self.known.push((Index(0), call));
        self.serve_reads(common)
    }

    /// Clients who waited for nothing read all registers.
    pub(crate) fn read_registers(&mut self, common: &mut Common) -> Result<(), Violation> {
        let until = UnixNanos(i64::MAX);
        for (caller, key) in registers::everything() {
            self.read_register(common, caller, key, until)?;
        }
        Ok(())
    }

    /// Somebody wants to read what was acknowledged before now.
    pub(crate) fn read(
        &mut self,
        common: &mut Common,
        call: Option<Call>,
    ) -> Result<(), Violation> {
        let Some(member) = &mut self.member else { return Ok(()) };
        if member.core.reads_at_once() {
            invariants::reads::may_be_at_once(&common.history, &member.applier)?;
        }
        self.last_read += 1;
        let (read, least) = (Read(self.last_read), common.history.last_acknowledged());
        common.trace.step("read", format!("{} at {}, from {least} on", read.0, self.who.id));
        self.reads.push(Asked { read, least, call });
        member.core.read(read);
        member.step();
        Ok(())
    }

    /// Takes up the read indexes that have come.
    pub(super) fn look_at_reads(&mut self, common: &mut Common) -> Result<(), Violation> {
        let Some(member) = &mut self.member else { return Ok(()) };
        let answered = std::mem::take(&mut member.reads);
        if answered.is_empty() {
            return Ok(());
        }
        for (mut index, reads) in answered {
            if common.options.sabotage == Some(Sabotage::ReadBehind) {
                index = Index(index.0.saturating_sub(3));
            }
            for read in reads {
                let asked = invariants::reads::is_current(&mut self.reads, read, index)?;
                common.report.reads += 1;
                self.known.extend(asked.call.map(|call| (index, call)));
            }
        }
        self.serve_reads(common)
    }

    /// Answers the reads of which enough is applied.
    pub(super) fn serve_reads(&mut self, common: &mut Common) -> Result<(), Violation> {
        let Some(member) = &self.member else { return Ok(()) };
        let state = member.applier.state();
        let (applied, reader) = (state.applied().index, state.reader());
        let ready: Vec<Call> = self
            .known
            .extract_if(.., |(index, _)| *index <= applied)
            .map(|(_, call)| call)
            .collect();
        for call in ready {
            let answered = common.history.registers.answer_read(call, reader.store());
            answered.map_err(|error| Violation::new("reads", error))?;
        }
        Ok(())
    }
}

/// Whether a read needs no read index here.
fn answers_at_once(member: &Running, sabotage: Option<Sabotage>) -> bool {
    match sabotage {
        Some(Sabotage::ReadAnything) => true,
        Some(Sabotage::ReadAsDeposed) => member.core.role().leads,
        _ => member.core.reads_at_once(),
    }
}
