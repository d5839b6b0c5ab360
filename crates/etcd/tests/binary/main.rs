//! The server's binary from outside: what it refuses and how, what it says once it serves, and how
//! it ends.

mod end;
mod process;
mod refusals;
mod serving;
