//! What the person at kubectl did while the conversations were recorded, as far as it shows in them.

use std::collections::VecDeque;

use conform::{Line, conversations, recording};
use kube::api::{DeleteParams, DynamicObject, Patch, PatchParams, PostParams};
use kube::core::{ApiResource, GroupVersionKind};
use kube::{Api, Client};
use serde_json::{Value, json};

/// Something is done before the recorded line of this time.
pub(crate) struct Step {
    pub(crate) before: f64,
    pub(crate) act: Act,
}

pub(crate) enum Act {
    /// Creates the object as it was first heard of.
    Create(&'static str),
    /// Gives the object the data, spec and labels that the next push of it shows.
    Change(&'static str),
    /// Deletes the object with so many seconds of grace.
    Delete(&'static str, u32),
    CutLink,
    RestartCloud,
}

pub(crate) fn steps(file: &str) -> VecDeque<Step> {
    use Act::{Change, Create, CutLink, Delete, RestartCloud};
    let start = 0.0;
    let end = f64::MAX;
    let steps: Vec<(f64, Act)> = match file {
        "02" => ["default/configmap/web-conf", "default/secret/web-secret", "default/pod/web"]
            .map(|key| (start, Create(key)))
            .into(),
        "03" => vec![(start, Change("default/configmap/web-conf"))],
        "04" => vec![(start, Change("default/pod/web"))],
        "05" => vec![(start, Delete("default/pod/web", 2))],
        "06" => [
            "default/configmap/kube-root-ca.crt",
            "default/configmap/openshift-service-ca.crt",
            "default/pod/tok",
        ]
        .map(|key| (start, Create(key)))
        .into(),
        "07" => vec![
            (start, Create("default/pod/nocm")),
            (103.0, Delete("default/pod/nocm", 1)),
            (103.0, Delete("default/pod/tok", 1)),
        ],
        "08" => {
            vec![(start, Create("default/devicemodel/temp-model")), (start, Create("default/device/sensor1"))]
        }
        "11" => vec![(121.2, Change("default/device/sensor1"))],
        "12" => vec![
            (start, Delete("default/devicemodel/temp-model", 0)),
            (start, Delete("default/device/sensor1", 0)),
        ],
        "13" => vec![
            (start, Create("default/pod/keep")),
            (start, Create("default/pod/gone")),
            (end, CutLink),
            (end, Delete("default/pod/gone", 2)),
            (end, Create("default/pod/fresh")),
        ],
        "15" => vec![
            (50.0, RestartCloud),
            (112.0, Delete("default/pod/fresh", 2)),
            (112.0, Delete("default/pod/keep", 2)),
        ],
        _ => vec![],
    };
    steps.into_iter().map(|(before, act)| Step { before, act }).collect()
}

pub(crate) async fn perform(act: &Act, file: &str, client: &Client) {
    match act {
        Act::Create(key) => {
            let object = first_heard(&conversations().unwrap(), key);
            let api = api(client, &object);
            let object: DynamicObject = serde_json::from_value(object).unwrap();
            match api.create(&PostParams::default(), &object).await {
                Ok(_) => {}
                // Every namespace of ours has a CA, as every one of theirs.
                Err(kube::Error::Api(status)) if status.is_already_exists() => {}
                Err(error) => panic!("{key}: {error}"),
            }
        }
        Act::Change(key) => {
            let changed = first_heard(&recording(file).unwrap(), key);
            let mut patch = json!({"metadata": {"labels": changed["metadata"]["labels"]}});
            for field in ["data", "spec"] {
                // Of a pod only the labels were changed.
                if changed["kind"] != "Pod" && changed.get(field).is_some() {
                    patch[field] = changed[field].clone();
                }
            }
            let name = changed["metadata"]["name"].as_str().unwrap();
            api(client, &changed).patch(name, &PatchParams::default(), &Patch::Merge(patch)).await.unwrap();
        }
        Act::Delete(key, grace) => {
            let object = first_heard(&conversations().unwrap(), key);
            let name = object["metadata"]["name"].as_str().unwrap();
            api(client, &object).delete(name, &DeleteParams::default().grace_period(*grace)).await.unwrap();
        }
        Act::CutLink | Act::RestartCloud => {}
    }
}

/// An object as the cloud first told it, without what an API server adds.
fn first_heard(lines: &[Line], key: &str) -> Value {
    let told = lines
        .iter()
        .filter_map(|line| line.msg.as_ref())
        .find(|msg| msg["route"]["resource"] == key && msg["content"]["metadata"]["name"].is_string());
    let mut object = told.unwrap_or_else(|| panic!("{key} is in no recording"))["content"].clone();
    let fields = object.as_object_mut().unwrap();
    fields.shift_remove("status");
    if let Some(metadata) = fields["metadata"].as_object_mut() {
        metadata.retain(|name, _| ["name", "namespace", "labels", "annotations"].contains(&name.as_str()));
    }
    object
}

fn api(client: &Client, object: &Value) -> Api<DynamicObject> {
    let (version, kind) = (object["apiVersion"].as_str().unwrap(), object["kind"].as_str().unwrap());
    let (group, version) = version.split_once('/').unwrap_or(("", version));
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind));
    let namespace = object["metadata"]["namespace"].as_str().unwrap();
    Api::namespaced_with(client.clone(), namespace, &resource)
}
