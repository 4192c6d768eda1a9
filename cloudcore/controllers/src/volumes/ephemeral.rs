//! Claims of generic ephemeral volumes: each is made for its pod, and goes with it by the pod's ownership.
//!
//! Source: Kubernetes v1.36 `pkg/controller/volume/ephemeral`.

use std::sync::Arc;

use k8s_openapi::api::core::v1::{PersistentVolumeClaim, PersistentVolumeClaimTemplate, Pod, Volume};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::PostParams;
use kube::runtime::Controller;
use kube::runtime::controller::Action;
use kube::runtime::reflector::{ObjectRef, Store};
use kube::{Api, ResourceExt};
use tasks::TaskSet;

use super::protect;
use crate::cache::is_going;
use crate::claim::{controller_of, is_controlled_by, reference};
use crate::context::Context;
use crate::error::Error;
use crate::run::run;

/// Makes claims for pods, on `tasks`.
pub(super) fn start(context: &Context, tasks: &TaskSet) {
    let caches = Arc::clone(&context.caches);
    let controller = move || {
        let (pods, changes) = caches.pods.picked(|pod| pod.has_claims, wants_claims);
        let known = pods.clone();
        Controller::for_shared_stream(changes, pods)
            .watches_shared_stream(caches.persistent_volume_claims.changes(), move |claim| {
                users_of(&known, &claim)
            })
    };
    let context = context.clone();
    run("ephemeral volumes", tasks, controller, move |pod| make_claims(context.clone(), pod));
}

/// Whether it has volumes whose claims are made for it.
fn wants_claims(pod: &Pod) -> bool {
    !is_going(pod) && templates(pod).next().is_some()
}

fn templates(pod: &Pod) -> impl Iterator<Item = (&Volume, &PersistentVolumeClaimTemplate)> {
    let volumes = pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
    volumes.filter_map(|volume| Some((volume, volume.ephemeral.as_ref()?.volume_claim_template.as_ref()?)))
}

/// The pod that a claim was made for, or those that it stands in the way of.
fn users_of(pods: &Store<Pod>, claim: &PersistentVolumeClaim) -> Vec<ObjectRef<Pod>> {
    let namespace = claim.namespace();
    if let Some(owner) = controller_of(claim).filter(|owner| owner.kind == "Pod") {
        return vec![ObjectRef::new(&owner.name).within(namespace.as_deref().unwrap_or_default())];
    }
    let name = claim.name_any();
    let users = pods.state_filter(|pod| {
        pod.namespace() == namespace && protect::claims_of(pod).any(|claimed| claimed == name)
    });
    users.iter().map(|pod| ObjectRef::from_obj(&**pod)).collect()
}

async fn make_claims(context: Context, pod: Arc<Pod>) -> Result<Action, Error> {
    let caches = &context.caches;
    caches.persistent_volume_claims.ready().await;
    if !wants_claims(&pod) {
        return Ok(Action::await_change());
    }
    let namespace = pod.namespace().unwrap_or_default();
    let api = Api::<PersistentVolumeClaim>::namespaced(context.client.clone(), &namespace);
    for (volume, template) in templates(&pod) {
        let wanted = claim_of(&pod, volume, template);
        let name = wanted.name_any();
        if let Some(there) = caches.persistent_volume_claims.get(&namespace, &name) {
            check(&there, &pod)?;
            continue;
        }
        match api.create(&PostParams::default(), &wanted).await {
            Ok(_) => {}
            // The cache does not show it yet, or it is somebody else's.
            Err(kube::Error::Api(status)) if status.is_already_exists() => {
                let there = api.get_opt(&name).await.map_err(Error::api("look for the claim of a pod"))?;
                there.map_or(Ok(()), |there| check(&there, &pod))?;
            }
            Err(error) => return Err(Error::api("create the claim of a pod")(error)),
        }
    }
    Ok(Action::await_change())
}

/// A claim that somebody else made is not used: its data are not the pod's.
fn check(claim: &PersistentVolumeClaim, pod: &Pod) -> Result<(), Error> {
    if is_controlled_by(claim, pod) {
        return Ok(());
    }
    let namespace = pod.namespace().unwrap_or_default();
    Err(Error::Object(format!(
        "PVC {namespace}/{} was not created for pod {namespace}/{} (pod is not owner)",
        claim.name_any(),
        pod.name_any()
    )))
}

fn claim_of(pod: &Pod, volume: &Volume, template: &PersistentVolumeClaimTemplate) -> PersistentVolumeClaim {
    let meta = template.metadata.clone().unwrap_or_default();
    PersistentVolumeClaim {
        metadata: ObjectMeta {
            name: Some(format!("{}-{}", pod.name_any(), volume.name)),
            namespace: pod.namespace(),
            labels: meta.labels,
            annotations: meta.annotations,
            owner_references: Some(vec![reference(pod)]),
            ..ObjectMeta::default()
        },
        spec: Some(template.spec.clone()),
        status: None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod() -> Pod {
        let template = json!({
            "metadata": {"labels": {"type": "scratch"}, "annotations": {"a": "b"}},
            "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
        });
        serde_json::from_value(json!({
            "metadata": {"name": "web", "namespace": "n", "uid": "u"},
            "spec": {"containers": [], "volumes": [
                {"name": "own", "persistentVolumeClaim": {"claimName": "data"}},
                {"name": "scratch", "ephemeral": {"volumeClaimTemplate": template}},
            ]},
        }))
        .unwrap()
    }

    #[test]
    fn a_claim_is_its_template_and_the_pods_own() {
        let pod = pod();
        let made: Vec<_> =
            templates(&pod).map(|(volume, template)| claim_of(&pod, volume, template)).collect();
        assert_eq!(
            serde_json::to_value(made).unwrap(),
            json!([{
                "apiVersion": "v1", "kind": "PersistentVolumeClaim",
                "metadata": {
                    "name": "web-scratch", "namespace": "n", "labels": {"type": "scratch"}, "annotations": {"a": "b"},
                    "ownerReferences": [{
                        "apiVersion": "v1", "kind": "Pod", "name": "web", "uid": "u", "controller": true,
                        "blockOwnerDeletion": true,
                    }],
                },
                "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
            }])
        );
    }

    #[test]
    fn a_claim_of_somebody_else_is_not_taken() {
        let mut pod = pod();
        let (volume, template) = templates(&pod).next().unwrap();
        let claim = claim_of(&pod, volume, template);
        assert!(check(&claim, &pod).is_ok());
        pod.metadata.uid = Some("another".to_owned());
        let why = check(&claim, &pod).unwrap_err().to_string();
        assert_eq!(why, "PVC n/web-scratch was not created for pod n/web (pod is not owner)");
    }
}
