//! What the objects of this node mean to mappers: each device with its model's defaults under it.

use std::collections::{BTreeMap, HashMap};

use dmi::v1beta1 as wire;
use dmi::value::to_customized;
use proto::devices::{
    AccessMode, Device, DeviceModel, DeviceProperty, ModelProperty, PropertyType, ProtocolConfig,
};
use proto::resource::ResourceKind;
use serde_json::{Map, Value};
use tracing::warn;

use super::push;
use crate::metamanager;

/// Where the objects come from.
#[derive(Clone)]
pub(super) struct Source {
    pub objects: metamanager::Handle,
    pub node: String,
}

/// What the mappers of this node should have, by protocol. Names are `namespace/name`.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Catalog(BTreeMap<String, Shelf>);

/// What the mapper of one protocol should have.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Shelf {
    pub models: BTreeMap<String, wire::DeviceModel>,
    pub devices: BTreeMap<String, wire::Device>,
}

// === impl Source ===

impl Source {
    /// Reads all objects anew: they are not kept in memory for mappers that may never come.
    pub(super) async fn read(&self) -> Result<Catalog, metamanager::StoreError> {
        let models = self.objects.read_each(&ResourceKind::DeviceModel, |_, _, model| Some(model)).await?;
        let devices = self.objects.read_each(&ResourceKind::Device, |_, _, device| Some(device)).await?;
        Ok(Catalog::new(devices, models, &self.node))
    }
}

// === impl Catalog ===

impl Catalog {
    fn new(devices: Vec<Device>, models: Vec<DeviceModel>, node: &str) -> Self {
        let mut shelves: BTreeMap<String, Shelf> = BTreeMap::new();
        let mut by_name = HashMap::new();
        for model in &models {
            let name = named(model.metadata.namespace.as_deref(), model.metadata.name.as_deref());
            if let Some(protocol) = model.spec.protocol.as_deref().filter(|protocol| !protocol.is_empty()) {
                shelves.entry(protocol.to_owned()).or_default().models.insert(name.clone(), model_of(model));
            }
            by_name.insert(name, model);
        }
        for device in &devices {
            let spec = &device.spec;
            if spec.node_name.as_deref().is_some_and(|name| !name.is_empty() && name != node) {
                continue;
            }
            let protocol = spec.protocol.as_ref().and_then(|protocol| protocol.protocol_name.as_deref());
            let Some(protocol) = protocol.filter(|protocol| !protocol.is_empty()) else { continue };
            let namespace = device.metadata.namespace.as_deref();
            let name = named(namespace, device.metadata.name.as_deref());
            let model =
                spec.device_model_ref.as_ref().map(|reference| named(namespace, Some(&reference.name)));
            let Some((model, of)) = model.and_then(|model| Some((model.clone(), *by_name.get(&model)?)))
            else {
                // Of use to nobody before its model is there; then it is delivered.
                continue;
            };
            let shelf = shelves.entry(protocol.to_owned()).or_default();
            // KubeEdge delivers a model by its own protocol only, which is rarely given.
            shelf.models.entry(model).or_insert_with(|| model_of(of));
            shelf.devices.insert(name, device_of(device, of));
        }
        Self(shelves)
    }

    /// What the mapper of the protocol should have.
    pub(super) fn take(&mut self, protocol: &str) -> Shelf {
        self.0.remove(protocol).unwrap_or_default()
    }
}

fn named(namespace: Option<&str>, name: Option<&str>) -> String {
    format!("{}/{}", namespace.unwrap_or("default"), name.unwrap_or_default())
}

