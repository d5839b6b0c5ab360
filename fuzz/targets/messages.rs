//! A byte whether messages of peers, as a member takes them, or the stream in which they come.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| match data.split_first() {
    Some((0, data)) => member::fuzzing::messages(data),
    Some((_, data)) => peer::fuzzing::frames(data),
    None => {}
});
