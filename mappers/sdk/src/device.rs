//! Devices as a protocol sees them: the instance and its model in one.

use std::collections::BTreeMap;
use std::time::Duration;

use dmi::v1beta1 as wire;
use dmi::value::from_map;
use tracing::warn;

use crate::config::Config;
use crate::push::Target;

/// KubeEdge's cycle where none is given.
const CYCLE: Duration = Duration::from_secs(1);
/// A cycle of more than a day is one in nanoseconds, as KubeEdge's older samples have it.
const DAY_MS: i64 = 86_400_000;

/// A device.
#[derive(Clone, Debug, PartialEq)]
pub struct Device {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// How it is reached: `protocol.configData`, over the model's.
    pub config: Config,
    /// What it has.
    pub properties: Vec<Property>,
    /// How often its state is told; `None` is never.
    pub state_cycle: Option<Duration>,
}

/// A property of a device.
#[derive(Clone, Debug, PartialEq)]
pub struct Property {
    /// Its name.
    pub name: String,
    /// What its values look like.
    pub kind: Kind,
    /// It cannot be set.
    pub read_only: bool,
    /// How it is read and written: `visitors.configData`, over the model's.
    pub config: Config,
    /// What it should be.
    pub desired: Option<String>,
    /// How often it is read.
    pub collect_cycle: Duration,
    /// Whether it is told to the cloud.
    pub report: bool,
    /// How to tell what is out of the ordinary: `pushMethod.anomalyDetection`.
    pub(crate) detection: Option<Config>,
    /// Where else its readings go.
    pub(crate) targets: Vec<Target>,
    /// How often they go there.
    pub(crate) push_cycle: Duration,
}

/// The types of a model.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "the words of the model")]
pub enum Kind {
    Int,
    Float,
    Double,
    #[default]
    String,
    Boolean,
    Bytes,
    Stream,
}

// === impl Device ===

impl Device {
    /// `namespace/name`.
    #[must_use]
    pub fn id(&self) -> String {
        format!("{}/{}", self.namespace, self.name)
    }

    /// What edgecore says, with what the model says of each property.
    pub(crate) fn new(device: &wire::Device, model: Option<&wire::DeviceModel>) -> Self {
        let spec = device.spec.clone().unwrap_or_default();
        let id = format!("{}/{}", device.namespace, device.name);
        let of_model: BTreeMap<&str, &wire::ModelProperty> = model
            .and_then(|model| model.spec.as_ref())
            .map(|spec| spec.properties.iter().map(|property| (property.name.as_str(), property)).collect())
            .unwrap_or_default();
        let properties = spec
            .properties
            .iter()
            .map(|property| Property::new(&id, property, of_model.get(property.name.as_str()).copied()));
        let status = device.status.clone().unwrap_or_default();
        Self {
            namespace: device.namespace.clone(),
            name: device.name.clone(),
            config: config(spec.protocol.and_then(|protocol| protocol.config_data)),
            properties: properties.collect(),
            state_cycle: status.report_to_cloud.then(|| cycle(&id, "stateReport", status.report_cycle)),
        }
    }

    /// Whether the other is reached and read the same way, so that the connection can stay.
    pub(crate) fn same_link(&self, other: &Self) -> bool {
        let ways = |device: &Self| -> Vec<(String, Config, bool)> {
            device
                .properties
                .iter()
                .map(|one| (one.name.clone(), one.config.clone(), one.is_read()))
                .collect()
        };
        self.config == other.config && ways(self) == ways(other)
    }
}

// === impl Property ===

impl Property {
    /// One that is read every second and told to the cloud, as tests of protocols want it.
    #[must_use]
    pub fn of(name: impl Into<String>, kind: Kind, config: Config) -> Self {
        Self {
            name: name.into(),
            kind,
            read_only: false,
            config,
            desired: None,
            collect_cycle: CYCLE,
            report: true,
            detection: None,
            targets: Vec::new(),
            push_cycle: CYCLE,
        }
    }

