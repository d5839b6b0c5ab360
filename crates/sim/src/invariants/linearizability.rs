//! Linearizability: what concurrent clients were told of a key can have happened one after the
//! other.

use linearizable::Verdict;

use crate::{Report, Violation, clients::registers::Registers};

/// Judges all that the clients of the registers were told. What cannot be decided is counted.
pub(crate) fn holds(registers: &mut Registers, report: &mut Report) -> Result<(), Violation> {
    registers.end();
    match registers.judge(report) {
        Verdict::Linearizable => Ok(()),
        Verdict::Undecided { .. } => {
            report.undecided += 1;
            Ok(())
        }
        Verdict::Violated(violation) => Err(Violation::new("linearizability", violation)),
    }
}
