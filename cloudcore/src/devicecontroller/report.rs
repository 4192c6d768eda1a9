//! What an edge reports about a device, read from either form in which edges send it.

use std::collections::BTreeMap;

use proto::devices::{StateUpdate, TwinEntry, TwinReport, TwinText, TwinValue};
use proto::message::{ContentError, Message};
use proto::resource::Resource;

/// News about a device; newer news replaces older per property.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Change {
    /// Per property.
    pub(super) twins: BTreeMap<String, TwinChange>,
    /// `online`, `offline` and the like.
    pub(super) state: Option<String>,
    /// When it was last online, in the words of the edge.
    pub(super) last_online: Option<String>,
}

/// News about one property. What is `None` did not change.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct TwinChange {
    pub(super) reported: Option<TwinText>,
    pub(super) observed: Option<TwinText>,
}

/// Reads a twin or state report. KubeEdge sends the first as JSON and the second as JSON in a string; both are taken
/// in both forms.
pub(super) fn parse(report: &Message) -> Result<Change, ContentError> {
    let text = report.content.as_str();
    // serde reads a struct from an array too.
    if text.as_deref().unwrap_or(report.content.get()).trim_start().starts_with('[') {
        let (path, reason) = (String::new(), "an object is expected, not an array".to_owned());
        return Err(ContentError::Shape { path, reason });
    }
    if matches!(report.route.resource, Resource::DeviceStateUpdate { .. }) {
        let update: StateUpdate = report.content.parse_lenient()?;
        let given = |text: String| Some(text).filter(|text| !text.is_empty());
        let (state, last_online) = (given(update.device.state), given(update.device.last_online_time));
        return Ok(Change { state, last_online, ..Change::default() });
    }
    let report: TwinReport = report.content.parse_lenient()?;
    let twins =
        report.twin.into_iter().filter_map(|(name, twin)| twin.map(|twin| (name, twin.into()))).collect();
    Ok(Change { twins, ..Change::default() })
}

impl From<TwinEntry> for TwinChange {
    fn from(twin: TwinEntry) -> Self {
        let kind = twin.metadata.and_then(|metadata| metadata.kind);
        // A property that was deleted on the edge comes without a value; the cloud keeps the last one.
        let reading = |half: Option<TwinValue>| {
            let half = half?;
            let value = half.value?;
            let time = half.metadata.map(|metadata| ("timestamp".to_owned(), metadata.timestamp.to_string()));
            let kind = kind.clone().map(|kind| ("type".to_owned(), kind));
            Some(TwinText { value, metadata: time.into_iter().chain(kind).collect() })
        };
        Self { reported: reading(twin.actual), observed: reading(twin.expected) }
    }
}

#[cfg(test)]
mod tests {
    use proto::message::{Content, Group, Operation, Route, Source};

    use super::*;

    fn message(resource: &str, content: Content) -> Message {
        Message::new(
            Route::new(Source::Twin, Group::Resource, Operation::Update, Resource::from(resource)),
            content,
        )
    }

    #[test]
    fn a_twin_report_as_kubeedge_sends_it_is_read() {
        let json = r#"{"event_id":"a","timestamp":1795246318925,"twin":{"temperature":{"actual":{"value":"41",
            "metadata":{"timestamp":1795246318922}},"optional":true,"metadata":{"type":"int"},
            "actual_version":{"cloud":0,"edge":1}},"unknown":null}}"#;
        let content = Content::from_json_text(json.into()).expect("json");
        let change = parse(&message("device/default/sensor1/twin/edge_updated", content)).expect("a report");
        let reported = change.twins["temperature"].reported.clone().expect("a value");
        assert_eq!(reported.value, "41");
        assert_eq!(reported.metadata["timestamp"], "1795246318922");
        assert_eq!(reported.metadata["type"], "int");
        assert_eq!(change.twins["temperature"].observed, None);
        assert_eq!(change.twins.len(), 1);
    }

    #[test]
    fn a_state_report_is_json_in_a_string() {
        let text = r#"{"event_id":"6","timestamp":1,"device":{"name":"sensor1","state":"online","lastOnlineTime":"2026-11-21T07:32:02Z"}}"#;
        let change =
            parse(&message("device/default/sensor1/state/update", Content::text(text))).expect("a report");
        assert_eq!(change.state.as_deref(), Some("online"));
        assert_eq!(change.last_online.as_deref(), Some("2026-11-21T07:32:02Z"));
    }

    #[test]
    fn an_offline_report_does_not_blank_the_last_online_time() {
        let text = r#"{"device":{"state":"offline","lastOnlineTime":""}}"#;
        let change =
            parse(&message("device/default/sensor1/state/update", Content::text(text))).expect("a report");
        assert_eq!(change.last_online, None);
    }

    #[test]
    fn a_value_that_is_no_text_is_named() {
        let content =
            Content::from_json_text(r#"{"twin":{"t":{"actual":{"value":41}}}}"#.into()).expect("json");
        let error = parse(&message("device/default/s/twin/edge_updated", content)).expect_err("a number");
        assert!(error.to_string().contains("twin.t.actual.value"), "{error}");
    }
}