fn model_of(model: &DeviceModel) -> wire::DeviceModel {
    let properties = model.spec.properties.iter().map(|property| wire::ModelProperty {
        name: property.name.clone(),
        description: property.description.clone().unwrap_or_default(),
        r#type: property.kind.map(type_word).unwrap_or_default().to_owned(),
        access_mode: match property.access_mode {
            Some(AccessMode::ReadOnly) => "ReadOnly".to_owned(),
            Some(AccessMode::ReadWrite) => "ReadWrite".to_owned(),
            None => String::new(),
        },
        minimum: property.minimum.clone().unwrap_or_default(),
        maximum: property.maximum.clone().unwrap_or_default(),
        unit: property.unit.clone().unwrap_or_default(),
    });
    let spec = wire::DeviceModelSpec { properties: properties.collect(), commands: Vec::new() };
    wire::DeviceModel {
        name: model.metadata.name.clone().unwrap_or_default(),
        namespace: model.metadata.namespace.clone().unwrap_or_else(|| "default".to_owned()),
        spec: Some(spec),
    }
}

fn type_word(kind: PropertyType) -> &'static str {
    match kind {
        PropertyType::Int => "INT",
        PropertyType::Float => "FLOAT",
        PropertyType::Double => "DOUBLE",
        PropertyType::String => "STRING",
        PropertyType::Boolean => "BOOLEAN",
        PropertyType::Bytes => "BYTES",
        PropertyType::Stream => "STREAM",
    }
}

fn device_of(device: &Device, model: &DeviceModel) -> wire::Device {
    let spec = &device.spec;
    let name = device.metadata.name.clone().unwrap_or_default();
    let own = spec.protocol.clone().unwrap_or_default();
    let protocol = wire::ProtocolConfig {
        protocol_name: own.protocol_name.unwrap_or_default(),
        config_data: Some(to_customized(&over(
            model.spec.protocol_config_data.as_ref(),
            own.config_data.as_ref(),
        ))),
    };
    let properties = spec.properties.iter().filter_map(|property| {
        let of_model = model.spec.properties.iter().find(|of_model| of_model.name == property.name);
        if of_model.is_none() {
            // Mappers made with KubeEdge's framework panic on one.
            warn!(
                device = name,
                property = property.name,
                "not given to the mapper: the model does not have it"
            );
        }
        Some(property_of(property, of_model?))
    });
    let methods = spec.methods.iter().map(|method| wire::DeviceMethod {
        name: method.name.clone(),
        description: method.description.clone(),
        property_names: method.property_names.clone(),
    });
    let spec_of = wire::DeviceSpec {
        device_model_reference: spec.device_model_ref.clone().unwrap_or_default().name,
        protocol: Some(protocol),
        properties: properties.collect(),
        methods: methods.collect(),
    };
    let (report_to_cloud, report_cycle) = match &spec.state_report {
        Some(report) => (report.report_to_cloud, report.report_cycle),
        None => (device.status.report_to_cloud.unwrap_or_default(), device.status.report_cycle),
    };
    let status = wire::DeviceStatus {
        twins: Vec::new(),
        report_to_cloud,
        report_cycle: report_cycle.unwrap_or_default(),
    };
    wire::Device {
        name,
        namespace: device.metadata.namespace.clone().unwrap_or_else(|| "default".to_owned()),
        spec: Some(spec_of),
        status: Some(status),
    }
}

/// What may be absent in the object is there and empty: framework mappers do not look before they read.
fn property_of(property: &DeviceProperty, model: &ModelProperty) -> wire::DeviceProperty {
    let read_only = model.access_mode == Some(AccessMode::ReadOnly);
    // It would be told back as what the device works towards.
    let desired = property.desired.clone().filter(|_| !read_only).unwrap_or_default();
    let visitors = visitors_of(property.visitors.as_ref(), model.visitors.as_ref());
    wire::DeviceProperty {
        name: property.name.clone(),
        desired: Some(wire::TwinProperty { value: desired.value, metadata: desired.metadata }),
        visitors: Some(visitors),
        report_cycle: property.report_cycle.unwrap_or_default(),
        collect_cycle: property.collect_cycle.unwrap_or_default(),
        report_to_cloud: property.report_to_cloud.unwrap_or_default(),
        push_method: property.push_method.as_ref().map(push::method),
    }
}

