//! What a node says about a step, in KubeEdge's words.

use serde::{Deserialize, Serialize};

use super::Action;

/// The content of `UpdateNodeActionStatus`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ActionReport {
    /// The step.
    pub action: Action,
    /// Whether it succeeded.
    pub succ: bool,
    /// When it ended, RFC 3339 in UTC.
    #[serde(default)]
    pub finish_time: String,
    /// Why it failed.
    #[serde(default)]
    pub reason: String,
    /// What else is to be said: of a pull, the images as JSON text.
    #[serde(default)]
    pub extend: String,
}

/// What became of one image.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageStatus {
    /// As the job names it.
    pub image: String,
    /// `True` or `False`.
    pub status: String,
    /// Why it is not there.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
}

// === impl ActionReport ===

impl ActionReport {
    /// The images of a pull's report; empty when it has none that can be read.
    #[must_use]
    pub fn images(&self) -> Vec<ImageStatus> {
        serde_json::from_str(&self.extend).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_written_as_kubeedge_writes_it() {
        let text =
            r#"{"action":"Check","succ":true,"finishTime":"2026-01-01T00:01:45Z","reason":"","extend":""}"#;
        let report: ActionReport = serde_json::from_str(text).unwrap();
        assert_eq!(serde_json::to_string(&report).unwrap(), text);
    }

    #[test]
    fn the_images_of_a_pull_are_json_in_a_string() {
        let text = r#"{"action":"Pull","succ":false,"finishTime":"","reason":"x","extend":"[{\"image\":\"a\",\"status\":\"True\"},{\"image\":\"b\",\"status\":\"False\",\"reason\":\"gone\"}]"}"#;
        let report: ActionReport = serde_json::from_str(text).unwrap();
        assert_eq!(report.images()[1].reason, "gone");
        assert!(ActionReport { extend: "v1,v2".into(), ..report }.images().is_empty());
    }
}
