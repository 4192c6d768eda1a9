//! The one way to Kubernetes: kinds, untyped objects and failures, in the words of `kube`.
//!
//! Owns: nothing but these words. May call: kube. Called by: the controllers and the PKI.

use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{
    ConfigMap, Event, Node, PersistentVolume, PersistentVolumeClaim, Pod, Secret, ServiceAccount,
};
use k8s_openapi::api::storage::v1::VolumeAttachment;
use kube::api::{Api, ApiResource, DynamicObject};
use kube::core::Status;
use kube::runtime::watcher;
use kube::{Client, Resource};
use proto::resource::ResourceKind;
use serde_json::Value;

use crate::desired::{MalformedObject, Object};

/// A kind of the API that crosses the link.
#[derive(Debug, Clone)]
pub struct Kind {
    /// How it is called on the link.
    pub link: ResourceKind,
    /// How it is called in the API.
    pub api: ApiResource,
    /// Whether its objects live in namespaces.
    pub namespaced: bool,
}

// === impl Kind ===

impl Kind {
    fn of<K: Resource<DynamicType = ()>>(link: ResourceKind, namespaced: bool) -> Self {
        Self { link, api: ApiResource::erase::<K>(&()), namespaced }
    }

    /// `v1 Node`
    #[must_use]
    pub fn node() -> Self {
        Self::of::<Node>(ResourceKind::Node, false)
    }

    /// `v1 Pod`
    #[must_use]
    pub fn pod() -> Self {
        Self::of::<Pod>(ResourceKind::Pod, true)
    }

    /// `coordination.k8s.io/v1 Lease`
    #[must_use]
    pub fn lease() -> Self {
        Self::of::<Lease>(ResourceKind::Lease, true)
    }

    /// `v1 Event`
    #[must_use]
    pub fn event() -> Self {
        Self::of::<Event>(ResourceKind::Event, true)
    }

    /// `v1 ServiceAccount`
    #[must_use]
    pub fn service_account() -> Self {
        Self::of::<ServiceAccount>(ResourceKind::ServiceAccountToken, true)
    }

    /// `devices.kubeedge.io/v1beta1 Device`
    #[must_use]
    pub fn device() -> Self {
        Self::devices(ResourceKind::Device, "Device", "devices")
    }

    /// `devices.kubeedge.io/v1beta1 DeviceModel`
    #[must_use]
    pub fn device_model() -> Self {
        Self::devices(ResourceKind::DeviceModel, "DeviceModel", "devicemodels")
    }

    /// `devices.kubeedge.io/v1beta1 DeviceStatus`; it never crosses the link under its own name.
    #[must_use]
    pub fn device_status() -> Self {
        Self::devices(ResourceKind::Device, "DeviceStatus", "devicestatuses")
    }

    /// The kinds that a node may read because a pod of its uses them, by their name on the link.
    #[must_use]
    pub fn readable(link: &ResourceKind) -> Option<Self> {
        match link {
            ResourceKind::ConfigMap => Some(Self::of::<ConfigMap>(ResourceKind::ConfigMap, true)),
            ResourceKind::Secret => Some(Self::of::<Secret>(ResourceKind::Secret, true)),
            ResourceKind::PersistentVolumeClaim => {
                Some(Self::of::<PersistentVolumeClaim>(ResourceKind::PersistentVolumeClaim, true))
            }
            ResourceKind::PersistentVolume => {
                Some(Self::of::<PersistentVolume>(ResourceKind::PersistentVolume, false))
            }
            ResourceKind::VolumeAttachment => {
                Some(Self::of::<VolumeAttachment>(ResourceKind::VolumeAttachment, false))
            }
            _ => None,
        }
    }

    fn devices(link: ResourceKind, kind: &str, plural: &str) -> Self {
        let api = ApiResource {
            group: "devices.kubeedge.io".into(),
            version: "v1beta1".into(),
            api_version: "devices.kubeedge.io/v1beta1".into(),
            kind: kind.into(),
            plural: plural.into(),
        };
        Self { link, api, namespaced: true }
    }

    /// Objects of this kind: in one namespace, or everywhere.
    #[must_use]
    pub fn api(&self, client: &Client, namespace: Option<&str>) -> Api<DynamicObject> {
        match namespace {
            Some(namespace) if self.namespaced => Api::namespaced_with(client.clone(), namespace, &self.api),
            _ => Api::all_with(client.clone(), &self.api),
        }
    }

    /// The object as edges should have it.
    ///
    /// # Errors
    /// If the API server left out what every stored object has.
    pub fn object(&self, value: Value) -> Result<Object, MalformedObject> {
        Object::from_api(self.link.clone(), &self.api.api_version, &self.api.kind, value)
    }
}

/// What went wrong, in Kubernetes' words.
pub type Failure = Box<Status>;

/// A failure of our own, in Kubernetes' words.
#[must_use]
pub fn failure(code: u16, reason: &str, message: &str) -> Failure {
    Status::failure(message, reason).with_code(code).boxed()
}

/// What the API said. A failure to reach it is a 503: it passes.
#[must_use]
pub fn status_of(error: kube::Error) -> Failure {
    match error {
        kube::Error::Api(status) => status,
        other => {
            let message = format!("cloudcore cannot reach the Kubernetes API: {other}");
            failure(503, "ServiceUnavailable", &message)
        }
    }
}

/// Whether trying again later can help.
#[must_use]
pub fn is_passing(status: &Status) -> bool {
    status.code == 0 || status.code == 429 || status.code >= 500
}

/// An untyped object as JSON.
#[must_use]
pub fn json(object: &DynamicObject) -> Value {
    // An untyped object came from JSON and has string keys only.
    serde_json::to_value(object).unwrap_or_default()
}

/// What is wrong with a watch, in words and with what to do about it.
#[must_use]
pub fn watch_failure(kind: &ResourceKind, error: watcher::Error) -> String {
    let missing = match kind {
        ResourceKind::Device | ResourceKind::DeviceModel => {
            "the API does not know devices: install the definitions in deploy/crds (keadm init does)"
        }
        _ => "",
    };
    watch_failure_of(error, missing)
}

/// [`watch_failure`] of any kind: `missing` says what to do when the API does not know it.
#[must_use]
pub fn watch_failure_of(error: watcher::Error, missing: &str) -> String {
    let status = match error {
        watcher::Error::InitialListFailed(error)
        | watcher::Error::WatchStartFailed(error)
        | watcher::Error::WatchFailed(error) => status_of(error),
        watcher::Error::WatchError(status) => status,
        other => return other.to_string(),
    };
    if status.code == 404 && !missing.is_empty() { missing.to_owned() } else { status.message }
}
