//! Endpoints by themselves: those that somebody wrote for a service without selector get slices that say the same, and those whose
//! service is gone go.

use std::collections::{BTreeMap, HashSet};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use k8s_openapi::api::core::v1::{EndpointAddress, EndpointSubset, Endpoints, Service};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointConditions, EndpointPort, EndpointSlice};
use kube::runtime::Controller;
use kube::runtime::controller::Action;
use kube::runtime::reflector::ObjectRef;
use kube::{Api, ResourceExt};
use tasks::TaskSet;

use super::dress::{self, ENDPOINTS_CONTROLLER, ENDPOINTS_MANAGED_BY, MIRRORING_CONTROLLER};
use super::packing::{Group, Plan};
use super::write::{self, Dress};
use super::{MANAGED_BY, SERVICE_NAME, pod};
use crate::cache::is_going;
use crate::context::Context;
use crate::error::Error;
use crate::events::Recorder;
use crate::pods::control::this_one;
use crate::run::run;
use crate::writes::{SOON, Writes};

/// Label of Endpoints that are not to be mirrored.
const SKIP: &str = "endpointslice.kubernetes.io/skip-mirror";
/// Annotation of Endpoints that are a lock of old programs and not addresses.
const LEADER: &str = "control-plane.alpha.kubernetes.io/leader";
/// More addresses of a subset than this are left out (Kubernetes: `--mirroring-max-endpoints-per-subset`).
const MOST: usize = 1000;

#[derive(Clone)]
struct Shell {
    context: Context,
    slices: Arc<Writes>,
    recorder: Recorder,
    /// Endpoints whose service was just seen to go, so that they go with it, whoever wrote them.
    bereft: Arc<Mutex<HashSet<ObjectRef<Endpoints>>>>,
}

pub(super) fn start(context: &Context, tasks: &TaskSet) {
    let shell = Shell {
        context: context.clone(),
        slices: Arc::default(),
        recorder: context.recorder("endpoint-slice-mirroring-controller"),
        bereft: Arc::default(),
    };
    let (caches, bereft) = (Arc::clone(&context.caches), Arc::clone(&shell.bereft));
    let controller = move || {
        let (of_services, bereft) = (Arc::clone(&caches), Arc::clone(&bereft));
        Controller::for_shared_stream(caches.endpoints.changes(), caches.endpoints.store())
            .watches_shared_stream(caches.services.changes(), move |service| {
                let (namespace, name) = (service.namespace().unwrap_or_default(), service.name_any());
                of_services.endpoints.get(&namespace, &name)?;
                let endpoints = ObjectRef::new(&name).within(&namespace);
                if of_services.services.get(&namespace, &name).is_none() {
                    bereft.lock().unwrap_or_else(PoisonError::into_inner).insert(endpoints.clone());
                }
                Some(endpoints)
            })
            .watches_shared_stream(caches.endpoint_slices.changes(), |slice| {
                let ours = slice.labels().get(MANAGED_BY).is_some_and(|by| by == MIRRORING_CONTROLLER);
                let name = slice.labels().get(SERVICE_NAME).filter(|_| ours)?;
                Some(ObjectRef::new(name).within(&slice.namespace().unwrap_or_default()))
            })
    };
    run("mirrored endpoints", tasks, controller, move |endpoints| reconcile(shell.clone(), endpoints));
}

