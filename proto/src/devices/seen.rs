//! When a node's devices were heard last, for the cloud.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Devices that said something since the node told of them last: the content of `seen`.
///
/// A value that stays the same is not sent again, so the cloud cannot tell a device that says the same from one that says
/// nothing. A node sends this after each connect, also if there is nothing to tell, and then once a minute at most. KubeEdge has
/// nothing like it, and sends every value: it is only for sessions of `skerry.v1`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SeenReport {
    /// For how many milliseconds the node has been listening. What was said before that it does not know.
    pub listening: u64,
    /// By `<namespace>/<name>`: how many milliseconds ago. Clocks of nodes are not trusted, intervals are.
    pub devices: BTreeMap<String, u64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_reads_and_writes_without_loss_and_newer_words_are_taken() {
        let text = r#"{"listening":9,"devices":{"default/a":5}}"#;
        let report: SeenReport = serde_json::from_str(text).unwrap();
        assert_eq!(serde_json::to_string(&report).unwrap(), text);
        assert_eq!(serde_json::from_str::<SeenReport>(r#"{"mood":"good"}"#).unwrap(), SeenReport::default());
        assert!(serde_json::from_str::<SeenReport>(r#"{"devices":{"default/a":-5}}"#).is_err());
    }
}
