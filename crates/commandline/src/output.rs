//! What stdout shows.

use std::io::{self, Write as _};

use crate::{Exit, Failure, table::Table};

/// Writes to stdout, which is seen at once.
pub fn write(bytes: &[u8]) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(bytes)?;
    stdout.flush()
}

/// Prints a line on stderr.
pub fn note(text: impl std::fmt::Display) {
    writeln!(io::stderr().lock(), "{text}").ok();
}

/// What is shown of a file. Each field has its name in `fields` and in `json`, and its values there.
pub(crate) struct Facts {
    /// The names of the columns, and what stands there.
    pub(crate) row: Vec<(&'static str, String)>,
    pub(crate) fields: Vec<(&'static str, String)>,
    /// Its values as JSON.
    pub(crate) json: Vec<(&'static str, String)>,
}

/// How `--write-out` wants it; refused before anything is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    Simple,
    Fields,
    Json,
    Table,
}

impl Format {
    pub(crate) fn named(name: &str) -> Result<Self, Failure> {
        let refused = |why| Err(Failure::new(Exit::BadFeature, why));
        Ok(match name {
            "simple" => Self::Simple,
            "fields" => Self::Fields,
            "json" => Self::Json,
            "table" => Self::Table,
            "protobuf" => return refused("protobuf not supported as output format"),
            _ => return refused("unsupported output format"),
        })
    }

    pub(crate) fn text(self, facts: Facts) -> String {
        let Facts { row, fields, json } = facts;
        let (head, cells): (Vec<_>, Vec<_>) = row.into_iter().unzip();
        let table = Table::new(&head, vec![cells]);
        match self {
            Self::Simple => table.lines(),
            Self::Table => table.drawn(),
            Self::Fields => {
                let line = |(name, value)| format!("\"{name}\" : {value}\n");
                fields.into_iter().map(line).collect::<Vec<String>>().concat()
            }
            Self::Json => {
                let fields = json.into_iter().map(|(name, value)| format!("\"{name}\":{value}"));
                format!("{{{}}}\n", fields.collect::<Vec<_>>().join(","))
            }
        }
    }
}
