//! Lines as etcd 2.3 writes them (capnslog), and as 3.5 does (zap, as JSON or for a console).

use std::fmt;

use serde_json::Value;
use tracing::{
    Event, Level, Metadata, Subscriber,
    field::{Field, Visit},
};
use tracing_subscriber::{
    fmt::{
        FmtContext, FormatEvent, FormatFields,
        format::Writer,
        time::{FormatTime as _, SystemTime},
    },
    registry::LookupSpan,
};

/// The form of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    /// `2026-11-23 12:00:00.123456 I | etcdserver: message key=value`, in UTC.
    Capnslog,
    /// `2026-11-23T12:00:00.123456Z<tab>info<tab>server/start.rs:49<tab>message<tab>{"key":…}`.
    Console,
    /// `{"level":"info","ts":"…","caller":"server/start.rs:49","msg":"message","key":…}`.
    Json,
}

impl<S, N> FormatEvent<S, N> for Format
where
    S: Subscriber + for<'span> LookupSpan<'span>,
    N: for<'writer> FormatFields<'writer> + 'static,
{
    fn format_event(
        &self,
        _: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut time = String::new();
        SystemTime.format_time(&mut Writer::new(&mut time))?;
        let mut said = Said::default();
        event.record(&mut said);
        let line = Line { time, metadata: event.metadata(), said };
        match self {
            Self::Capnslog => line.write_capnslog(&mut writer),
            Self::Console => line.write_console(&mut writer),
            Self::Json => line.write_json(&mut writer),
        }
    }
}

struct Line<'a> {
    /// RFC 3339 in UTC, with microseconds.
    time: String,
    metadata: &'a Metadata<'a>,
    said: Said,
}

impl Line<'_> {
    fn write_capnslog(&self, to: &mut dyn fmt::Write) -> fmt::Result {
        let letter = match *self.metadata.level() {
            Level::ERROR => 'E',
            Level::WARN => 'W',
            Level::INFO => 'I',
            Level::DEBUG => 'D',
            Level::TRACE => 'T',
        };
        let time = self.time.replace('T', " ");
        let package = self.metadata.target().replace("::", "/");
        write!(to, "{} {letter} | {package}: ", time.trim_end_matches('Z'))?;
        write_plain(to, &self.said.message)?;
        for (name, value) in &self.said.fields {
            write!(to, " {name}=")?;
            match value.as_str() {
                Some(text) => write_plain(to, text)?,
                None => write!(to, "{value}")?,
            }
        }
        to.write_char('\n')
    }

    fn write_console(&self, to: &mut dyn fmt::Write) -> fmt::Result {
        write!(to, "{}\t{}\t{}\t", self.time, self.level(), self.caller())?;
        write_plain(to, &self.said.message)?;
        if !self.said.fields.is_empty() {
            to.write_char('\t')?;
            write_object(to, self.said.fields.iter().map(|(name, value)| (*name, value)))?;
        }
        to.write_char('\n')
    }

    fn write_json(&self, to: &mut dyn fmt::Write) -> fmt::Result {
        let head = [
            ("level", Value::from(self.level())),
            ("ts", Value::from(self.time.as_str())),
            ("caller", Value::from(self.caller())),
            ("msg", Value::from(self.said.message.as_str())),
        ];
        let fields = self.said.fields.iter().map(|(name, value)| (*name, value));
        write_object(to, head.iter().map(|(name, value)| (*name, value)).chain(fields))?;
        to.write_char('\n')
    }

    fn level(&self) -> &'static str {
        match *self.metadata.level() {
            Level::ERROR => "error",
            Level::WARN => "warn",
            Level::INFO => "info",
            // zap has none below.
            Level::DEBUG | Level::TRACE => "debug",
        }
    }

    /// `server/start.rs:49`, the shape that zap gives.
    fn caller(&self) -> String {
        let file = self.metadata.file().unwrap_or_else(|| self.metadata.target());
        let file = file.strip_prefix("crates/").unwrap_or(file).replacen("/src/", "/", 1);
        format!("{file}:{}", self.metadata.line().unwrap_or(0))
    }
}

/// Text of a line that others read line by line: a client's line break must not make two of one.
fn write_plain(to: &mut dyn fmt::Write, text: &str) -> fmt::Result {
    for letter in text.chars() {
        if letter.is_control() {
            write!(to, "{}", letter.escape_default())?;
        } else {
            to.write_char(letter)?;
        }
    }
    Ok(())
}

/// `serde_json`'s own map would sort the keys.
fn write_object<'a>(
    to: &mut dyn fmt::Write,
    pairs: impl Iterator<Item = (&'a str, &'a Value)>,
) -> fmt::Result {
    for (at, (name, value)) in pairs.enumerate() {
        let before = if at == 0 { "{" } else { "," };
        write!(to, "{before}{}:{value}", Value::from(name))?;
    }
    to.write_char('}')
}

/// The message of an event and its other fields, in order.
#[derive(Default)]
struct Said {
    message: String,
    fields: Vec<(&'static str, Value)>,
}

impl Said {
    fn add(&mut self, field: &Field, value: Value) {
        match (field.name(), value) {
            ("message", Value::String(text)) => self.message = text,
            (name, value) => self.fields.push((name, value)),
        }
    }
}

impl Visit for Said {
    fn record_i64(&mut self, field: &Field, value: i64) {
        self.add(field, value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.add(field, value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.add(field, value.into());
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.add(field, value.into());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.add(field, value.into());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let text = format!("{value:?}");
        let list = if field.name() == "message" { None } else { list(&text) };
        self.add(field, list.unwrap_or_else(|| text.into()));
    }
}

/// A list of texts stays one, as with zap: fields come as numbers, texts or this form of all else.
fn list(debug: &str) -> Option<Value> {
    let value =
        debug.starts_with('[').then(|| serde_json::from_str::<Value>(debug).ok()).flatten()?;
    value.as_array()?.iter().all(Value::is_string).then_some(value)
}
