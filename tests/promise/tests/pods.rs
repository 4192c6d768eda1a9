//! docs/PODS.md names no test that nobody can run.

use promise::evidence::{Places, named, test, text};

const DOCUMENT: &str = include_str!("../../../docs/PODS.md");

const PLACES: &Places = &[
    ("faults/", "tests/faults/tests"),
    ("e2e/", "tests/e2e/tests"),
    ("", "edgecore/tests"),
    ("", "edgecore/src/edged"),
];

#[test]
fn every_test_that_is_named_exists() {
    let mut count = 0;
    for row in DOCUMENT.lines().filter(|line| line.starts_with('|')) {
        for (file, name) in named(row) {
            let text = text(PLACES, file).unwrap_or_else(|error| panic!("{row}: {error}"));
            test(&text, name).unwrap_or_else(|error| panic!("{row}: {file}: {error}"));
            count += 1;
        }
    }
    assert!(count > 80, "{count} tests are named");
}
