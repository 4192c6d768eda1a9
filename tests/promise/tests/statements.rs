//! docs/MQTT-STATEMENTS.md leaves no statement out and names no test that nobody can run.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

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

/// Where the tests are.
const PLACES: [&str; 2] = ["tests/conform/tests/mqtt", "edgecore/tests"];

/// Whose failures name the statement that is broken.
const BY_STATEMENT: [&str; 8] =
    ["format", "connecting", "answering", "publishing", "subscribing", "leaving", "behaviour", "topics"];

/// What the file of that name says.
fn text(file: &str) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let paths = PLACES.map(|place| root.join(place).join(format!("{file}.rs")));
    let texts: Vec<String> = paths.iter().filter_map(|path| std::fs::read_to_string(path).ok()).collect();
    match <[String; 1]>::try_from(texts) {
        Ok([text]) => text,
        Err(texts) => panic!("{} files are named {file}.rs in {PLACES:?}", texts.len()),
    }
}

/// The tests of a file whose names are this or begin so (`…`), each with its body.
fn tests<'a>(text: &'a str, name: &str) -> Vec<&'a str> {
    let named = name.strip_suffix('…').map_or(format!("fn {name}("), |start| format!("fn {start}"));
    let tests = text.split("#[test]\n").skip(1).chain(text.split("#[tokio::test]\n").skip(1));
    tests.filter(|test| test.trim_start_matches("async ").starts_with(&named)).collect()
}

/// The statements that a text names, as in `MQTT-1.2.3-1, -2, MQTT5-1.2.4-1`, and whether they are of 5.
fn named(text: &str) -> BTreeSet<(bool, String)> {
    let mut named = BTreeSet::new();
    let (mut five, mut section) = (false, "");
    for word in text.split([' ', '"', '\n']) {
        let mut number = word.trim_end_matches([',', ':', ';', '.']);
        for (prefix, of_five) in [("MQTT5-", true), ("MQTT-", false)] {
            if let Some(rest) = number.strip_prefix(prefix) {
                (number, five) = (rest, of_five);
            }
        }
        let Some((of, number)) = number.split_once('-') else { continue };
        if !of.is_empty() {
            section = of;
        }
        if number.parse::<u32>().is_ok() {
            named.insert((five, format!("{section}-{number}")));
        }
    }
    named
}

#[test]
fn every_test_that_is_named_exists_and_speaks_of_it() {
    let mut count = 0;
    for [three, five, what, evidence] in rows() {
        let (mut spoken, mut by_statement) = (BTreeSet::new(), false);
        for name in evidence.split('`').skip(1).step_by(2).filter(|name| name.contains("::")) {
            let (file, test) = name.split_once("::").unwrap();
            let text = text(file);
            let [body] = tests(&text, test)[..] else {
                panic!("{three} {five} {what}: not one test has the name {name}")
            };
            count += 1;
            by_statement |= BY_STATEMENT.contains(&file);
            spoken.extend(named(body));
            // What its helpers say.
            spoken.extend(text.split("#[tokio::test]").next().map(named).unwrap_or_default());
        }
        for (of_five, cell) in [(false, three), (true, five)].into_iter().filter(|_| by_statement) {
            for statement in cell.split(", ").filter(|statement| !statement.is_empty()) {
                let known = spoken.contains(&(of_five, statement.to_owned()));
                assert!(known, "{statement} (of 5: {of_five}) is not spoken of in {evidence}");
            }
        }
        let not_ours = ["client's", "not there", "never sent"].iter().any(|why| evidence.contains(why));
        let shown = evidence.contains('`') || evidence.contains("every test");
        assert!(shown || not_ours, "{three} {five} {what}: shown by nothing: {evidence}");
    }
    assert!(count > 100, "{count} tests are named");
}
