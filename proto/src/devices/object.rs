use std::borrow::Cow;
use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value};

use super::{GROUP, VERSION};

/// A custom resource of our group: the struct, and what kube needs to know of it.
macro_rules! resource {
    ($(#[$doc:meta])* $kind:ident, $plural:literal { $($(#[$fdoc:meta])* $field:ident: $type:ty,)+ }) => {
        $(#[$doc])*
        #[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
        #[serde(rename_all = "camelCase")]
        pub struct $kind {
            /// Written by us, not believed when read.
            #[serde(default)]
            pub api_version: Fixed<{ ApiVersion::HERE }>,
            /// Written by us, not believed when read.
            #[serde(default)]
            pub kind: Fixed<{ ApiVersion::$kind }>,
            /// Name, namespace, uid and so on.
            #[serde(default)]
            pub metadata: ObjectMeta,
            $($(#[$fdoc])* #[serde(default)] pub $field: $type,)+
        }

        impl kube::Resource for $kind {
            type DynamicType = ();
            type Scope = kube::core::NamespaceResourceScope;

            fn kind((): &()) -> Cow<'_, str> {
                stringify!($kind).into()
            }

            fn group((): &()) -> Cow<'_, str> {
                GROUP.into()
            }

            fn version((): &()) -> Cow<'_, str> {
                VERSION.into()
            }

            fn plural((): &()) -> Cow<'_, str> {
                $plural.into()
            }

            fn meta(&self) -> &ObjectMeta {
                &self.metadata
            }

            fn meta_mut(&mut self) -> &mut ObjectMeta {
                &mut self.metadata
            }
        }
    };
}

/// Indices of the texts that a [`Fixed`] can be.
struct ApiVersion;

#[expect(non_upper_case_globals, reason = "named like the kinds, for the macro above")]
impl ApiVersion {
    const HERE: usize = 0;
    const Device: usize = 1;
    const DeviceModel: usize = 2;
    const DeviceStatus: usize = 3;
}

const FIXED: [&str; 4] = ["devices.kubeedge.io/v1beta1", "Device", "DeviceModel", "DeviceStatus"];

/// A field that always has the same text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fixed<const TEXT: usize>;

impl<const TEXT: usize> Serialize for Fixed<TEXT> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(FIXED[TEXT])
    }
}

impl<'de, const TEXT: usize> Deserialize<'de> for Fixed<TEXT> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        serde::de::IgnoredAny::deserialize(deserializer).map(|_| Self)
    }
}

resource! {
    /// A device: which model it is of, which node has it, what its properties should be.
    Device, "devices" {
        /// What is known and wanted.
        spec: DeviceSpec,
        /// Of old; superseded by `spec.stateReport`.
        status: LegacyStatus,
    }
}

resource! {
    /// A kind of device.
    DeviceModel, "devicemodels" {
        /// What all devices of this kind have in common.
        spec: DeviceModelSpec,
    }
}

resource! {
    /// What a device reports. Named like its Device, and owned by it.
    DeviceStatus, "devicestatuses" {
        /// Empty.
        spec: DeviceStatusSpec,
        /// What was reported last.
        status: DeviceStatusStatus,
    }
}

/// What is known of a device, and wanted of it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DeviceSpec {
    /// The model, in the same namespace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device_model_ref: Option<ModelRef>,
    /// The node that has the device; without it the device is sent nowhere.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node_name: Option<String>,
    /// How it is reached.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub protocol: Option<ProtocolConfig>,
    /// Its properties.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub properties: Vec<DeviceProperty>,
    /// What a mapper offers to call.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub methods: Vec<DeviceMethod>,
    /// Whether and how often a mapper reports the state.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state_report: Option<StateReportSpec>,
}

/// A reference to a model.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ModelRef {
    /// Its name.
    pub name: String,
}

/// How a device is reached.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ProtocolConfig {
    /// Selects the mapper.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub protocol_name: Option<String>,
    /// What the mapper needs; free form.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub config_data: Option<Map<String, Value>>,
}

/// How a mapper reads and writes a property.
pub type Visitors = ProtocolConfig;

