//! Why a device does not work, in one word and with what to do. Pure.

use std::time::Duration;

use jiff::Timestamp;
use proto::devices::check::Finding;
use proto::devices::{MapperState, MapperStatus};

use super::tell::seconds;

/// What is known of a device.
pub(super) struct Facts<'a> {
    pub(super) node: Option<&'a str>,
    pub(super) liveness: Liveness,
    pub(super) protocol: &'a str,
    /// `None`: the node does not tell, as KubeEdge's do not.
    pub(super) mapper: Option<Mapper>,
    pub(super) model: Option<&'a str>,
    pub(super) has_model: bool,
    pub(super) finding: Option<&'a Finding>,
    /// Of when the newest of its values is, Unix milliseconds, if one has come.
    pub(super) last_reported: Option<i64>,
    /// It has been silent for longer than this, which is more than it should.
    pub(super) silent_for: Option<Duration>,
    /// What the device, or its mapper, says it is.
    pub(super) state: Option<&'a str>,
    /// Some property is to be reported.
    pub(super) expects_reports: bool,
}

/// Whether the device's node can be heard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Liveness {
    Connected,
    /// There is no such Node.
    Missing,
    /// It has no session.
    Gone {
        since: Option<String>,
    },
}

/// The mapper of the device's protocol on its node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Mapper {
    /// None has registered.
    None,
    Up,
    Down {
        name: String,
        why: String,
    },
    /// It does not take this device.
    Refuses {
        name: String,
        words: String,
    },
}

/// A condition of a Device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Condition {
    pub(super) kind: &'static str,
    pub(super) status: &'static str,
    pub(super) reason: String,
    pub(super) message: String,
}

/// What is said about a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Verdict {
    /// `Healthy`, or the reason of the first condition that is not met.
    pub(super) health: String,
    pub(super) conditions: Vec<Condition>,
}

/// The conditions that a Device has.
pub(super) const KINDS: [&str; 5] = ["Valid", "NodeReady", "MapperReady", "Reporting", "Ready"];
/// All is well.
pub(super) const HEALTHY: &str = "Healthy";
/// The node is away, which is its own trouble: it has events of its own.
pub(super) const OFFLINE: &str = "NodeOffline";

impl Mapper {
    /// What a node says about the mapper of a device (`namespace/name`).
    pub(super) fn of(mapper: Option<&MapperStatus>, device: &str) -> Self {
        let Some(mapper) = mapper else { return Self::None };
        let name = mapper.name.clone();
        match mapper.state {
            MapperState::Down => Self::Down { name, why: mapper.message.clone() },
            MapperState::Up | MapperState::Unknown => {
                match mapper.refused.iter().find(|refused| refused.id == device) {
                    Some(refused) => Self::Refuses { name, words: refused.message.clone() },
                    None => Self::Up,
                }
            }
        }
    }
}

/// Judges the device `id` (`namespace/name`).
pub(super) fn judge(id: &str, facts: &Facts<'_>) -> Verdict {
    let mut conditions = vec![valid(facts), node(facts), mapper(facts), reporting(id, facts)];
    let worst = conditions
        .iter()
        .find(|condition| condition.status == "False")
        .or_else(|| conditions.iter().find(|condition| condition.status == "Unknown"));
    let ready = match worst {
        None => condition("Ready", "True", HEALTHY, "the device works"),
        Some(worst) => condition("Ready", worst.status, &worst.reason, &worst.message),
    };
    let health = ready.reason.clone();
    conditions.push(ready);
    Verdict { health, conditions }
}

fn condition(kind: &'static str, status: &'static str, reason: &str, message: &str) -> Condition {
    // The API takes 32,768 bytes; nobody reads that.
    let message = message.chars().take(1024).collect();
    Condition { kind, status, reason: reason.to_owned(), message }
}

fn valid(facts: &Facts<'_>) -> Condition {
    let no = |reason: &str, message: &str| condition("Valid", "False", reason, message);
    match (facts.model, facts.finding) {
        (None, _) => {
            no("NoModel", "spec.deviceModelRef.name names no DeviceModel: write one, and name it there")
        }
        (Some(model), _) if !facts.has_model => no(
            "ModelNotFound",
            &format!(
                "there is no DeviceModel {model} in this namespace: apply it, or name another in spec.deviceModelRef.name"
            ),
        ),
        (Some(_), Some(finding)) => no(finding.wrong.reason(), &finding.to_string()),
        (Some(_), None) => condition("Valid", "True", "Valid", "the device fits its model"),
    }
}

fn node(facts: &Facts<'_>) -> Condition {
    let no = |reason: &str, message: String| condition("NodeReady", "False", reason, &message);
    let Some(name) = facts.node else {
        return no("NoNode", "no edge node has this device: set spec.nodeName".to_owned());
    };
    match &facts.liveness {
        Liveness::Connected => {
            condition("NodeReady", "True", "Connected", &format!("node {name} is connected"))
        }
        Liveness::Missing => no(
            "NodeNotFound",
            format!(
                "there is no node {name}: join it with keadm, or set spec.nodeName to one of kubectl get nodes"
            ),
        ),
        Liveness::Gone { since } => {
            let since = since.as_deref().map(|since| format!(" since {since}")).unwrap_or_default();
            no(
                OFFLINE,
                format!("node {name} is offline{since}: values are kept there, and arrive when it is back"),
            )
        }
    }
}

