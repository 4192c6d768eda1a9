//! What a node tells the cloud about its mappers.

use serde::{Deserialize, Serialize};

/// All mappers of a node: the content of `mappers`. Whole, so a newer report replaces an older one, and a mapper that
/// is not in it has never registered there.
///
/// A node sends it after each connect and when something in it changes. KubeEdge has nothing like it: it is only for
/// sessions of `skerry.v1`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct MapperReport {
    /// When it was written, Unix milliseconds.
    pub timestamp: i64,
    /// One per protocol.
    pub mappers: Vec<MapperStatus>,
}

/// One mapper.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct MapperStatus {
    /// What it speaks; there is one for each.
    pub protocol: String,
    /// What it calls itself.
    pub name: String,
    /// Its version, in its own words.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub version: String,
    /// Whether it answers.
    pub state: MapperState,
    /// Since when it is in this state, Unix milliseconds.
    pub since: i64,
    /// Why it is down, for people.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// Devices that it refuses, with its words; the others it has taken.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub refused: Vec<RefusedDevice>,
}

/// Whether a mapper answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MapperState {
    /// It has registered and can be reached.
    Up,
    /// It has registered once and cannot be reached.
    Down,
    /// A word of a newer node.
    #[default]
    #[serde(other)]
    Unknown,
}

/// A device that a mapper does not take.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RefusedDevice {
    /// `<namespace>/<name>`.
    pub id: String,
    /// Why, in the mapper's words.
    pub message: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_reads_and_writes_without_loss_and_newer_words_are_taken() {
        let text = r#"{"timestamp":5,"mappers":[{"protocol":"modbus","name":"m","state":"down","since":4,"message":"connection refused","refused":[{"id":"default/b","message":"no ip"}]}]}"#;
        let report: MapperReport = serde_json::from_str(text).unwrap();
        assert_eq!(serde_json::to_string(&report).unwrap(), text);
        let newer = r#"{"mappers":[{"protocol":"x","state":"resting","mood":"good"}]}"#;
        let report: MapperReport = serde_json::from_str(newer).unwrap();
        assert_eq!(report.mappers[0].state, MapperState::Unknown);
    }
}
