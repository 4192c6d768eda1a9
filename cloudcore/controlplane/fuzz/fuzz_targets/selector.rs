//! Any text as a label and as a field selector; what is one is matched against an object.
#![no_main]

use controlplane::selector::{FieldSelector, Index, LabelSelector};
use libfuzzer_sys::fuzz_target;
use serde_json::json;

fuzz_target!(|text: &str| {
    let pod = json!({"metadata": {"name": "a", "labels": {"a": "b", "n": "5"}}, "spec": {"nodeName": "n"}});
    let index = Index::of("pods", &pod);
    if let Ok(selector) = LabelSelector::parse(text) {
        selector.matches(&index);
    }
    for collection in ["pods", "events", "widgets.example.com"] {
        if let Ok(selector) = FieldSelector::parse_with(text, collection, &["spec.color".to_owned()]) {
            selector.matches_document(&index, || pod.clone());
        }
    }
});
