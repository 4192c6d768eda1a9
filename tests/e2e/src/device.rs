//! A thermometer as users declare it, and what its sensor publishes.

use anyhow::Result;
use kube::{
    Api, Client,
    api::{ApiResource, DynamicObject, PostParams},
    core::GroupVersionKind,
};
use serde_json::json;

fn resource(kind: &str, plural: &str) -> ApiResource {
    ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk("devices.kubeedge.io", "v1beta1", kind), plural)
}

/// The resource of `DeviceStatus` objects.
pub fn status_resource() -> ApiResource {
    resource("DeviceStatus", "devicestatuses")
}

/// Creates a device `name` on `node` with the one property `temperature`; see [`apply`].
///
/// # Errors
/// When the API refuses it.
pub async fn apply_thermometer(client: &Client, node: &str, name: &str) -> Result<()> {
    apply(client, node, name, &["temperature".to_owned()]).await
}

/// Creates the device `name` on `node` and a model of the same name, in namespace `default`; `properties` are
/// FLOAT, up to 100,000,000. What exists already is left as it is.
///
/// # Errors
/// When the API refuses them.
pub async fn apply(client: &Client, node: &str, name: &str, properties: &[String]) -> Result<()> {
    let declared: Vec<_> = properties
        .iter()
        .map(|name| json!({ "name": name, "type": "FLOAT", "accessMode": "ReadWrite", "maximum": "100000000" }))
        .collect();
    let reported: Vec<_> =
        properties.iter().map(|name| json!({ "name": name, "reportToCloud": true })).collect();
    let model = json!({
        "apiVersion": "devices.kubeedge.io/v1beta1", "kind": "DeviceModel",
        "metadata": { "name": name, "namespace": "default" },
        "spec": { "properties": declared },
    });
    let device = json!({
        "apiVersion": "devices.kubeedge.io/v1beta1", "kind": "Device",
        "metadata": { "name": name, "namespace": "default" },
        "spec": {
            "deviceModelRef": { "name": name },
            "nodeName": node,
            "protocol": { "protocolName": "mqtt" },
            "properties": reported,
        },
    });
    let models = Api::namespaced_with(client.clone(), "default", &resource("DeviceModel", "devicemodels"));
    let devices = Api::namespaced_with(client.clone(), "default", &resource("Device", "devices"));
    create(&models, serde_json::from_value(model)?).await?;
    create(&devices, serde_json::from_value(device)?).await
}

async fn create(api: &Api<DynamicObject>, object: DynamicObject) -> Result<()> {
    match api.create(&PostParams::default(), &object).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.code == 409 => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// The topic on which the sensor of `name` (namespace `default`) publishes.
pub fn update_topic(name: &str) -> String {
    format!("$hw/events/device/default/{name}/twin/update")
}

/// The payload that reports `value` for `property`.
pub fn reading(property: &str, value: &str) -> String {
    json!({ "event_id": "", "timestamp": 0, "twin": { property: { "actual": { "value": value } } } })
        .to_string()
}

/// The reported value of `property` that a `DeviceStatus` shows.
pub fn reported(status: &DynamicObject, property: &str) -> Option<String> {
    let twins = status.data["status"]["twins"].as_array()?;
    let twin = twins.iter().find(|twin| twin["propertyName"] == property)?;
    twin["reported"]["value"].as_str().map(ToOwned::to_owned)
}
