//! Pods that keep more on disk than they may (Kubernetes v1.36 `pkg/kubelet/eviction`, `localStorageEviction`).

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Container, Pod, Volume};
use proto::quantity;

use super::usage;
use crate::edged::context::Context;
use crate::edged::pod::{policy, sandbox};
use crate::edged::runtime::PodUid;

const RESOURCE: &str = "ephemeral-storage";

/// What a pod keeps on the node's disk, in bytes.
#[derive(Debug, Default)]
struct Usage {
    /// By volume: those whose content lies on the disk.
    volumes: BTreeMap<String, u64>,
    /// By container: what it has written into its root, and its logs.
    containers: BTreeMap<String, u64>,
}

/// Why this pod has to go, if it keeps more than it may. `layers`: whether what containers write into their root lies on the
/// node's own disk.
pub(super) async fn excess(ctx: &Arc<Context>, pod: &Arc<Pod>, layers: bool) -> Option<String> {
    let mut usage = Usage::default();
    if any_container_limited(pod) {
        usage.containers = written(ctx, pod, layers).await;
    }
    let (of, settings) = (Arc::clone(pod), ctx.settings.clone());
    let looked = tokio::task::spawn_blocking(move || {
        let uid = of.metadata.uid.as_deref().unwrap_or_default();
        let volumes = settings.pod_dir(uid).join("volumes");
        let logs = sandbox::log_directory(&of, &settings);
        for volume in policy::spec(&of).volumes.iter().flatten() {
            if let Some(kind) = kind_on_disk(volume) {
                let dir = volumes.join(format!("kubernetes.io~{kind}")).join(&volume.name);
                usage.volumes.insert(volume.name.clone(), usage::bytes(&dir));
            }
        }
        for (name, used) in &mut usage.containers {
            *used = used.saturating_add(log_bytes(&logs.join(name)));
        }
        verdict(&of, &usage)
    });
    looked.await.ok().flatten()
}

/// By container of the pod: what those that run have written into their root; `layers` as in [`excess`].
async fn written(ctx: &Context, pod: &Pod, layers: bool) -> BTreeMap<String, u64> {
    let uid = PodUid(pod.metadata.uid.clone().unwrap_or_default());
    let containers = ctx.runtime.containers(Some(&uid)).await.unwrap_or_default();
    let sizes = match layers {
        true => ctx.runtime.layers(&uid).await.unwrap_or_else(|error| {
            tracing::warn!("cannot ask what containers have written: {error}");
            BTreeMap::new()
        }),
        false => BTreeMap::new(),
    };
    let mut by_name = BTreeMap::new();
    for container in containers.into_iter().filter(|container| container.running()) {
        let size = sizes.get(&container.id).copied().unwrap_or(0);
        *by_name.entry(container.name).or_default() += size;
    }
    by_name
}

/// Logs of all containers of that name; a link counts as what it leads to, since Docker's logs lie elsewhere.
fn log_bytes(dir: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    let files = std::fs::read_dir(dir).into_iter().flatten().flatten();
    files.filter_map(|file| std::fs::metadata(file.path()).ok()).map(|meta| meta.blocks() * 512).sum()
}

fn kind_on_disk(volume: &Volume) -> Option<&'static str> {
    if let Some(source) = &volume.empty_dir {
        return source.medium.as_deref().unwrap_or_default().is_empty().then_some("empty-dir");
    }
    if volume.config_map.is_some() {
        return Some("configmap");
    }
    volume.downward_api.is_some().then_some("downward-api")
}

/// Whether the pod may not keep as much on disk as it likes.
pub(super) fn is_limited(pod: &Pod) -> bool {
    let volumes = policy::spec(pod).volumes.iter().flatten();
    volumes.filter(|volume| kind_on_disk(volume).is_some()).any(|volume| size_limit(volume).is_some())
        || any_container_limited(pod)
}

fn any_container_limited(pod: &Pod) -> bool {
    policy::spec(pod).containers.iter().any(|container| limit(container).is_some())
}

