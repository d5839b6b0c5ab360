//! A file of the original's, which is imported.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| import::fuzzing::file(data));
