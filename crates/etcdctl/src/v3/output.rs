//! What stdout shows of an answer: `--write-out simple`, `fields`, `json`, `protobuf` or `table`.

pub(crate) mod json;
mod text;

use std::io::{self, Write as _};

use proto::{Message, etcdserverpb::ResponseHeader};

pub(crate) use commandline::table;
pub(crate) use text::Text;

use self::{json::Json, table::Table};
use super::{cli::Globals, refuse};
use crate::failure::{Exit, Failure};

/// How `--write-out` wants an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// For people.
    Simple,
    /// A line for each field.
    Fields,
    /// The answer on one line.
    Json,
    /// The answer as it came.
    Protobuf,
    /// With lines around each cell.
    Table,
}

impl Format {
    fn named(name: &str) -> Option<Self> {
        Some(match name {
            "simple" => Self::Simple,
            "fields" => Self::Fields,
            "json" => Self::Json,
            "protobuf" => Self::Protobuf,
            "table" => Self::Table,
            _ => return None,
        })
    }

    fn name(self) -> &'static str {
        match self {
            Self::Simple => "simple",
            Self::Fields => "fields",
            Self::Json => "json",
            Self::Protobuf => "protobuf",
            Self::Table => "table",
        }
    }
}

/// An answer that can be shown.
pub(crate) trait Answer {
    /// The formats that it has.
    const FORMATS: &[Format] = &[Format::Simple, Format::Fields, Format::Json, Format::Protobuf];

    /// What the server said: the message's name with its package, and its bytes.
    fn message(&self) -> (&'static str, Vec<u8>);

    fn simple(&self, to: &mut Text);

    fn fields(&self, to: &mut Text);

    fn json(&self, _hex: bool) -> Json {
        let (name, bytes) = self.message();
        json::of_message(name, &bytes)
    }

    fn table(&self) -> Option<Table> {
        None
    }
}

/// Shows answers as the flags want it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Printer {
    format: Format,
    hex: bool,
    value_only: bool,
}

impl Printer {
    /// Refuses a format that there is not, or that this answer does not have.
    ///
    /// The original finds the latter out once the request is carried out.
    pub(crate) fn new<A: Answer>(globals: &Globals) -> Result<Self, Failure> {
        let Some(format) = Format::named(&globals.write_out) else {
            return refuse(Exit::BadFeature, "unsupported output format");
        };
        if !A::FORMATS.contains(&format) {
            let name = format.name();
            return refuse(Exit::BadFeature, format!("{name} not supported as output format"));
        }
        Ok(Self { format, hex: globals.hex, value_only: false })
    }

    pub(crate) fn is(self, format: Format) -> bool {
        self.format == format
    }

    /// The same printer, whose keys are shown by their values.
    pub(crate) fn values_only(self) -> Self {
        Self { value_only: true, ..self }
    }

    pub(crate) fn print(self, answer: &impl Answer) -> io::Result<()> {
        let mut text = Text::new(self.hex, self.value_only);
        match self.format {
            Format::Simple => answer.simple(&mut text),
            Format::Fields => answer.fields(&mut text),
            Format::Json => text.line(answer.json(self.hex)),
            Format::Protobuf => text.bytes(&answer.message().1),
            Format::Table => {
                if let Some(table) = answer.table() {
                    text.add(table.drawn());
                }
            }
        }
        write(&text.into_bytes())
    }
}

/// Writes to stdout, which is seen at once.
pub(crate) fn write(bytes: &[u8]) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(bytes)?;
    stdout.flush()
}

/// An answer of which only its head is of interest.
#[derive(Debug)]
pub(crate) struct Done<M> {
    name: &'static str,
    answer: M,
    said: String,
    header: fn(&M) -> Option<ResponseHeader>,
}

impl<M: Message> Done<M> {
    /// `name`: of the message in `etcdserverpb`; `said`: what `simple` shows, on a line.
    pub(crate) fn new(
        name: &'static str,
        answer: M,
        header: fn(&M) -> Option<ResponseHeader>,
        said: impl Into<String>,
    ) -> Self {
        Self { name, answer, said: said.into(), header }
    }
}

impl<M: Message> Answer for Done<M> {
    fn message(&self) -> (&'static str, Vec<u8>) {
        (self.name, self.answer.encode_to_vec())
    }

    fn simple(&self, to: &mut Text) {
        to.line(&self.said);
    }

    fn fields(&self, to: &mut Text) {
        to.header((self.header)(&self.answer).as_ref());
    }
}