fn size_limit(volume: &Volume) -> Option<(&str, u64)> {
    positive(&volume.empty_dir.as_ref()?.size_limit.as_ref()?.0)
}

fn limit(container: &Container) -> Option<(&str, u64)> {
    positive(&container.resources.as_ref()?.limits.as_ref()?.get(RESOURCE)?.0)
}

/// A quantity above zero, as it was written and in bytes.
fn positive(text: &str) -> Option<(&str, u64)> {
    let bytes = u64::try_from(quantity::whole(text).ok()?).ok()?;
    (bytes > 0).then_some((text, bytes))
}

/// The kubelet's words for the first limit that is exceeded.
fn verdict(pod: &Pod, usage: &Usage) -> Option<String> {
    let spec = policy::spec(pod);
    for volume in spec.volumes.iter().flatten() {
        let used = usage.volumes.get(&volume.name);
        if let (Some((text, limit)), Some(used)) = (size_limit(volume), used)
            && *used > limit
        {
            return Some(format!("Usage of EmptyDir volume {:?} exceeds the limit {text:?}. ", volume.name));
        }
    }
    let limits: Vec<(&Container, &str, u64)> = spec
        .containers
        .iter()
        .filter_map(|container| limit(container).map(|(text, bytes)| (container, text, bytes)))
        .collect();
    let allowed: u64 = limits.iter().map(|(_, _, bytes)| bytes).sum();
    let used: u64 = usage.containers.values().chain(usage.volumes.values()).sum();
    if !limits.is_empty() && used > allowed {
        let total = match limits.as_slice() {
            [(_, text, _)] => (*text).to_owned(),
            _ => quantity::of_bytes(allowed),
        };
        return Some(format!(
            "Pod ephemeral local storage usage exceeds the total limit of containers {total}. "
        ));
    }
    limits.iter().find_map(|(container, text, bytes)| {
        let used = usage.containers.get(&container.name)?;
        let words =
            || format!("Container {} exceeded its local ephemeral storage limit {text:?}. ", container.name);
        (used > bytes).then(words)
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod() -> Pod {
        let limits = |text: &str| json!({ "limits": { RESOURCE: text } });
        serde_json::from_value(json!({ "spec": {
            "containers": [
                { "name": "a", "resources": limits("1Mi") }, { "name": "b", "resources": limits("2Mi") },
            ],
            "volumes": [{ "name": "x", "emptyDir": { "sizeLimit": "1Mi" } }, { "name": "y", "emptyDir": {} }],
        } }))
        .expect("a pod")
    }

    fn said(volumes: &[(&str, u64)], containers: &[(&str, u64)]) -> Option<String> {
        let map =
            |list: &[(&str, u64)]| list.iter().map(|(name, kib)| ((*name).to_owned(), kib << 10)).collect();
        verdict(&pod(), &Usage { volumes: map(volumes), containers: map(containers) })
    }

    #[test]
    fn the_first_limit_that_is_exceeded_is_named_in_the_kubelets_words() {
        assert_eq!(said(&[("x", 1024), ("y", 1024)], &[("a", 1), ("b", 1)]), None);
        assert_eq!(
            said(&[("x", 1025)], &[]).as_deref(),
            Some("Usage of EmptyDir volume \"x\" exceeds the limit \"1Mi\". ")
        );
        assert_eq!(
            said(&[("y", 2000)], &[("a", 1000), ("b", 1000)]).as_deref(),
            Some("Pod ephemeral local storage usage exceeds the total limit of containers 3Mi. ")
        );
        assert_eq!(
            said(&[], &[("a", 1025), ("b", 1000)]).as_deref(),
            Some("Container a exceeded its local ephemeral storage limit \"1Mi\". ")
        );
    }

    #[test]
    fn a_pod_without_limits_is_not_measured() {
        assert!(is_limited(&pod()));
        let free = json!({ "spec": { "containers": [{ "name": "a" }], "volumes": [{ "name": "y", "emptyDir": {} }] } });
        assert!(!is_limited(&serde_json::from_value(free).expect("a pod")));
    }
}
