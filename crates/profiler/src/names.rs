//! From addresses to functions and lines.

use std::{collections::BTreeMap, ptr};

/// A function, and the line within it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Symbol {
    /// As it is written in the code.
    pub name: String,
    /// As the linker knows it.
    pub system_name: String,
    /// Empty where nothing is known of it.
    pub file: String,
    /// Zero likewise.
    pub line: u32,
}

/// Looks each address up once, and then gives back what that took.
pub(crate) fn find(addresses: impl Iterator<Item = u64>) -> BTreeMap<u64, Vec<Symbol>> {
    let mut found: BTreeMap<u64, Vec<Symbol>> = BTreeMap::new();
    for address in addresses {
        found.entry(address).or_insert_with(|| symbols(address));
    }
    // Else all tables that it has read stay in memory.
    backtrace::clear_symbol_cache();
    found
}

fn symbols(address: u64) -> Vec<Symbol> {
    let mut symbols = Vec::new();
    // It takes addresses for those to which calls return, and looks before them.
    let Ok(after) = usize::try_from(address.saturating_add(1)) else { return symbols };
    backtrace::resolve(ptr::without_provenance_mut(after), |symbol| {
        let Some(name) = symbol.name() else { return };
        let file = symbol.filename().map(|file| file.display().to_string());
        symbols.push(Symbol {
            // Without the hash.
            name: format!("{name:#}"),
            system_name: name.as_str().unwrap_or_default().to_owned(),
            file: file.unwrap_or_default(),
            line: symbol.lineno().unwrap_or_default(),
        });
    });
    symbols
}
