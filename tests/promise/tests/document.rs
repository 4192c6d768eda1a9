//! SPECIFICATION.md promises nothing that nobody can check.

use std::path::Path;

use promise::Promise;

const DOCUMENT: &str = include_str!("../../../SPECIFICATION.md");

#[test]
fn every_measured_promise_names_a_measurement_that_exists() {
    let promises = Promise::all(DOCUMENT).unwrap();
    assert!(!promises.is_empty());
    for promise in promises.iter().filter(|promise| promise.bound.is_some()) {
        assert!(
            bench::NAMES.contains(&promise.evidence.as_str()),
            "{}: no benchmark measures {}",
            promise.text,
            promise.evidence
        );
    }
}

#[test]
fn every_other_promise_names_a_test_file_that_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    for promise in Promise::all(DOCUMENT).unwrap().iter().filter(|promise| promise.bound.is_none()) {
        assert!(root.join(&promise.evidence).is_file(), "{}: there is no {}", promise.text, promise.evidence);
    }
}
