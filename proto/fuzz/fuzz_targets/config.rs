//! Any text is a configuration or an error that names the file.
#![no_main]

use libfuzzer_sys::fuzz_target;
use proto::config::{CloudCore, ConfigFile, EdgeCore};

fuzz_target!(|text: &str| {
    let file = "fuzz.yaml".as_ref();
    if let Err(error) = CloudCore::parse(text, file) {
        assert!(error.to_string().contains("fuzz.yaml"));
    }
    if let Err(error) = EdgeCore::parse(text, file) {
        assert!(error.to_string().contains("fuzz.yaml"));
    }
});
