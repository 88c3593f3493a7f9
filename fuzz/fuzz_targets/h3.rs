//! Fuzzes [`oxymoq_fuzz::h3`]. Without a fuzzer it is an empty program, so that it builds on a stable compiler.
#![cfg_attr(fuzzing, no_main)]

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|input: &[u8]| oxymoq_fuzz::h3(input));

#[cfg(not(fuzzing))]
fn main() {}
