//! What raft says, which it says through slog, goes to `tracing`.

use std::fmt::{self, Write};

use slog::{Drain, KV, Level, Logger, Never, OwnedKVList, Record};

/// A logger whose records become events of the target `raft`.
pub(crate) fn raft_logger() -> Logger {
    Logger::root(Tracing, slog::o!())
}

struct Tracing;

impl Drain for Tracing {
    type Ok = ();
    type Err = Never;

    fn log(&self, record: &Record<'_>, values: &OwnedKVList) -> Result<(), Never> {
        match record.level() {
            Level::Critical | Level::Error => {
                tracing::error!(target: "raft", "{}", line(record, values));
            }
            Level::Warning => tracing::warn!(target: "raft", "{}", line(record, values)),
            Level::Info => tracing::info!(target: "raft", "{}", line(record, values)),
            Level::Debug => tracing::debug!(target: "raft", "{}", line(record, values)),
            Level::Trace => tracing::trace!(target: "raft", "{}", line(record, values)),
        }
        Ok(())
    }
}

/// The message, then its key-value pairs.
fn line(record: &Record<'_>, values: &OwnedKVList) -> String {
    let mut text = Pairs(record.msg().to_string());
    // Writing to a string cannot fail, and a pair that cannot be formatted is left out.
    drop(record.kv().serialize(record, &mut text));
    drop(values.serialize(record, &mut text));
    text.0
}

struct Pairs(String);

impl slog::Serializer for Pairs {
    fn emit_arguments(&mut self, key: slog::Key, value: &fmt::Arguments<'_>) -> slog::Result {
        write!(self.0, " {key}={value}").map_err(slog::Error::from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_follow_the_message() {
        let location = slog::record_static!(Level::Info, "");
        let message = format_args!("became leader");
        let pairs = slog::b!("term" => 3);
        let record = Record::new(&location, &message, pairs);
        let own = slog::o!("raft_id" => 7);
        assert_eq!(line(&record, &own.into()), "became leader term=3 raft_id=7");
    }
}
