//! docs/MQTT-STATEMENTS.md leaves no statement out and names no test that nobody can run.

use std::collections::{BTreeMap, BTreeSet};

use promise::evidence::{self, Places};

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
const PLACES: &Places = &[("", "tests/conform/tests/mqtt"), ("", "edgecore/tests")];

/// Whose failures name the statement that is broken.
const BY_STATEMENT: [&str; 8] =
    ["format", "connecting", "answering", "publishing", "subscribing", "leaving", "behaviour", "topics"];

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
    for [three, five, what, shown] in rows() {
        let (mut spoken, mut by_statement) = (BTreeSet::new(), false);
        for (file, name) in evidence::named(shown) {
            let row = |error| format!("{three} {five} {what}: {file}: {error}");
            let text = evidence::text(PLACES, file).map_err(row).unwrap();
            let body = evidence::test(&text, name).map_err(row).unwrap();
            count += 1;
            by_statement |= BY_STATEMENT.contains(&file);
            spoken.extend(named(body));
            // What its helpers say.
            spoken.extend(text.split("#[tokio::test]").next().map(named).unwrap_or_default());
        }
        for (of_five, cell) in [(false, three), (true, five)].into_iter().filter(|_| by_statement) {
            for statement in cell.split(", ").filter(|statement| !statement.is_empty()) {
                let known = spoken.contains(&(of_five, statement.to_owned()));
                assert!(known, "{statement} (of 5: {of_five}) is not spoken of in {shown}");
            }
        }
        let not_ours = ["client's", "not there", "never sent"].iter().any(|why| shown.contains(why));
        let is_shown = shown.contains('`') || shown.contains("every test");
        assert!(is_shown || not_ours, "{three} {five} {what}: shown by nothing: {shown}");
    }
    assert!(count > 100, "{count} tests are named");
}