/// A property of a device.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DeviceProperty {
    /// Its name in the model.
    pub name: String,
    /// What it should be.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub desired: Option<Desired>,
    /// How a mapper reads and writes it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub visitors: Option<Visitors>,
    /// Milliseconds between two pushes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub report_cycle: Option<i64>,
    /// Milliseconds between two readings.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub collect_cycle: Option<i64>,
    /// Whether a mapper reports it to the cloud.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub report_to_cloud: Option<bool>,
    /// Where a mapper pushes readings to; handed on as it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub push_method: Option<Map<String, Value>>,
}

/// A value as text with words about it: what a property should be, or what it is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct TwinText {
    /// The value.
    pub value: String,
    /// Keys `type` and `timestamp` (milliseconds) are known.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub metadata: BTreeMap<String, String>,
}

/// What a property should be.
pub type Desired = TwinText;

/// What a mapper offers to call.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DeviceMethod {
    /// Its name.
    pub name: String,
    /// What it does.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// The properties that it sets.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub property_names: Vec<String>,
}

/// Whether and how often a mapper reports a device's state.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct StateReportSpec {
    /// Whether at all.
    pub report_to_cloud: bool,
    /// Milliseconds between two reports.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub report_cycle: Option<i64>,
}

/// The status that a Device had of old; other keys in it are kept.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct LegacyStatus {
    /// Used when `spec.stateReport` is absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub report_to_cloud: Option<bool>,
    /// Used when `spec.stateReport` is absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub report_cycle: Option<i64>,
    /// Everything else.
    #[serde(flatten)]
    pub rest: Map<String, Value>,
}

/// What all devices of a kind have in common.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DeviceModelSpec {
    /// The protocol of the mapper that is told about the model.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub protocol: Option<String>,
    /// Defaults for the devices' protocol configuration.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub protocol_config_data: Option<Map<String, Value>>,
    /// The properties.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub properties: Vec<ModelProperty>,
}

/// A property of a model.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ModelProperty {
    /// Its name.
    pub name: String,
    /// What it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// What a value must look like.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<PropertyType>,
    /// Whether it can be set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub access_mode: Option<AccessMode>,
    /// Least value, as text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub minimum: Option<String>,
    /// Greatest value, as text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub maximum: Option<String>,
    /// Its unit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unit: Option<String>,
    /// Defaults for how a mapper reads and writes it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub visitors: Option<Visitors>,
}

/// What a value must look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
#[expect(missing_docs, reason = "the words of the model")]
pub enum PropertyType {
    Int,
    Float,
    Double,
    String,
    Boolean,
    Bytes,
    Stream,
}

/// Whether a property can be set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the words of the model")]
pub enum AccessMode {
    ReadWrite,
    ReadOnly,
}

/// Empty.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceStatusSpec {}

/// What a device reported last.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DeviceStatusStatus {
    /// Its properties.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub twins: Vec<Twin>,
    /// Its state, in the letter case of the report.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    /// When it was last online, RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_online_time: Option<String>,
    /// Free for others to use.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub extensions: Option<Map<String, Value>>,
}

/// A property as reported.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Twin {
    /// Its name.
    pub property_name: String,
    /// What the device says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reported: Option<TwinText>,
    /// What the device was last told to be.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_desired: Option<TwinText>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_of_kubeedge_read_and_write_without_loss() {
        let text = r#"{"apiVersion":"devices.kubeedge.io/v1beta1","kind":"Device","metadata":{"name":"s1","namespace":"default"},"spec":{"deviceModelRef":{"name":"m"},"nodeName":"edge1","protocol":{"protocolName":"mqttx","configData":{"ip":"127.0.0.1"}},"properties":[{"name":"temperature","desired":{"value":"20","metadata":{"type":"int"}},"visitors":{"protocolName":"mqttx","configData":{"x":1}},"reportCycle":1000,"collectCycle":500,"reportToCloud":true}]},"status":{}}"#;
        let device: Device = serde_json::from_str(text).unwrap();
        assert_eq!(serde_json::to_string(&device).unwrap(), text);
        assert_eq!(device.spec.node_name.as_deref(), Some("edge1"));
    }

    #[test]
    fn a_model_with_another_type_than_the_seven_is_refused() {
        let model = serde_json::json!({"spec": {"properties": [{"name": "t", "type": "INTEGER"}]}});
        assert!(
            serde_json::from_value::<DeviceModel>(model)
                .unwrap_err()
                .to_string()
                .contains("unknown variant `INTEGER`")
        );
    }
}
