//! Who owns a pod: adopting orphans that fit, releasing those that no longer do.
//!
//! For every controller that owns by a selector; works for pods as well as for other kinds, such as the ReplicaSets of a
//! Deployment. Source: Kubernetes v1.36 `pkg/controller/controller_ref_manager.go`.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::{Patch, PatchParams};
use kube::core::{Selector, SelectorExt};
use kube::runtime::reflector::ObjectRef;
use kube::{Api, Client, Resource, ResourceExt};
use serde_json::json;

use crate::cache::{Cache, Cached, Changes, Pods, Shelf, is_going, uid_of};
use crate::error::Error;

/// The reference by which `owner` controls an object.
pub(crate) fn reference<O: Resource<DynamicType = ()>>(owner: &O) -> OwnerReference {
    OwnerReference {
        api_version: O::api_version(&()).into_owned(),
        kind: O::kind(&()).into_owned(),
        name: owner.name_any(),
        uid: uid_of(owner),
        controller: Some(true),
        block_owner_deletion: Some(true),
    }
}

/// The reference to the controller of an object.
pub(crate) fn controller_of<K: Resource>(object: &K) -> Option<&OwnerReference> {
    object.owner_references().iter().find(|owner| owner.controller == Some(true))
}

/// Whether `owner` controls `object`.
pub(crate) fn is_controlled_by<K: Resource, O: Resource>(object: &K, owner: &O) -> bool {
    controller_of(object).is_some_and(|reference| reference.uid == uid_of(owner))
}

/// What is to be done about an object that a selector's owner sees.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Verdict {
    Keep,
    Adopt,
    Release,
    Ignore,
}

fn verdict<O: Resource, K: Resource>(owner: &O, selector: &Selector, object: &K) -> Verdict {
    let fits = selector.matches(object.labels());
    match controller_of(object) {
        Some(reference) if reference.uid != uid_of(owner) => Verdict::Ignore,
        Some(_) if fits => Verdict::Keep,
        Some(_) if is_going(owner) => Verdict::Ignore,
        Some(_) => Verdict::Release,
        None if fits && !is_going(object) && !is_going(owner) => Verdict::Adopt,
        None => Verdict::Ignore,
    }
}

/// Those of `owners` that may adopt `object`, because nobody controls it and their selector fits.
pub(crate) fn suitors<O, K>(
    owners: &Cache<O>,
    object: &K,
    selector: impl Fn(&O) -> Option<LabelSelector>,
) -> Vec<ObjectRef<O>>
where
    O: Cached + Resource<Scope = NamespaceResourceScope>,
    K: Resource,
{
    if controller_of(object).is_some() {
        return Vec::new();
    }
    let found = selecting(owners, &object.namespace().unwrap_or_default(), object.labels(), selector);
    found.iter().map(|owner| ObjectRef::from_obj(&**owner)).collect()
}

/// The changes of pods that nobody controls and that one of `owners` may adopt: those for which there are [`suitors`].
pub(crate) fn orphans<O: Cached>(
    pods: &Pods,
    owners: &Cache<O>,
    selector: impl Fn(&O) -> Option<LabelSelector> + Copy + Send + Sync + 'static,
) -> Changes<Pod> {
    let owners = owners.clone();
    pods.changes_of(move |id, pod| {
        !pod.is_controlled && !selecting(&owners, &id.namespace, &pod.labels, selector).is_empty()
    })
}

fn selecting<O: Cached>(
    owners: &Cache<O>,
    namespace: &str,
    labels: &BTreeMap<String, String>,
    selector: impl Fn(&O) -> Option<LabelSelector>,
) -> Vec<Arc<O>> {
    let fits = |owner: &O| {
        let selector = selector(owner).map(Selector::try_from);
        selector.is_some_and(|selector| selector.is_ok_and(|selector| selector.matches(labels)))
    };
    owners.within(namespace, fits)
}

/// What of `cache` the owner of `selector` controls from now on; see [`claim`].
///
/// # Errors
/// Those of [`claim`], and a selector that cannot be read.
pub(crate) async fn claim_from<O, K, S>(
    client: &Client,
    owner: &O,
    selector: Option<&LabelSelector>,
    cache: &Cache<K, S>,
) -> Result<Vec<Arc<K>>, Error>
where
    O: Cached + Resource<Scope = NamespaceResourceScope>,
    K: Cached + Resource<Scope = NamespaceResourceScope>,
    S: Shelf<K>,
{
    let selector = selector.cloned().unwrap_or_default();
    let selector =
        Selector::try_from(selector).map_err(|error| Error::Object(format!("spec.selector: {error}")))?;
    let mut candidates = cache.controlled_by(owner);
    candidates.extend(cache.orphans(&owner.namespace().unwrap_or_default()));
    claim(client, owner, &selector, candidates).await
}