async fn reconcile(shell: Shell, endpoints: Arc<Endpoints>) -> Result<Action, Error> {
    let caches = &shell.context.caches;
    caches.services.ready().await;
    caches.endpoint_slices.ready().await;
    if !shell.slices.are_seen(&*endpoints, &caches.endpoint_slices) {
        return Ok(Action::requeue(SOON));
    }
    let (namespace, name) = (endpoints.namespace().unwrap_or_default(), endpoints.name_any());
    let was_bereft = {
        let mut bereft = shell.bereft.lock().unwrap_or_else(PoisonError::into_inner);
        bereft.remove(&ObjectRef::from_obj(&*endpoints))
    };
    let Some(endpoints) = caches.endpoints.get(&namespace, &name).filter(|there| !is_going(&**there)) else {
        return Ok(Action::await_change());
    };
    let service = caches.services.get(&namespace, &name);
    let managed = endpoints.labels().get(ENDPOINTS_MANAGED_BY).is_some_and(|by| by == ENDPOINTS_CONTROLLER);
    let bereft = was_bereft && !is_skipped(&endpoints) && !is_lock(&endpoints);
    if service.is_none() && (managed || bereft) {
        let api = Api::<Endpoints>::namespaced(shell.context.client.clone(), &namespace);
        return match api.delete(&name, &this_one(&*endpoints)).await {
            Ok(_) => Ok(Action::await_change()),
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(Action::await_change()),
            Err(error) => Err(Error::api("delete endpoints")(error)),
        };
    }
    let groups =
        if is_mirrored(&endpoints, service.as_deref()) { shell.groups(&endpoints) } else { Vec::new() };
    let (labels, annotations) = dress::of_mirrors(&endpoints);
    let ours = |slice: &EndpointSlice| {
        [MANAGED_BY, SERVICE_NAME].iter().all(|key| slice.labels().get(*key) == labels.get(*key))
            && !is_going(slice)
    };
    let existing = caches.endpoint_slices.within(&namespace, ours);
    let dress = Dress { labels, annotations, trigger: None };
    let mut plan = Plan::new(&existing, groups, MOST, |slice| dress.is_worn_by(slice));
    plan.recycle();
    write::carry_out(&shell.context.client, &*endpoints, plan, &dress, &shell.slices).await?;
    Ok(Action::await_change())
}

impl Shell {
    fn groups(&self, endpoints: &Endpoints) -> Vec<Group> {
        let (groups, left_out) = groups(endpoints.subsets.as_deref().unwrap_or_default());
        if left_out > 0 {
            let message = format!(
                "A max of {MOST} addresses can be mirrored to EndpointSlices per Endpoints subset. {left_out} addresses were skipped"
            );
            self.recorder.warning(endpoints, "TooManyAddressesToMirror", message);
        }
        groups
    }
}

fn is_lock(endpoints: &Endpoints) -> bool {
    endpoints.annotations().contains_key(LEADER)
}

/// Whoever wrote them looks after the slices as well, as the API does for its own.
fn is_skipped(endpoints: &Endpoints) -> bool {
    endpoints.labels().get(SKIP).is_some_and(|skip| skip == "true")
}

fn is_mirrored(endpoints: &Endpoints, service: Option<&Service>) -> bool {
    let selector = |service: &Service| service.spec.as_ref()?.selector.clone().filter(|all| !all.is_empty());
    service.is_some_and(|service| selector(service).is_none())
        && !is_skipped(endpoints)
        && !is_lock(endpoints)
}

/// What slices have to say, and how many addresses were too many. What is no address is left out.
fn groups(subsets: &[EndpointSubset]) -> (Vec<Group>, usize) {
    let (mut groups, mut left_out) = (Vec::<Group>::new(), 0);
    for subset in subsets {
        let ports: Vec<EndpointPort> = subset.ports.iter().flatten().map(port).collect();
        let ready = subset.addresses.iter().flatten().map(|address| (address, true));
        let others = subset.not_ready_addresses.iter().flatten().map(|address| (address, false));
        let all: Vec<_> =
            ready.chain(others).filter_map(|(address, ready)| endpoint(address, ready)).collect();
        left_out += all.len().saturating_sub(MOST);
        let mut by_family = BTreeMap::<&str, Vec<Endpoint>>::new();
        for (family, endpoint) in all.into_iter().take(MOST) {
            by_family.entry(family).or_default().push(endpoint);
        }
        for (family, endpoints) in by_family {
            let same = |group: &&mut Group| group.address_type == family && group.ports == ports;
            match groups.iter_mut().find(same) {
                Some(group) => group.endpoints.extend(endpoints),
                None => {
                    groups.push(Group { address_type: family.to_owned(), ports: ports.clone(), endpoints })
                }
            }
        }
    }
    (groups, left_out)
}

