//! Reads KubeEdge's tables. What cannot be read is left out and said: the cloud, or the device, says it again.

use std::collections::{BTreeMap, HashMap};

use proto::message::Content;
use proto::resource::{ObjectKey, Resource};
use proto::rules::Orders;
use serde::Deserialize;
use serde_json::Value;
use sqlx::{Row as _, SqliteConnection};
use tracing::warn;

use crate::devicetwin::engine::{Device, DeviceId, Half, Twin, ValueType, Version};
use crate::dmi::Registration;

/// What a node of KubeEdge's has.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) objects: Vec<(ObjectKey, Content)>,
    pub(super) devices: BTreeMap<DeviceId, Device>,
    pub(super) mappers: Vec<Registration>,
    pub(super) orders: Orders,
}

pub(super) async fn read(file: &mut SqliteConnection) -> Result<Found, sqlx::Error> {
    let mut found = Found::default();
    let mut uids = HashMap::new();
    let rows = sqlx::query(
        "SELECT key, type, value FROM meta WHERE type IN ('device', 'devicemodel', 'devicemapper') ORDER BY key",
    );
    for row in rows.fetch_all(&mut *file).await? {
        let (key, kind): (String, String) = (row.try_get("key")?, row.try_get("type")?);
        let value: String = row.try_get::<Option<String>, _>("value")?.unwrap_or_default();
        if kind == "devicemapper" {
            match mapper(&value) {
                Ok(mapper) => found.mappers.push(mapper),
                Err(error) => warn!(key, "a mapper of KubeEdge's cannot be read: {error}"),
            }
            continue;
        }
        match object(&key, value) {
            Ok((key, uid, content)) => {
                if let Some(namespace) = key.namespace.as_deref().filter(|_| kind == "device")
                    && let Ok(id) = DeviceId::new(namespace, &key.name)
                {
                    uids.insert(id, uid);
                }
                found.objects.push((key, content));
            }
            // `<namespace>/device/updated` is where KubeEdge puts what was edited on the node.
            Err(error) => warn!(key, "an object of KubeEdge's is not taken over: {error}"),
        }
    }
    found.devices = devices(file, uids).await?;
    found.orders = orders(file).await?;
    Ok(found)
}

/// The object under a key of `meta`, if it is the one that the key names.
fn object(key: &str, text: String) -> Result<(ObjectKey, String, Content), String> {
    let Resource::Object(key) = Resource::from(key) else { return Err("the key names no object".into()) };
    let value: Value = serde_json::from_str(&text).map_err(|error| error.to_string())?;
    let of = |field: &str| value.pointer(&format!("/metadata/{field}")).and_then(Value::as_str);
    if of("name") != Some(&key.name) {
        return Err(format!("the object there is named {:?}", of("name").unwrap_or_default()));
    }
    let uid = of("uid").unwrap_or_default().to_owned();
    let content = Content::from_json_text(text).map_err(|error| error.to_string())?;
    Ok((key, uid, content))
}

/// KubeEdge writes what protobuf's Go type says: bytes as base64.
fn mapper(text: &str) -> Result<Registration, String> {
    use base64::Engine as _;
    use base64::prelude::BASE64_STANDARD;

    #[derive(Deserialize, Default)]
    #[serde(default)]
    struct Info {
        name: String,
        version: String,
        api_version: String,
        protocol: String,
        address: String,
    }
    let info: Info = serde_json::from_str(text).map_err(|error| error.to_string())?;
    let address = BASE64_STANDARD.decode(info.address).map_err(|error| format!("address: {error}"))?;
    let address = String::from_utf8(address).map_err(|_| "the address is no path".to_owned())?;
    let Info { name, version, api_version, protocol, .. } = info;
    if protocol.is_empty() || address.is_empty() {
        return Err("it names no protocol or no address".into());
    }
    Ok(Registration { protocol, name, version, api_version, address })
}

