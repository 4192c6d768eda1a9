//! Which services a change of a pod is of interest to: those that it is in, and those that it was in.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};

use k8s_openapi::api::core::v1::{Pod, Service};
use kube::ResourceExt;
use kube::runtime::reflector::ObjectRef;

use super::pod;
use crate::cache::{Cache, Labels, Pods, is_going, uid_of};
use crate::pods::{is_finished, is_ready};

/// What services tell of each pod, as it was last seen, by uid. As many as there are pods.
#[derive(Default)]
pub(super) struct Membership(Mutex<HashMap<String, View>>);

#[derive(Clone, Debug, PartialEq)]
struct View {
    labels: Labels,
    name: (Option<String>, Option<String>),
    node: Option<String>,
    addresses: Vec<IpAddr>,
    is_ready: bool,
    is_finished: bool,
    is_going: bool,
}

impl View {
    fn of(pod: &Pod, labels: Labels) -> Self {
        let spec = pod.spec.as_ref();
        Self {
            labels,
            name: spec.map(|spec| (spec.hostname.clone(), spec.subdomain.clone())).unwrap_or_default(),
            node: pod::node_name(pod).map(str::to_owned),
            addresses: pod::addresses(pod).collect(),
            is_ready: is_ready(pod),
            is_finished: is_finished(pod),
            is_going: is_going(pod),
        }
    }
}

impl Membership {
    /// The services that have to look at `pod`, which changed or went.
    pub(super) fn changed(
        &self,
        pod: &Pod,
        pods: &Pods,
        services: &Cache<Service>,
    ) -> Vec<ObjectRef<Service>> {
        let namespace = pod.namespace().unwrap_or_default();
        let is_gone =
            pods.get(&namespace, &pod.name_any()).is_none_or(|there| uid_of(&*there) != uid_of(pod));
        let shared = pods.labels(&namespace, &pod.name_any()).filter(|labels| **labels == *pod.labels());
        let labels = shared.unwrap_or_else(|| pod.labels().clone().into());
        let Some(labels) = self.labels_to_match(pod, labels, is_gone) else { return Vec::new() };
        let fits = |service: &Service| labels.iter().any(|labels| selects(service, labels));
        services.within(&namespace, fits).iter().map(|service| ObjectRef::from_obj(&**service)).collect()
    }

    /// The labels by which services are to be found, now and before; nothing if the change is of no interest.
    fn labels_to_match(&self, pod: &Pod, labels: Labels, is_gone: bool) -> Option<Vec<Labels>> {
        let now = View::of(pod, labels);
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let before = if is_gone { seen.remove(&uid_of(pod)) } else { seen.insert(uid_of(pod), now.clone()) };
        if !is_gone && before.as_ref() == Some(&now) {
            return None;
        }
        let old = before.map(|before| before.labels).filter(|labels| *labels != now.labels);
        Some([now.labels].into_iter().chain(old).collect())
    }
}

/// Whether a service's selector fits. One without selector, or with an external name, selects nothing.
pub(super) fn selects(service: &Service, labels: &BTreeMap<String, String>) -> bool {
    let Some(selector) = selector(service) else { return false };
    selector.iter().all(|(key, value)| labels.get(key) == Some(value))
}

/// What pods must have; nothing where somebody else writes the Endpoints, or nobody.
pub(super) fn selector(service: &Service) -> Option<&BTreeMap<String, String>> {
    let spec = service.spec.as_ref()?;
    let external = spec.type_.as_deref() == Some("ExternalName");
    spec.selector.as_ref().filter(|selector| !external && !selector.is_empty())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod(app: &str, ready: &str, version: &str) -> Pod {
        serde_json::from_value(json!({
            "metadata": {"name": "p", "uid": "u", "resourceVersion": version, "labels": {"app": app}},
            "status": {"podIP": "10.0.0.1", "conditions": [{"type": "Ready", "status": ready}]},
        }))
        .unwrap()
    }

    #[test]
    fn a_pod_that_moves_tells_both_and_one_that_changed_elsewhere_tells_nobody() {
        let seen = Membership::default();
        let apps = |pod: &Pod, gone| {
            let found = seen.labels_to_match(pod, pod.labels().clone().into(), gone);
            found.map(|all| all.into_iter().map(|labels| labels["app"].clone()).collect::<Vec<_>>())
        };
        assert_eq!(apps(&pod("a", "True", "1"), false), Some(vec!["a".to_owned()]));
        assert_eq!(apps(&pod("a", "True", "2"), false), None);
        assert_eq!(apps(&pod("a", "False", "3"), false), Some(vec!["a".to_owned()]));
        assert_eq!(apps(&pod("b", "False", "4"), false), Some(vec!["b".to_owned(), "a".to_owned()]));
        assert_eq!(apps(&pod("b", "False", "4"), true), Some(vec!["b".to_owned()]));
        assert!(seen.0.lock().unwrap().is_empty());
    }

    #[test]
    fn a_service_without_selector_or_with_an_external_name_selects_nothing() {
        let service = |spec| serde_json::from_value::<Service>(json!({"spec": spec})).unwrap();
        let labels = [("app".to_owned(), "a".to_owned())].into();
        assert!(selects(&service(json!({"selector": {"app": "a"}})), &labels));
        assert!(!selects(&service(json!({"selector": {"app": "a", "tier": "x"}})), &labels));
        assert!(!selects(&service(json!({})), &labels));
        assert!(!selects(&service(json!({"selector": {"app": "a"}, "type": "ExternalName"})), &labels));
    }
}
