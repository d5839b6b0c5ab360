//! `tree`

use std::ffi::OsString;

use bytes::Bytes;
use clap::Args;

use super::{
    directories::{Child, Reading, prefix_of},
    ls::How,
};
use crate::{
    failure::{Exit, Failure},
    v3::{
        cli::Globals,
        failed,
        output::{self, Text},
    },
};

/// Deeper than any directory should be; a tree that is deeper ends here.
const DEPTH_MAX: u16 = 1000;

/// Draw keys as a tree of directories
#[derive(Args, Debug)]
#[command(
    override_usage = "etcdctl tree [FLAGS] [DIRECTORY]",
    after_help = "Keys are taken for paths; directories end with the separator.\n\n\
        Example:\n  etcdctl tree /services --depth 2"
)]
pub(crate) struct Tree {
    /// The directory; without one, all that there is
    #[arg(value_name = "DIRECTORY", num_args = 0..)]
    arguments: Vec<OsString>,
    /// So many levels; 0 is all
    #[arg(long, value_name = "LEVELS", default_value = "0")]
    depth: u16,
    #[command(flatten)]
    how: How,
}

impl Tree {
    pub(crate) async fn run(self, globals: &Globals) -> Result<(), Failure> {
        let (reading, directory) = self.how.reading(globals, &self.arguments, "tree").await?;
        let prefix = prefix_of(&directory, &reading.separator);
        let depth = if self.depth == 0 { DEPTH_MAX } else { self.depth };
        let mut drawing = Drawing { reading, hex: globals.hex, depth, directories: 0, keys: 0 };
        let mut text = Text::new(globals.hex, false);
        text.name(if prefix.is_empty() { b"." } else { &prefix });
        output::write(&text.into_bytes())?;
        drawing.below(&prefix, "", 1).await?;
        let plural = |count: u64, one: &str, many: &str| {
            format!("{count} {}", if count == 1 { one } else { many })
        };
        let directories = plural(drawing.directories, "directory", "directories");
        let keys = plural(drawing.keys, "key", "keys");
        Ok(crate::output::line(format_args!("\n{directories}, {keys}"))?)
    }
}

struct Drawing {
    reading: Reading,
    hex: bool,
    depth: u16,
    directories: u64,
    keys: u64,
}

impl Drawing {
    /// Draws what lies below a directory, one directory at a time.
    async fn below(&mut self, prefix: &Bytes, indent: &str, level: u16) -> Result<(), Failure> {
        let children = self.reading.children(prefix).await.map_err(failed(Exit::Error))?;
        let last = children.len().saturating_sub(1);
        for (at, child) in children.into_iter().enumerate() {
            let (branch, more) =
                if at == last { ("└── ", "    ") } else { ("├── ", "│   ") };
            let (Child::Key(name) | Child::Directory(name)) = &child;
            let mut text = Text::new(self.hex, false);
            text.add(format_args!("{indent}{branch}"));
            text.name(name.get(prefix.len()..).unwrap_or_default());
            output::write(&text.into_bytes())?;
            match child {
                Child::Key(_) => self.keys += 1,
                Child::Directory(name) => {
                    self.directories += 1;
                    if level < self.depth {
                        let indent = format!("{indent}{more}");
                        Box::pin(self.below(&name, &indent, level + 1)).await?;
                    }
                }
            }
        }
        Ok(())
    }
}