fn port(port: &k8s_openapi::api::core::v1::EndpointPort) -> EndpointPort {
    EndpointPort {
        name: Some(port.name.clone().unwrap_or_default()),
        port: Some(port.port),
        protocol: Some(pod::protocol(port.protocol.as_deref()).to_owned()),
        app_protocol: port.app_protocol.clone(),
    }
}

fn endpoint(address: &EndpointAddress, ready: bool) -> Option<(&'static str, Endpoint)> {
    let ip: IpAddr = address.ip.parse().ok()?;
    let family = if ip.is_ipv6() { "IPv6" } else { "IPv4" };
    let mut target_ref = address.target_ref.clone();
    if let Some(target) = &mut target_ref {
        target.resource_version = None;
    }
    let endpoint = Endpoint {
        addresses: vec![ip.to_string()],
        conditions: Some(EndpointConditions { ready: Some(ready), ..EndpointConditions::default() }),
        hostname: address.hostname.clone().filter(|name| !name.is_empty()),
        node_name: address.node_name.clone(),
        target_ref,
        ..Endpoint::default()
    };
    Some((family, endpoint))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn service(spec: Value) -> Service {
        serde_json::from_value(json!({"metadata": {"name": "web"}, "spec": spec})).unwrap()
    }

    #[test]
    fn only_what_is_written_for_a_service_without_selector_is_mirrored() {
        let endpoints = |labels: Value, annotations: Value| -> Endpoints {
            serde_json::from_value(json!({"metadata": {"labels": labels, "annotations": annotations}}))
                .unwrap()
        };
        let (bare, with) = (service(json!({})), service(json!({"selector": {"app": "a"}})));
        let plain = endpoints(json!({}), json!({}));
        assert!(is_mirrored(&plain, Some(&bare)));
        assert!(!is_mirrored(&plain, Some(&with)));
        assert!(!is_mirrored(&plain, None));
        assert!(!is_mirrored(&endpoints(json!({SKIP: "true"}), json!({})), Some(&bare)));
        assert!(!is_mirrored(&endpoints(json!({}), json!({LEADER: "{}"})), Some(&bare)));
    }

    #[test]
    fn families_are_apart_and_what_is_no_address_is_left_out() {
        let subsets: Vec<EndpointSubset> = serde_json::from_value(json!([{
            "addresses": [{"ip": "10.0.0.1"}, {"ip": "fd00::1", "nodeName": "n"}, {"ip": "nowhere"}],
            "notReadyAddresses": [{"ip": "10.0.0.2"}],
            "ports": [{"port": 80}],
        }]))
        .unwrap();
        let (groups, left_out) = groups(&subsets);
        let seen: Vec<_> = groups.iter().map(|group| (&*group.address_type, group.endpoints.len())).collect();
        assert_eq!((seen, left_out), (vec![("IPv4", 2), ("IPv6", 1)], 0));
        let ready = |index: usize| groups[0].endpoints[index].conditions.as_ref().unwrap().ready;
        assert_eq!((ready(0), ready(1)), (Some(true), Some(false)));
    }

    #[test]
    fn more_than_a_thousand_addresses_of_a_subset_are_counted_and_left_out() {
        let addresses: Vec<Value> =
            (0..1003).map(|n| json!({"ip": format!("10.0.{}.{}", n / 200, n % 200)})).collect();
        let subsets: Vec<EndpointSubset> =
            serde_json::from_value(json!([{"addresses": addresses, "ports": [{"port": 80}]}])).unwrap();
        let (groups, left_out) = groups(&subsets);
        assert_eq!((groups[0].endpoints.len(), left_out), (1000, 3));
    }
}
