//! docs/MQTT-STATEMENTS.md leaves no statement out and names no test that nobody can run.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

const DOCUMENT: &str = include_str!("../../../docs/MQTT-STATEMENTS.md");

/// How many statements the standards number: 3.1.1, 5.
const STATEMENTS: [usize; 2] = [141, 251];

/// The rows of the tables: statements of 3.1.1, statements of 5, what they ask, tests.
fn rows() -> impl Iterator<Item = [&'static str; 4]> {
    let cells = DOCUMENT.lines().filter_map(|line| line.strip_prefix('|')?.strip_suffix('|'));
    let rows = cells.map(|row| -> [&str; 4] {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        cells.try_into().unwrap_or_else(|cells| panic!("four columns, not {cells:?}"))
    });
    rows.filter(|[three, ..]| *three != "3.1.1" && !three.starts_with('-'))
}

#[test]
fn every_statement_is_there_once() {
    for (column, count) in STATEMENTS.into_iter().enumerate() {
        let mut sections: BTreeMap<&str, Vec<u32>> = BTreeMap::new();
        for row in rows() {
            for statement in row[column].split(", ").filter(|statement| !statement.is_empty()) {
                let (section, number) = statement.split_once('-').expect(statement);
                sections.entry(section).or_default().push(number.parse().expect(statement));
            }
        }
        let total: usize = sections.values().map(Vec::len).sum();
        assert_eq!(total, count, "column {column}");
        for (section, mut numbers) in sections {
            numbers.sort_unstable();
            // MQTT 5 numbers no 2.2.1-1.
            let first = if (column, section) == (1, "2.2.1") { 2 } else { 1 };
            let all: Vec<u32> = (first..).take(numbers.len()).collect();
            assert_eq!(numbers, all, "column {column}, section {section}");
        }
    }
}

/// The names of the tests in a file.
fn tests(file: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    let pairs = lines.windows(2).filter(|pair| matches!(pair[0], "#[test]" | "#[tokio::test]"));
    let names = pairs.filter_map(|pair| pair[1].trim_start_matches("async ").strip_prefix("fn "));
    names.filter_map(|name| name.split_once('(')).map(|(name, _)| name.to_owned()).collect()
}

#[test]
fn every_test_that_is_named_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let places = ["tests/conform/tests/mqtt", "edgecore/tests"];
    let mut named = 0;
    for [three, five, what, evidence] in rows() {
        for name in evidence.split('`').skip(1).step_by(2).filter(|name| name.contains("::")) {
            let (file, test) = name.split_once("::").unwrap();
            let files: Vec<PathBuf> = places
                .iter()
                .map(|place| root.join(place).join(format!("{file}.rs")))
                .filter(|file| file.is_file())
                .collect();
            let [file] = &files[..] else {
                panic!("{three} {five} {what}: {} files for {name}", files.len())
            };
            let start = test.strip_suffix('…');
            let fits = |known: &String| start.map_or(known == test, |start| known.starts_with(start));
            let count = tests(file).iter().filter(|known| fits(known)).count();
            assert_eq!(count, 1, "{three} {five} {what}: tests of the name {name}");
            named += 1;
        }
        let shown = evidence.contains('`') || evidence.contains("every test");
        let not_ours = ["client's", "not there", "never sent"].iter().any(|why| evidence.contains(why));
        assert!(shown || not_ours, "{three} {five} {what}: shown by nothing: {evidence}");
    }
    assert!(named > 100, "{named} tests are named");
}
