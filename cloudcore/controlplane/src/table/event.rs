//! Events, in either of their two shapes.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::age::since;
use super::format::{name, or};
use super::{Column, NAME, Printer, text, wide};
use crate::schema::Json;

pub(crate) const EVENT: Printer = Printer::new(
    &[
        text("Last Seen"),
        text("Type"),
        text("Reason"),
        text("Object"),
        wide("Subobject"),
        wide("Source"),
        text("Message"),
        wide("First Seen"),
        Column { name: "Count", kind: "string", format: "", priority: 1 },
        Column { priority: 1, ..NAME },
    ],
    cells,
);

fn cells(event: &Value, now: Timestamp) -> Vec<Value> {
    let either = |core: &str, new: &str| -> String { or(event.text(core), event.text(new)).to_owned() };
    let time = event.text("/eventTime");
    let first = either("/firstTimestamp", "/deprecatedFirstTimestamp");
    let first = or(&first, time);
    let last = either("/lastTimestamp", "/deprecatedLastTimestamp");
    let mut last = or(&last, first);
    let mut count = event.int("/count").or(event.int("/deprecatedCount")).unwrap_or_default().max(1);
    if event.has("/series") {
        last = event.text("/series/lastObservedTime");
        count = event.int("/series/count").unwrap_or_default();
    }
    let kind = either("/involvedObject/kind", "/regarding/kind").to_lowercase();
    let object = either("/involvedObject/name", "/regarding/name");
    let object = if object.is_empty() { kind } else { format!("{kind}/{object}") };
    let component = either("/source/component", "/deprecatedSource/component");
    let component = or(&component, or(event.text("/reportingComponent"), event.text("/reportingController")));
    let host = either("/source/host", "/deprecatedSource/host");
    let host = or(&host, event.text("/reportingInstance"));
    let source = if host.is_empty() { component.to_owned() } else { format!("{component}, {host}") };
    vec![
        json!(since(last, now)),
        json!(event.text("/type")),
        json!(event.text("/reason")),
        json!(object),
        json!(either("/involvedObject/fieldPath", "/regarding/fieldPath")),
        json!(source),
        json!(either("/message", "/note").trim()),
        json!(since(first, now)),
        json!(count),
        name(event),
    ]
}