/// Devices that have an object, with what is known of them. Nothing of it counts as told: KubeEdge's edge drops what is
/// reported while the cloud is away, so the cloud hears all of it once more.
async fn devices(
    file: &mut SqliteConnection,
    uids: HashMap<DeviceId, String>,
) -> Result<BTreeMap<DeviceId, Device>, sqlx::Error> {
    let mut devices = BTreeMap::new();
    let mut sequence = 0;
    let mut next = || {
        sequence += 1;
        sequence
    };
    for row in
        sqlx::query("SELECT id, description, state, last_online FROM device").fetch_all(&mut *file).await?
    {
        let text = |name| -> Result<Option<String>, sqlx::Error> {
            Ok(row.try_get::<Option<String>, _>(name)?.filter(|text| !text.is_empty()))
        };
        let id = text("id")?.unwrap_or_default();
        let Ok(id) = id.parse::<DeviceId>() else {
            warn!(device = id, "a device of KubeEdge's is not taken over: its id is no namespace/name");
            continue;
        };
        // Without an object it is no device of this node any more.
        let Some(uid) = uids.get(&id) else { continue };
        let state = text("state")?;
        let state_changed = if state.is_some() { next() } else { 0 };
        let device = Device {
            uid: uid.clone(),
            description: text("description")?,
            state,
            last_online: text("last_online")?,
            state_changed,
            ..Device::default()
        };
        devices.insert(id, (next(), device));
    }
    // Names are not unique there; the newest row counts.
    let rows = sqlx::query(
        "SELECT deviceid, name, expected, actual, expected_meta, actual_meta, expected_version, actual_version,
         CAST(COALESCE(optional, 1) AS INTEGER) AS optional, attr_type FROM device_twin ORDER BY id",
    );
    for row in rows.fetch_all(&mut *file).await? {
        let text = |name| -> Result<String, sqlx::Error> {
            Ok(row.try_get::<Option<String>, _>(name)?.unwrap_or_default())
        };
        let Ok(id) = text("deviceid")?.parse::<DeviceId>() else { continue };
        let Some((at, device)) = devices.get_mut(&id) else { continue };
        let word = text("attr_type")?;
        let deleted = word == "deleted";
        let half = |value: String, meta: String, version: String| half(value, &meta, &version, deleted, *at);
        let twin = Twin {
            value_type: ValueType::from_store(&word).unwrap_or_default(),
            optional: row.try_get::<i64, _>("optional")? != 0,
            deleted,
            expected: half(text("expected")?, text("expected_meta")?, text("expected_version")?),
            actual: half(text("actual")?, text("actual_meta")?, text("actual_version")?),
            desired: None,
        };
        device.twins.insert(text("name")?, twin);
    }
    Ok(devices.into_iter().map(|(id, (_, device))| (id, device)).collect())
}

/// A value, when it was set, and how often. An empty text without a time was never set.
fn half(value: String, meta: &str, version: &str, deleted: bool, sequence: u64) -> Half {
    let at = serde_json::from_str::<Value>(meta).ok().and_then(|meta| meta["timestamp"].as_i64());
    let version: Version = serde_json::from_str(version).unwrap_or_default();
    let value = Some(value).filter(|value| !deleted && (!value.is_empty() || at.is_some()));
    let changed = if value.is_some() { sequence } else { 0 };
    Half { value, at: at.unwrap_or_default(), version, changed }
}

async fn orders(file: &mut SqliteConnection) -> Result<Orders, sqlx::Error> {
    let names: Vec<String> = sqlx::query_scalar(
        "SELECT name FROM sqlite_master WHERE type = 'table' AND name IN ('sub_topics', 'target_urls')",
    )
    .fetch_all(&mut *file)
    .await?;
    let mut orders = Orders::default();
    for name in names {
        match name.as_str() {
            "sub_topics" => {
                let topics = sqlx::query_scalar("SELECT topic FROM sub_topics WHERE topic <> ''");
                orders.topics = topics.fetch_all(&mut *file).await?.into_iter().collect();
            }
            _ => {
                let urls = sqlx::query_scalar("SELECT url FROM target_urls WHERE url <> ''");
                orders.urls = urls.fetch_all(&mut *file).await?.into_iter().collect();
            }
        }
    }
    Ok(orders)
}
