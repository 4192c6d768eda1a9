//! Owns pods that need no API: one for each manifest in a folder on the node, and their mirrors in the API, through which users see
//! them.
//!
//! May call: the store, and through it the cloud. Called by edged, once; the manager runs what `StaticPods` holds like any other
//! pod. Names, annotations and rules are the kubelet's (Kubernetes v1.32 `pkg/kubelet/config`, `pkg/kubelet/pod/mirror_client.go`).

mod folder;
mod manifest;
mod mirror;

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;
use tasks::{Restart, TaskSet};
use tokio::sync::watch;

use super::config::Settings;
use super::context::Context;

/// Annotation of a mirror: the hash of the pod that it mirrors.
const MIRROR: &str = "kubernetes.io/config.mirror";
/// Annotation: the hash of the manifest.
const HASH: &str = "kubernetes.io/config.hash";
/// Annotation: `file` for pods from a folder.
const SOURCE: &str = "kubernetes.io/config.source";

/// The pods of the folder, by uid.
pub(super) type StaticPods = Arc<BTreeMap<String, Arc<Pod>>>;

/// Whether an object in the API only shows a pod that a node has of its own.
pub(super) fn is_mirror(pod: &Pod) -> bool {
    pod.metadata.annotations.as_ref().is_some_and(|all| all.contains_key(MIRROR))
}

/// Whether the pod comes from the folder.
pub(super) fn is_static(pod: &Pod) -> bool {
    let source = pod.metadata.annotations.as_ref().and_then(|all| all.get(SOURCE));
    source.is_some_and(|source| source == "file") && !is_mirror(pod)
}

/// Reads the folder, now and again and again on `tasks`, and keeps the mirrors. Without a folder there is nothing to do.
pub(super) fn start(ctx: &Arc<Context>, settings: &Settings, tasks: &TaskSet) -> watch::Receiver<StaticPods> {
    let Some(dir) = settings.static_pods.clone() else { return watch::channel(StaticPods::default()).1 };
    let mut folder = folder::Folder::new(dir, settings.node_name.clone());
    let pods = watch::Sender::new(folder.read());
    let receiver = pods.subscribe();
    let (folder, every) = (Arc::new(tokio::sync::Mutex::new(folder)), settings.static_pods_every);
    tasks.spawn("static-pods", Restart::on_failure(), move |token| {
        let (folder, pods) = (Arc::clone(&folder), pods.clone());
        async move {
            let watch = async {
                loop {
                    tokio::time::sleep(every).await;
                    let mut folder = Arc::clone(&folder).lock_owned().await;
                    let Ok(found) = tokio::task::spawn_blocking(move || folder.read()).await else {
                        continue;
                    };
                    pods.send_if_modified(|known| {
                        let differs = !known.keys().eq(found.keys());
                        if differs {
                            *known = found;
                        }
                        differs
                    });
                }
            };
            token.run_until_cancelled(watch).await;
            Ok::<(), Infallible>(())
        }
    });
    let (ctx, known) = (Arc::clone(ctx), receiver.clone());
    tasks.spawn("mirrors", Restart::on_failure(), move |token| {
        let mut mirrors = mirror::Mirrors::new(Arc::clone(&ctx), known.clone());
        async move {
            token.run_until_cancelled(Box::pin(mirrors.run())).await;
            Ok::<(), Infallible>(())
        }
    });
    receiver
}
