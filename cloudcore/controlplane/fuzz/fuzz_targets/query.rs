//! Any text as the query of a request, and as a token to continue a list.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| controlplane::apiserver::read_query(text));
