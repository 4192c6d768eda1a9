//! What waits, what is under way, and what sources hear of it.

use std::sync::Arc;

use super::*;

fn value(text: &str) -> (String, Reading) {
    let value = Value { actual: text.to_owned(), wanted: String::new() };
    ("p".to_owned(), Reading { value, receipt: None })
}

/// A value whose receipt is written down when it is given.
fn kept(text: &'static str, given: &Given) -> (String, Reading) {
    let (property, reading) = value(text);
    let given = Arc::clone(given);
    let receipt = Some(Receipt::new(move || given.lock().unwrap().push(text)));
    (property, Reading { receipt, ..reading })
}

type Given = Arc<Mutex<Vec<&'static str>>>;

fn given(given: &Given) -> Vec<&'static str> {
    std::mem::take(&mut *given.lock().unwrap())
}

fn waiting(reports: &Reports) -> Option<String> {
    reports.state().waiting.get("d").and_then(|waiting| Some(waiting.values.get("p")?.value.actual.clone()))
}

/// As [`Reports::send`] does: what waits is under way.
fn under_way(reports: &Reports) -> BTreeMap<String, Reading> {
    std::mem::take(&mut reports.state().waiting).remove("d").unwrap_or_default().values
}

#[test]
fn a_value_that_returns_while_another_waits_or_is_under_way_is_the_last_one_told() {
    let reports = Reports::default();
    reports.values("d", [value("a")]);
    let first = under_way(&reports);
    reports.took("d", first);
    reports.values("d", [value("a")]);
    assert_eq!(waiting(&reports), None, "edgecore has it");

    // It waits.
    reports.values("d", [value("b")]);
    reports.values("d", [value("a")]);
    assert_eq!(waiting(&reports).as_deref(), Some("a"));

    // It is under way.
    under_way(&reports);
    reports.values("d", [value("b")]);
    let second = under_way(&reports);
    reports.values("d", [value("a")]);
    reports.took("d", second);
    assert_eq!(waiting(&reports).as_deref(), Some("a"));
    let last = under_way(&reports);
    reports.took("d", last);
    reports.values("d", [value("a")]);
    assert_eq!(waiting(&reports), None);
}

#[test]
fn what_could_not_be_told_waits_unless_something_newer_does() {
    let reports = Reports::default();
    reports.values("d", [value("old")]);
    let values = under_way(&reports);
    reports.values("d", [value("new")]);
    reports.put_back("d".into(), Waiting { state: Some("ok".into()), values }, Status::unavailable("gone"));
    assert_eq!(waiting(&reports).as_deref(), Some("new"));
    assert_eq!(reports.state().waiting["d"].state.as_deref(), Some("ok"));
}

#[test]
fn a_source_hears_of_a_value_when_edgecore_has_it_and_of_an_equal_one_at_once() {
    let (reports, heard) = (Reports::default(), Given::default());
    reports.values("d", [kept("a", &heard)]);
    let values = under_way(&reports);
    assert!(given(&heard).is_empty(), "under way is not there");
    reports.took("d", values);
    assert_eq!(given(&heard), ["a"]);
    reports.values("d", [kept("a", &heard)]);
    assert_eq!(given(&heard), ["a"], "edgecore has it");
}

#[test]
fn a_source_hears_of_a_value_when_it_keeps_a_newer_one() {
    let (reports, heard) = (Reports::default(), Given::default());
    reports.values("d", [kept("a", &heard)]);
    reports.values("d", [kept("b", &heard)]);
    assert_eq!(given(&heard), ["a"]);
    // It comes back while a newer one waits.
    let values = under_way(&reports);
    reports.values("d", [kept("c", &heard)]);
    reports.put_back("d".into(), Waiting { state: None, values }, Status::unavailable("gone"));
    assert_eq!(given(&heard), ["b"]);
    let values = under_way(&reports);
    reports.took("d", values);
    assert_eq!(given(&heard), ["c"]);
}

#[test]
fn a_source_that_does_not_keep_the_newer_value_keeps_the_older_one_until_edgecore_has_the_newer() {
    let (reports, heard) = (Reports::default(), Given::default());
    reports.values("d", [kept("a", &heard)]);
    reports.values("d", [value("b")]);
    assert!(given(&heard).is_empty());
    let values = under_way(&reports);
    assert_eq!(values["p"].value.actual, "b");
    reports.took("d", values);
    assert_eq!(given(&heard), ["a"]);
}

#[test]
fn a_source_hears_nothing_of_values_that_are_not_taken() {
    let (reports, heard) = (Reports::default(), Given::default());
    reports.values("d", [kept("a", &heard)]);
    let values = under_way(&reports);
    reports.put_back("d".into(), Waiting { state: None, values }, Status::unavailable("gone"));
    reports.forget("d");
    drop(reports);
    assert!(given(&heard).is_empty());
}
