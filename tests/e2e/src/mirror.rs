//! The work of an operator as people write them with the kube crate: server-side apply, a finalizer and an event for each object. It
//! keeps a Secret with the name and the data of every labelled ConfigMap, and takes it away with it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::api::{DeleteParams, Patch, PatchParams};
use kube::runtime::controller::Action;
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use kube::runtime::finalizer::{Error, Event as Finalizer, finalizer};
use kube::{Api, Client, Resource, ResourceExt};
use serde_json::json;

/// The label of config maps that it looks after.
pub const MINE: &str = "mirror=yes";
/// The label of secrets that it made.
pub const MADE: &str = "made-by=operator";

/// One that works; any number may take turns.
pub struct Mirror {
    client: Client,
    recorder: Recorder,
    looks: Arc<AtomicUsize>,
}

impl Mirror {
    /// Counts in `looks` how often it looked at an object.
    pub fn new(client: Client, instance: Option<String>, looks: Arc<AtomicUsize>) -> Self {
        let reporter = Reporter { controller: "operator.test".to_owned(), instance };
        let recorder = Recorder::new(client.clone(), reporter);
        Self { client, recorder, looks }
    }

    /// Looks at one config map.
    ///
    /// # Errors
    /// What the API says; to be called again.
    pub async fn reconcile(map: Arc<ConfigMap>, mirror: Arc<Self>) -> Result<Action, Error<kube::Error>> {
        mirror.looks.fetch_add(1, Ordering::Relaxed);
        let namespace = map.namespace().unwrap_or_default();
        let maps = Api::<ConfigMap>::namespaced(mirror.client.clone(), &namespace);
        let secrets = Api::<Secret>::namespaced(mirror.client.clone(), &namespace);
        finalizer(&maps, "operator.test/secret", map, |event| async {
            match event {
                Finalizer::Apply(map) => {
                    let secret = json!({
                        "apiVersion": "v1", "kind": "Secret",
                        "metadata": {"name": map.name_any(), "labels": {"made-by": "operator"}},
                        "stringData": map.data,
                    });
                    let params = PatchParams::apply("operator.test").force();
                    secrets.patch(&map.name_any(), &params, &Patch::Apply(secret)).await?;
                    let event = Event {
                        type_: EventType::Normal,
                        reason: "Mirrored".to_owned(),
                        note: None,
                        action: "Mirror".to_owned(),
                        secondary: None,
                    };
                    mirror.recorder.publish(&event, &map.object_ref(&())).await?;
                }
                Finalizer::Cleanup(map) => {
                    match secrets.delete(&map.name_any(), &DeleteParams::default()).await {
                        Err(kube::Error::Api(status)) if status.code == 404 => {}
                        result => drop(result?),
                    }
                }
            }
            Ok(Action::await_change())
        })
        .await
    }
}
