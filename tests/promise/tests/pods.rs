//! docs/PODS.md names no test that nobody can run.

use std::path::{Path, PathBuf};

const DOCUMENT: &str = include_str!("../../../docs/PODS.md");

/// Where the files are that it names: what a name begins with, the folder, what is left of the name.
const PLACES: [(&str, &str); 3] =
    [("faults/", "tests/faults/tests"), ("e2e/", "tests/e2e/tests"), ("", "edgecore/tests")];
const EDGED: &str = "edgecore/src/edged";

fn file(root: &Path, name: &str) -> Option<PathBuf> {
    let (rest, place) = PLACES.iter().find_map(|(start, place)| Some((name.strip_prefix(start)?, place)))?;
    let found = [root.join(place).join(rest), root.join(EDGED).join(name)];
    found.into_iter().map(|path| path.with_extension("rs")).find(|path| path.is_file())
}

/// The names of the functions in a file: what makes tests of them differs from file to file.
fn functions(file: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    let names = text.lines().filter_map(|line| line.trim().trim_start_matches("async ").strip_prefix("fn "));
    names.filter_map(|name| name.split_once('(')).map(|(name, _)| name.to_owned()).collect()
}

#[test]
fn every_test_that_is_named_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut named = 0;
    for row in DOCUMENT.lines().filter(|line| line.starts_with('|')) {
        for name in row.split('`').skip(1).step_by(2).filter(|name| name.contains("::")) {
            let (place, test) = name.split_once("::").expect(name);
            let file = file(&root, place).unwrap_or_else(|| panic!("{row}: there is no file {place}"));
            let known = functions(&file);
            let count = match test.strip_suffix('…') {
                Some("") => usize::from(!known.is_empty()),
                Some(start) => known.iter().filter(|known| known.starts_with(start)).count(),
                None => known.iter().filter(|known| *known == test).count(),
            };
            assert_eq!(count, 1, "{row}: tests named {name}");
            named += 1;
        }
    }
    assert!(named > 80, "{named} tests are named");
}