fn mapper(facts: &Facts<'_>) -> Condition {
    let says = |status, reason: &str, message: &str| condition("MapperReady", status, reason, message);
    let (node, protocol) = (facts.node.unwrap_or_default(), facts.protocol);
    match &facts.mapper {
        _ if facts.node.is_none() => says("True", "NotNeeded", "there is no node yet"),
        Some(Mapper::Up) => {
            says("True", "Registered", &format!("the mapper of {protocol} on node {node} answers"))
        }
        Some(Mapper::Down { name, why }) => says(
            "False",
            "MapperDown",
            &format!("mapper {name} on node {node} does not answer ({why}): see whether it runs"),
        ),
        Some(Mapper::Refuses { name, words }) => says(
            "False",
            "MapperRefuses",
            &format!("mapper {name} on node {node} refuses the device: {words}"),
        ),
        _ if facts.last_reported.is_some() => {
            says("True", "NotNeeded", "the device reports without a mapper")
        }
        Some(Mapper::None) => says(
            "False",
            "NoMapper",
            &format!(
                "no mapper of protocol {protocol:?} has registered on node {node}, and the device has published nothing itself: run a \
                 mapper there, or publish on $hw/events/device/NAMESPACE/NAME/twin/update"
            ),
        ),
        None => says("Unknown", "NotTold", &format!("node {node} does not tell about its mappers")),
    }
}

fn reporting(id: &str, facts: &Facts<'_>) -> Condition {
    let says = |status, reason: &str, message: &str| condition("Reporting", status, reason, message);
    match facts.state {
        // KubeEdge v1.23's mapper framework says the first two; devices say offline themselves.
        Some("offline" | "disconnected") => {
            return says(
                "False",
                "DeviceOffline",
                "its mapper, or the device itself, says that it cannot be reached",
            );
        }
        Some("unhealthy") => {
            return says(
                "False",
                "DeviceUnhealthy",
                "its mapper says that it does not work: see the mapper's log",
            );
        }
        _ => {}
    }
    if let (Some(last), Some(patience)) = (facts.last_reported, facts.silent_for) {
        let last = Timestamp::from_millisecond(last).map(seconds).unwrap_or_default();
        let message = format!(
            "nothing has come from it since {last}; it is to say something at least every {} s: is it switched on and reachable from its node?",
            patience.as_secs()
        );
        return says("False", "Silent", &message);
    }
    match (facts.last_reported.is_some(), facts.expects_reports) {
        (true, _) => {
            says("True", "Reported", "values have come; status.lastReportTime says of when the newest is")
        }
        (false, false) => says("True", "NotExpected", "no property has reportToCloud"),
        (false, true) => says(
            "False",
            "NeverReported",
            &format!("no value of {id} has come yet: is it switched on and reachable from its node?"),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts<'a>() -> Facts<'a> {
        Facts {
            node: Some("edge1"),
            liveness: Liveness::Connected,
            protocol: "modbus",
            mapper: Some(Mapper::Up),
            model: Some("m"),
            has_model: true,
            finding: None,
            last_reported: Some(1_767_225_600_000),
            silent_for: None,
            state: Some("ok"),
            expects_reports: true,
        }
    }

    #[test]
    fn the_first_thing_that_is_wrong_is_the_health() {
        let down = || Mapper::Down { name: "m".into(), why: "refused".into() };
        let refuses = || Mapper::Refuses { name: "m".into(), words: "no ip".into() };
        let gone = || Liveness::Gone { since: Some("2026-01-01T00:00:00Z".into()) };
        let silent = Some(Duration::from_secs(180));
        let cases = [
            (facts(), "Healthy", ""),
            (Facts { model: None, has_model: false, ..facts() }, "NoModel", "deviceModelRef"),
            (Facts { has_model: false, mapper: Some(down()), ..facts() }, "ModelNotFound", "DeviceModel m"),
            (Facts { node: None, ..facts() }, "NoNode", "spec.nodeName"),
            (Facts { liveness: Liveness::Missing, ..facts() }, "NodeNotFound", "keadm"),
            (Facts { liveness: gone(), ..facts() }, "NodeOffline", "since 2026"),
            (Facts { mapper: Some(down()), ..facts() }, "MapperDown", "refused"),
            (Facts { mapper: Some(refuses()), ..facts() }, "MapperRefuses", "no ip"),
            (Facts { mapper: Some(Mapper::None), ..facts() }, "Healthy", ""),
            (Facts { mapper: Some(Mapper::None), last_reported: None, ..facts() }, "NoMapper", "modbus"),
            (Facts { last_reported: None, ..facts() }, "NeverReported", "switched on"),
            (Facts { last_reported: None, expects_reports: false, ..facts() }, "Healthy", ""),
            (Facts { state: Some("offline"), ..facts() }, "DeviceOffline", "reached"),
            (Facts { state: Some("unhealthy"), ..facts() }, "DeviceUnhealthy", "log"),
            (Facts { mapper: None, ..facts() }, "Healthy", ""),
            (
                Facts { silent_for: silent, ..facts() },
                "Silent",
                "since 2026-01-01T00:00:00Z; it is to say something at least every 180 s",
            ),
            (Facts { silent_for: silent, state: Some("offline"), ..facts() }, "DeviceOffline", "reached"),
            (Facts { silent_for: silent, last_reported: None, ..facts() }, "NeverReported", "switched on"),
            (Facts { silent_for: silent, mapper: Some(down()), ..facts() }, "MapperDown", "refused"),
            (
                Facts { mapper: None, last_reported: None, expects_reports: false, ..facts() },
                "NotTold",
                "does not tell",
            ),
        ];
        for (facts, health, says) in cases {
            let verdict = judge("default/d", &facts);
            assert_eq!(verdict.health, health);
            let ready = verdict.conditions.last().unwrap();
            assert_eq!((ready.kind, ready.status == "True"), ("Ready", health == "Healthy"));
            assert!(ready.message.contains(says), "{}", ready.message);
        }
    }
}