/// The model's replace the instance's, then the instance's keys lie over them (KubeEdge v1.23
/// edge/pkg/devicetwin/dmicache).
fn visitors_of(own: Option<&ProtocolConfig>, model: Option<&ProtocolConfig>) -> wire::VisitorConfig {
    let name = model.or(own).and_then(|visitors| visitors.protocol_name.clone());
    let model = model.and_then(|visitors| visitors.config_data.as_ref());
    let own = own.and_then(|visitors| visitors.config_data.as_ref());
    wire::VisitorConfig {
        protocol_name: name.unwrap_or_default(),
        config_data: Some(to_customized(&over(model, own))),
    }
}

/// Key by key, not deeper.
fn over(below: Option<&Map<String, Value>>, above: Option<&Map<String, Value>>) -> Map<String, Value> {
    let mut all = below.cloned().unwrap_or_default();
    all.extend(above.into_iter().flatten().map(|(key, value)| (key.clone(), value.clone())));
    all
}

#[cfg(test)]
mod tests {
    use dmi::value::from_map;
    use serde_json::json;

    use super::*;

    fn catalog() -> Catalog {
        let model = json!({"metadata": {"name": "boiler-v1", "namespace": "default"}, "spec": {
            "protocolConfigData": {"timeout": 1000},
            "properties": [{"name": "temperature", "type": "FLOAT", "accessMode": "ReadOnly", "visitors": {
                "protocolName": "modbus", "configData": {"register": "InputRegister", "offset": 0}}}]}});
        let device = |name: &str, node: &str, model: &str| {
            json!({"metadata": {"name": name, "namespace": "default"}, "spec": {
                "deviceModelRef": {"name": model}, "nodeName": node,
                "protocol": {"protocolName": "modbus", "configData": {"ip": "10.0.0.1", "port": 502}},
                "stateReport": {"reportToCloud": true, "reportCycle": 30000},
                "properties": [
                    {"name": "temperature", "collectCycle": 10, "visitors": {"configData": {"offset": 4}}},
                    {"name": "stranger"}]}})
        };
        let read = |value: Value| serde_json::from_value(value).unwrap();
        let devices = vec![
            read(device("boiler-1", "edge1", "boiler-v1")),
            read(device("elsewhere", "edge2", "boiler-v1")),
            read(device("modelless", "edge1", "none")),
        ];
        Catalog::new(devices, vec![serde_json::from_value(model).unwrap()], "edge1")
    }

    #[test]
    fn a_device_has_its_models_defaults_under_its_own_words() {
        let shelf = catalog().take("modbus");
        assert_eq!(shelf.devices.keys().collect::<Vec<_>>(), ["default/boiler-1"]);
        let device = &shelf.devices["default/boiler-1"];
        let spec = device.spec.as_ref().unwrap();
        let protocol = spec.protocol.as_ref().unwrap().config_data.as_ref().unwrap();
        let expected = json!({"ip": "10.0.0.1", "port": 502, "timeout": 1000});
        assert_eq!(Value::Object(from_map(&protocol.data)), expected);
        let visitors = spec.properties[0].visitors.as_ref().unwrap();
        assert_eq!(visitors.protocol_name, "modbus");
        let expected = json!({"register": "InputRegister", "offset": 4});
        assert_eq!(Value::Object(from_map(&visitors.config_data.as_ref().unwrap().data)), expected);
        let status = device.status.as_ref().unwrap();
        assert_eq!((status.report_to_cloud, status.report_cycle), (true, 30_000));
    }

    #[test]
    fn a_model_without_a_protocol_goes_where_its_devices_go() {
        assert_eq!(catalog().take("modbus").models.keys().collect::<Vec<_>>(), ["default/boiler-v1"]);
    }

    #[test]
    fn a_property_that_the_model_does_not_have_is_not_delivered() {
        let shelf = catalog().take("modbus");
        let properties = &shelf.devices["default/boiler-1"].spec.as_ref().unwrap().properties;
        assert_eq!(
            properties.iter().map(|property| property.name.as_str()).collect::<Vec<_>>(),
            ["temperature"]
        );
    }
}
