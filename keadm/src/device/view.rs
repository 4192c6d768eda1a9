//! What is shown of devices: rows of text, and what changed between two looks. Pure.

use std::collections::BTreeMap;

use proto::devices::{Device, DeviceStatus};
use serde::Serialize;

/// `namespace/name`.
pub(super) type Id = (String, String);

/// A property of a device as it is shown.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Row {
    pub(super) namespace: String,
    pub(super) device: String,
    pub(super) node: String,
    pub(super) health: String,
    pub(super) property: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) reported: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) desired: Option<String>,
    /// Of when the value is, Unix milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) timestamp: Option<i64>,
}

/// Everything that is known.
#[derive(Debug, Default)]
pub(super) struct View {
    pub(super) devices: BTreeMap<Id, Device>,
    pub(super) statuses: BTreeMap<Id, DeviceStatus>,
}

impl View {
    /// One row for each property, devices in order of their names.
    pub(super) fn rows(&self) -> Vec<Row> {
        self.devices.iter().flat_map(|(id, device)| self.rows_of(id, device)).collect()
    }

    fn rows_of(&self, id: &Id, device: &Device) -> Vec<Row> {
        let (namespace, name) = id;
        let health = device.status.rest.get("health").and_then(serde_json::Value::as_str).unwrap_or("-");
        let row = Row {
            namespace: namespace.clone(),
            device: name.clone(),
            node: device.spec.node_name.clone().unwrap_or_else(|| "-".to_owned()),
            health: health.to_owned(),
            ..Row::default()
        };
        if device.spec.properties.is_empty() {
            return vec![Row { property: "-".to_owned(), ..row }];
        }
        let twins = self.statuses.get(id).map(|status| &status.status.twins);
        let properties = device.spec.properties.iter().map(|property| {
            let twin = twins.into_iter().flatten().find(|twin| twin.property_name == property.name);
            let reported = twin.and_then(|twin| twin.reported.as_ref());
            Row {
                property: property.name.clone(),
                reported: reported.map(|reported| reported.value.clone()),
                desired: property.desired.as_ref().map(|desired| desired.value.clone()),
                timestamp: reported.and_then(|reported| reported.metadata.get("timestamp")?.parse().ok()),
                ..row.clone()
            }
        });
        properties.collect()
    }
}

/// The rows that are new or different; those that are gone are not told.
pub(super) fn changed(before: &[Row], after: &[Row]) -> Vec<Row> {
    after.iter().filter(|row| !before.contains(row)).cloned().collect()
}

/// The rows as a table, cut to `width` columns and `height` lines.
pub(super) fn table(rows: &[Row], all_namespaces: bool, now: i64, width: usize, height: usize) -> String {
    let head = ["NAMESPACE", "DEVICE", "NODE", "HEALTH", "PROPERTY", "REPORTED", "DESIRED", "SEEN"];
    let skip = usize::from(!all_namespaces);
    let mut lines: Vec<Vec<String>> = vec![head.map(str::to_owned).into()];
    let mut last: Option<(&str, &str)> = None;
    for row in rows {
        let of = (row.namespace.as_str(), row.device.as_str());
        let first = last != Some(of);
        last = Some(of);
        let once = |text: &str| if first { printable(text) } else { String::new() };
        lines.push(vec![
            once(&row.namespace),
            once(&row.device),
            once(&row.node),
            once(&row.health),
            printable(&row.property),
            row.reported.as_deref().map_or_else(|| "-".to_owned(), printable),
            row.desired.as_deref().map_or_else(|| "-".to_owned(), printable),
            row.timestamp.map_or_else(|| "-".to_owned(), |at| ago(now - at)),
        ]);
    }
    let over = lines.len().saturating_sub(height.max(2));
    lines.truncate(height.max(2));
    let widths: Vec<usize> = (0..head.len())
        .map(|column| {
            lines
                .iter()
                .filter_map(|line| line.get(column))
                .map(|cell| cell.chars().count())
                .max()
                .unwrap_or(0)
        })
        .collect();
    let mut text = String::new();
    for line in &lines {
        let cells = line.iter().zip(&widths).skip(skip).map(|(cell, width)| format!("{cell:<width$}"));
        let line = cells.collect::<Vec<_>>().join("   ");
        text.extend(line.trim_end().chars().take(width));
        text.push('\n');
    }
    if over > 0 {
        text.push_str(&format!("… {over} more: name a device, or make the window higher\n"));
    }
    text
}

/// No control characters of a device reach the terminal.
fn printable(text: &str) -> String {
    text.chars().map(|letter| if letter.is_control() { '\u{fffd}' } else { letter }).take(40).collect()
}

/// A time as kubectl shows ages.
fn ago(milliseconds: i64) -> String {
    match milliseconds.max(0) / 1000 {
        seconds @ 0..120 => format!("{seconds}s"),
        seconds @ 120..7200 => format!("{}m", seconds / 60),
        seconds @ 7200..172_800 => format!("{}h", seconds / 3600),
        seconds => format!("{}d", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn view() -> View {
        let device = json!({"metadata": {"name": "boiler", "namespace": "default"}, "spec": {"nodeName": "edge1",
            "properties": [{"name": "t"}, {"name": "s", "desired": {"value": "6\u{1b}5"}}]}, "status": {"health": "Healthy"}});
        let status = json!({"metadata": {"name": "boiler"}, "status": {"twins": [
            {"propertyName": "t", "reported": {"value": "21", "metadata": {"timestamp": "1000"}}}]}});
        let id = || ("default".to_owned(), "boiler".to_owned());
        View {
            devices: [(id(), serde_json::from_value(device).unwrap())].into(),
            statuses: [(id(), serde_json::from_value(status).unwrap())].into(),
        }
    }

    #[test]
    fn a_device_is_named_once_and_its_properties_follow() {
        let rows = view().rows();
        assert_eq!(
            table(&rows, false, 6_000, 200, 50),
            "DEVICE   NODE    HEALTH    PROPERTY   REPORTED   DESIRED   SEEN\n\
             boiler   edge1   Healthy   t          21         -         5s\n\
             \u{20}                          s          -          6\u{fffd}5       -\n"
        );
        let small = table(&rows, true, 6_000, 20, 2);
        assert_eq!(
            small,
            "NAMESPACE   DEVICE  \ndefault     boiler  \n… 1 more: name a device, or make the window higher\n"
        );
    }

    #[test]
    fn only_what_changed_is_told() {
        let mut view = view();
        let before = view.rows();
        assert!(changed(&before, &view.rows()).is_empty());
        view.devices.values_mut().for_each(|device| device.spec.node_name = Some("edge2".into()));
        assert_eq!(changed(&before, &view.rows()).len(), 2);
    }
}