    /// Whether anybody wants to know it. Another connection is made when that changes.
    #[must_use]
    pub fn is_read(&self) -> bool {
        self.report || self.detection.is_some() || !self.targets.is_empty()
    }

    /// The type that KubeEdge's framework stores beside a value: `dataType` of the visitor, else the model's.
    pub(crate) fn data_type(&self) -> String {
        let named = self.config.text("dataType").ok().flatten();
        named.map_or_else(|| format!("{:?}", self.kind).to_lowercase(), str::to_owned)
    }

    fn new(device: &str, property: &wire::DeviceProperty, model: Option<&wire::ModelProperty>) -> Self {
        let visitors = property.visitors.clone().and_then(|visitors| visitors.config_data);
        let (targets, missing) = property.push_method.as_ref().map(Target::all).unwrap_or_default();
        for target in missing {
            warn!(
                device,
                property = property.name,
                "pushMethod {target} is not here: nothing is pushed there"
            );
        }
        let detection = property.push_method.as_ref().and_then(|method| method.anomaly_detection.as_ref());
        let desired = property.desired.as_ref().map(|desired| desired.value.clone());
        Self {
            name: property.name.clone(),
            kind: model.map(|model| kind(&model.r#type)).unwrap_or_default(),
            read_only: model.is_some_and(|model| model.access_mode == "ReadOnly"),
            config: config(visitors),
            desired: desired.filter(|desired| !desired.is_empty()),
            collect_cycle: cycle(device, &property.name, property.collect_cycle),
            report: property.report_to_cloud,
            detection: detection.map(|detection| Config::new(from_map(&detection.data))),
            targets,
            push_cycle: cycle(device, &property.name, property.report_cycle),
        }
    }
}

fn kind(word: &str) -> Kind {
    match word.to_ascii_uppercase().as_str() {
        "INT" => Kind::Int,
        "FLOAT" => Kind::Float,
        "DOUBLE" => Kind::Double,
        "BOOLEAN" => Kind::Boolean,
        "BYTES" => Kind::Bytes,
        "STREAM" => Kind::Stream,
        _ => Kind::String,
    }
}

fn config(data: Option<wire::CustomizedValue>) -> Config {
    Config::new(data.map(|data| from_map(&data.data)).unwrap_or_default())
}

fn cycle(device: &str, of: &str, milliseconds: i64) -> Duration {
    match milliseconds {
        ..=0 => CYCLE,
        1..=DAY_MS => Duration::from_millis(milliseconds.unsigned_abs()),
        nanoseconds => {
            let taken = Duration::from_nanos(nanoseconds.unsigned_abs()).max(Duration::from_millis(1));
            warn!(
                device,
                of, "a cycle of {nanoseconds} is taken for nanoseconds, {taken:?}: write milliseconds"
            );
            taken
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cycles_are_milliseconds_and_those_of_old_samples_nanoseconds() {
        assert_eq!(cycle("d", "p", 0), Duration::from_secs(1));
        assert_eq!(cycle("d", "p", 500), Duration::from_millis(500));
        assert_eq!(cycle("d", "p", 10_000_000_000), Duration::from_secs(10));
    }

    #[test]
    fn a_desired_value_changes_no_connection_and_a_register_does() {
        let property = |desired: &str, offset: i64| {
            let config = [("offset".to_owned(), dmi::value::to_any(&offset.into()).unwrap())];
            wire::DeviceProperty {
                name: "p".into(),
                desired: Some(wire::TwinProperty { value: desired.into(), ..Default::default() }),
                visitors: Some(wire::VisitorConfig {
                    config_data: Some(wire::CustomizedValue { data: config.into() }),
                    ..Default::default()
                }),
                ..Default::default()
            }
        };
        let device = |desired, offset| {
            let spec = wire::DeviceSpec { properties: vec![property(desired, offset)], ..Default::default() };
            Device::new(&wire::Device { spec: Some(spec), ..Default::default() }, None)
        };
        assert!(device("1", 4).same_link(&device("2", 4)));
        assert!(!device("1", 4).same_link(&device("1", 5)));
    }
}
