//! Stories of whole members.
