//! Services with a selector: their Endpoints and their slices follow the pods.

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{EndpointSubset, Endpoints, Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::{ObjectMeta, Patch, PatchParams, PostParams};
use kube::runtime::Controller;
use kube::runtime::controller::Action;
use kube::runtime::reflector::ObjectRef;
use kube::{Api, ResourceExt};
use serde_json::json;
use tasks::TaskSet;

use super::dress::{self, SLICES_CONTROLLER, Texts};
use super::membership::{Membership, selector, selects};
use super::slices::{self, Member};
use super::subsets::{self, Subsets};
use super::trigger::Triggers;
use super::write::{self, Dress};
use super::{MANAGED_BY, SERVICE_NAME, TRIGGER, pod};
use crate::cache::{is_going, uid_of};
use crate::context::Context;
use crate::error::Error;
use crate::events::Recorder;
use crate::pods::control::is_namespace_going;
use crate::run::run;
use crate::writes::{SOON, Writes};

/// Annotation of Endpoints that could not hold all addresses.
const OVER_CAPACITY: &str = "endpoints.kubernetes.io/over-capacity";

#[derive(Clone)]
struct Shell {
    context: Context,
    triggers: Arc<Triggers>,
    endpoints: Arc<Writes>,
    slices: Arc<Writes>,
    of_endpoints: Recorder,
    of_slices: Recorder,
}

pub(super) fn start(context: &Context, tasks: &TaskSet) {
    let shell = Shell {
        context: context.clone(),
        triggers: Arc::default(),
        endpoints: Arc::default(),
        slices: Arc::default(),
        of_endpoints: context.recorder("endpoint-controller"),
        of_slices: context.recorder("endpoint-slice-controller"),
    };
    let (caches, triggers) = (Arc::clone(&context.caches), Arc::clone(&shell.triggers));
    let controller = move || {
        let (pods, services, there) = (caches.pods.clone(), caches.services.clone(), caches.services.clone());
        let (membership, triggers) = (Membership::default(), Arc::clone(&triggers));
        Controller::for_shared_stream(caches.services.changes(), caches.services.store())
            .watches_shared_stream(caches.pods.changes(), move |pod| {
                membership.changed(&pod, &pods, &services)
            })
            .watches_shared_stream(caches.services.changes(), move |service| {
                if there.get(&service.namespace().unwrap_or_default(), &service.name_any()).is_none() {
                    triggers.forget(&ObjectRef::from_obj(&*service));
                }
                None
            })
            .watches_shared_stream(caches.endpoints.changes(), |endpoints| Some(namesake(&endpoints)))
            .watches_shared_stream(caches.endpoint_slices.changes(), |slice| {
                let ours = slice.labels().get(MANAGED_BY).is_some_and(|by| by == SLICES_CONTROLLER);
                let name = slice.labels().get(SERVICE_NAME).filter(|_| ours)?;
                Some(ObjectRef::new(name).within(&slice.namespace().unwrap_or_default()))
            })
    };
    run("endpoints", tasks, controller, move |service| reconcile(shell.clone(), service));
}

fn namesake(endpoints: &Endpoints) -> ObjectRef<Service> {
    ObjectRef::new(&endpoints.name_any()).within(&endpoints.namespace().unwrap_or_default())
}

async fn reconcile(shell: Shell, service: Arc<Service>) -> Result<Action, Error> {
    let caches = &shell.context.caches;
    caches.pods.ready().await;
    caches.nodes.ready().await;
    caches.endpoints.ready().await;
    caches.endpoint_slices.ready().await;
    if !shell.endpoints.are_seen(&*service, &caches.endpoints)
        || !shell.slices.are_seen(&*service, &caches.endpoint_slices)
    {
        return Ok(Action::requeue(SOON));
    }
    let namespace = service.namespace().unwrap_or_default();
    let Some(service) = caches.services.get(&namespace, &service.name_any()) else {
        return Ok(Action::await_change());
    };
    if selector(&service).is_none() || is_going(&*service) {
        return Ok(Action::await_change());
    }
    let pods = caches.pods.glance(Some(&namespace), |pod| selects(&service, &pod.labels));
    let trigger = shell.triggers.changed(&service, pods.iter().map(|pod| &**pod));
    if let Err(error) = shell.write_endpoints(&service, &pods, trigger).await {
        if !error.is_race() {
            let name = service.name_any();
            let message = format!("Failed to update endpoint {namespace}/{name}: {}", error.said());
            shell.of_endpoints.warning(&*service, "FailedToUpdateEndpoint", message);
        }
        return Err(error);
    }
    let node = |pod: &Pod| caches.nodes.named(pod::node_name(pod)?);
    let members: Vec<Member> = pods.into_iter().map(|pod| (Arc::clone(&pod), node(&pod))).collect();
    if let Err(error) = shell.write_slices(&service, &members, trigger).await {
        if !error.is_race() {
            let name = service.name_any();
            let message =
                format!("Error updating Endpoint Slices for Service {namespace}/{name}: {}", error.said());
            shell.of_slices.warning(&*service, "FailedToUpdateEndpointSlices", message);
        }
        return Err(error);
    }
    let waiting = members.iter().any(|member| slices::waits_for_node(&service, member));
    Ok(if waiting { Action::requeue(SOON) } else { Action::await_change() })
}

impl Shell {
    async fn write_endpoints(
        &self,
        service: &Service,
        pods: &[Arc<Pod>],
        trigger: Option<Timestamp>,
    ) -> Result<(), Error> {
        let (namespace, name) = (service.namespace().unwrap_or_default(), service.name_any());
        let found = subsets::subsets(service, pods.iter().map(|pod| &**pod));
        let labels = dress::of_endpoints(service);
        let api = Api::<Endpoints>::namespaced(self.context.client.clone(), &namespace);
        let Some(there) = self.context.caches.endpoints.get(&namespace, &name) else {
            return match api.create(&PostParams::default(), &endpoints(name, found, labels, trigger)).await {
                Ok(made) => {
                    self.endpoints.wrote(service, &made);
                    Ok(())
                }
                Err(error) if is_namespace_going(&error) => Ok(()),
                Err(error) => Err(Error::api("create endpoints")(error)),
            };
        };
        let truncated = there.annotations().contains_key(OVER_CAPACITY);
        if same(&there, &found.subsets) && there.labels() == &labels && truncated == found.truncated {
            return Ok(());
        }
        let annotations = json!({
            TRIGGER: trigger.map(|at| at.to_string()),
            OVER_CAPACITY: found.truncated.then_some("truncated"),
        });
        let subsets = (!found.subsets.is_empty()).then_some(found.subsets);
        let patch = json!({"metadata": dress::change(&*there, &labels, &annotations), "subsets": subsets});
        let written = api.patch(&name, &PatchParams::default(), &Patch::Merge(patch)).await;
        self.endpoints.wrote(service, &written.map_err(Error::api("update endpoints"))?);
        Ok(())
    }

    async fn write_slices(
        &self,
        service: &Service,
        members: &[Member],
        trigger: Option<Timestamp>,
    ) -> Result<(), Error> {
        let namespace = service.namespace().unwrap_or_default();
        let labels = dress::of_slices(service);
        let ours = |slice: &EndpointSlice| {
            [MANAGED_BY, SERVICE_NAME].iter().all(|key| slice.labels().get(*key) == labels.get(*key))
                && !is_going(slice)
        };
        let owned =
            |slice: &EndpointSlice| slice.owner_references().iter().any(|owner| owner.uid == uid_of(service));
        let (existing, foreign): (Vec<_>, Vec<_>) = self
            .context
            .caches
            .endpoint_slices
            .within(&namespace, ours)
            .into_iter()
            .partition(|slice| owned(slice));
        let dress = Dress { labels, annotations: Texts::new(), trigger };
        let mut plan = slices::plan(service, members, &existing, |slice| dress.is_worn_by(slice));
        plan.delete.extend(foreign);
        write::carry_out(&self.context.client, service, plan, &dress, &self.slices).await
    }
}

fn endpoints(name: String, found: Subsets, labels: Texts, trigger: Option<Timestamp>) -> Endpoints {
    let mut annotations = Texts::new();
    annotations.extend(trigger.map(|at| (TRIGGER.to_owned(), at.to_string())));
    annotations.extend(found.truncated.then(|| (OVER_CAPACITY.to_owned(), "truncated".to_owned())));
    Endpoints {
        metadata: ObjectMeta {
            name: Some(name),
            labels: Some(labels),
            annotations: Some(annotations).filter(|all| !all.is_empty()),
            ..ObjectMeta::default()
        },
        subsets: Some(found.subsets).filter(|all| !all.is_empty()),
    }
}

/// Whether nothing changed but the version of the targets.
fn same(there: &Endpoints, wanted: &[EndpointSubset]) -> bool {
    let mut there = there.subsets.clone().unwrap_or_default();
    let lists = there.iter_mut().flat_map(|subset| [&mut subset.addresses, &mut subset.not_ready_addresses]);
    for target in lists.flatten().flatten().filter_map(|address| address.target_ref.as_mut()) {
        target.resource_version = None;
    }
    there == wanted
}
