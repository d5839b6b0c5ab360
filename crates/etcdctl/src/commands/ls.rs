//! `ls`

use std::{
    ffi::OsString,
    io::{self, BufWriter, Write},
    os::unix::ffi::OsStringExt as _,
};

use clap::Args;
use client::Node;

use crate::{cli::Globals, connect::connect, failure::Failure};

/// List a directory
#[derive(Args, Debug)]
#[command(
    override_usage = "etcdctl ls [FLAGS] [KEY]",
    after_help = "Prints one key a line, in no particular order. Hidden keys (with a name that \
        begins with _) are not listed.\n\n\
        Example:\n  etcdctl ls --recursive --sort -p /services"
)]
#[allow(clippy::struct_excessive_bools, reason = "each is a flag of the command line")]
pub(crate) struct Ls {
    /// The directory, or a key, which prints itself [default: /]
    key: Option<OsString>,
    /// In order of the keys
    #[arg(long)]
    sort: bool,
    /// All below it
    #[arg(long)]
    recursive: bool,
    /// Print directories with a slash at their end
    #[arg(short)]
    p: bool,
    /// See every write that was acknowledged before, whichever member answers
    #[arg(long)]
    quorum: bool,
    /// The original ignores further arguments
    #[arg(hide = true)]
    ignored: Vec<OsString>,
}

impl Ls {
    pub(crate) async fn run(self, globals: &Globals) -> Result<(), Failure> {
        let key = self.key.map_or_else(|| b"/".to_vec(), OsString::into_vec);
        let client = connect(globals).await?;
        let how = client::Get { recursive: self.recursive, sorted: self.sort, quorum: self.quorum };
        let response = client.get(key, &how).await.map_err(|error| Failure::server(&error))?;

        // A listing may be long: one write for many lines.
        let mut to = BufWriter::new(io::stdout().lock());
        print(&response.node, self.p, &mut to)?;
        Ok(to.flush()?)
    }
}

/// A key prints itself, a directory what is in it.
fn print(top: &Node, slashes: bool, to: &mut impl Write) -> io::Result<()> {
    if !top.dir {
        writeln!(to, "{}", top.key)?;
    }
    top.nodes.iter().try_for_each(|node| print_tree(node, slashes, to))
}

fn print_tree(node: &Node, slashes: bool, to: &mut impl Write) -> io::Result<()> {
    let slash = if node.dir && slashes { "/" } else { "" };
    writeln!(to, "{}{slash}", node.key)?;
    node.nodes.iter().try_for_each(|node| print_tree(node, slashes, to))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn printed(top: &Node, slashes: bool) -> String {
        let mut text = Vec::new();
        print(top, slashes, &mut text).expect("writes");
        String::from_utf8(text).expect("UTF-8")
    }

    #[test]
    fn a_directory_prints_its_tree_and_a_key_itself() {
        let file = Node { key: "/d/f".to_owned(), ..Node::default() };
        let below =
            Node { key: "/d".to_owned(), dir: true, nodes: vec![file.clone()], ..Node::default() };
        let top = Node { dir: true, nodes: vec![below], ..Node::default() };
        assert_eq!(printed(&top, false), "/d\n/d/f\n");
        assert_eq!(printed(&top, true), "/d/\n/d/f\n");
        assert_eq!(printed(&file, true), "/d/f\n");
    }
}
