//! The form and the query of a request to v2.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| api::fuzzing::form(data));