/// Those of `candidates`, which are of the owner's namespace, that `owner` controls from now on. Orphans that fit are adopted,
/// after a look at the API whether the owner is still there; those that do not fit any more are released.
///
/// # Errors
/// If the API refuses for another reason than that the object is gone.
pub(crate) async fn claim<O, K>(
    client: &Client,
    owner: &O,
    selector: &Selector,
    candidates: Vec<Arc<K>>,
) -> Result<Vec<Arc<K>>, Error>
where
    O: Cached + Resource<Scope = NamespaceResourceScope>,
    K: Cached + Resource<Scope = NamespaceResourceScope>,
{
    let namespace = owner.namespace().unwrap_or_default();
    let api = Api::<K>::namespaced(client.clone(), &namespace);
    let (mut mine, mut owner_is_there) = (Vec::new(), None);
    for object in candidates {
        match verdict(owner, selector, &*object) {
            Verdict::Keep => mine.push(object),
            Verdict::Ignore => {}
            Verdict::Release => {
                let uid = uid_of(&*object);
                let patch = json!({"metadata": {
                    "uid": uid,
                    "ownerReferences": [{"$patch": "delete", "uid": uid_of(owner)}],
                }});
                change(&api, &*object, patch, "release an object").await?;
            }
            Verdict::Adopt => {
                if owner_is_there.is_none() {
                    owner_is_there = Some(is_there(client, owner).await?);
                }
                if owner_is_there != Some(true) {
                    continue;
                }
                let patch = json!({"metadata": {
                    "uid": uid_of(&*object),
                    "ownerReferences": [reference(owner)],
                }});
                if let Some(adopted) = change(&api, &*object, patch, "adopt an object").await? {
                    mine.push(Arc::new(adopted));
                }
            }
        }
    }
    Ok(mine)
}

async fn is_there<O>(client: &Client, owner: &O) -> Result<bool, Error>
where
    O: Cached + Resource<Scope = NamespaceResourceScope>,
{
    let api = Api::<O>::namespaced(client.clone(), &owner.namespace().unwrap_or_default());
    let fresh =
        api.get_opt(&owner.name_any()).await.map_err(Error::api("look whether the owner is there"))?;
    Ok(fresh.is_some_and(|fresh| uid_of(&fresh) == uid_of(owner) && !is_going(&fresh)))
}

/// Patches an object; nothing if it is gone, or if its place was taken by a namesake.
async fn change<K: Cached>(
    api: &Api<K>,
    object: &K,
    patch: serde_json::Value,
    doing: &'static str,
) -> Result<Option<K>, Error> {
    match api.patch(&object.name_any(), &PatchParams::default(), &Patch::Strategic(patch)).await {
        Ok(changed) => Ok(Some(changed)),
        Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409 | 422) => {
            tracing::debug!(
                object = object.name_any(),
                reason = status.reason,
                "an object went before it could be claimed"
            );
            Ok(None)
        }
        Err(error) => Err(Error::api(doing)(error)),
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::apps::v1::ReplicaSet;
    use k8s_openapi::api::core::v1::Pod;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
    use kube::core::Expression;

    use super::*;

    fn owner(uid: &str) -> ReplicaSet {
        let mut owner = ReplicaSet::default();
        owner.metadata.uid = Some(uid.to_owned());
        owner
    }

    fn pod(app: &str, controller: Option<&ReplicaSet>) -> Pod {
        let mut pod = Pod::default();
        pod.metadata.labels = Some([("app".to_owned(), app.to_owned())].into());
        pod.metadata.owner_references = controller.map(|owner| vec![reference(owner)]);
        pod
    }

    #[test]
    fn owners_keep_adopt_and_release_by_their_selector_and_never_take_from_each_other() {
        let (mine, other) = (owner("1"), owner("2"));
        let mut going = owner("1");
        going.metadata.deletion_timestamp = Some(Time(jiff::Timestamp::UNIX_EPOCH));
        let selector: Selector = Expression::Equal("app".into(), "web".into()).into();
        let says = |owner, pod| verdict(owner, &selector, &pod);
        assert_eq!(says(&mine, pod("web", Some(&mine))), Verdict::Keep);
        assert_eq!(says(&mine, pod("db", Some(&mine))), Verdict::Release);
        assert_eq!(says(&going, pod("db", Some(&mine))), Verdict::Ignore);
        assert_eq!(says(&mine, pod("web", Some(&other))), Verdict::Ignore);
        assert_eq!(says(&mine, pod("web", None)), Verdict::Adopt);
        assert_eq!(says(&going, pod("web", None)), Verdict::Ignore);
        assert_eq!(says(&mine, pod("db", None)), Verdict::Ignore);
    }
}
