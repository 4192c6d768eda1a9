//! Labels and annotations of what is written. Pure.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Endpoints, Service};
use kube::{Resource, ResourceExt};
use serde_json::{Map, Value, json};

use super::{HEADLESS, MANAGED_BY, SERVICE_NAME, TRIGGER, is_headless};

/// Label of Endpoints: who writes them.
pub(super) const ENDPOINTS_MANAGED_BY: &str = "endpoints.kubernetes.io/managed-by";
pub(super) const ENDPOINTS_CONTROLLER: &str = "endpoint-controller";
pub(super) const SLICES_CONTROLLER: &str = "endpointslice-controller.k8s.io";
pub(super) const MIRRORING_CONTROLLER: &str = "endpointslicemirroring-controller.k8s.io";

pub(super) type Texts = BTreeMap<String, String>;

/// The labels of a service's Endpoints.
pub(super) fn of_endpoints(service: &Service) -> Texts {
    let mut labels = service.labels().clone();
    labels.insert(ENDPOINTS_MANAGED_BY.to_owned(), ENDPOINTS_CONTROLLER.to_owned());
    headless(service, &mut labels);
    labels
}

/// The labels of a service's slices.
pub(super) fn of_slices(service: &Service) -> Texts {
    let mut labels = service.labels().clone();
    headless(service, &mut labels);
    labels.insert(SERVICE_NAME.to_owned(), service.name_any());
    labels.insert(MANAGED_BY.to_owned(), SLICES_CONTROLLER.to_owned());
    labels
}

fn headless(service: &Service, labels: &mut Texts) {
    labels.remove(HEADLESS);
    if is_headless(service) {
        labels.insert(HEADLESS.to_owned(), String::new());
    }
}

/// Labels and annotations of the slices that mirror Endpoints.
pub(super) fn of_mirrors(endpoints: &Endpoints) -> (Texts, Texts) {
    let mut labels = endpoints.labels().clone();
    labels.insert(SERVICE_NAME.to_owned(), endpoints.name_any());
    labels.insert(MANAGED_BY.to_owned(), MIRRORING_CONTROLLER.to_owned());
    let mut annotations = endpoints.annotations().clone();
    annotations.remove(TRIGGER);
    (labels, annotations)
}

/// The part `metadata` of a merge patch that gives `object` these labels and lays `annotations` over its own, where null takes one
/// away. Only over the state that was seen.
pub(super) fn change<K: Resource>(object: &K, labels: &Texts, annotations: &Value) -> Value {
    let mut all: Map<String, Value> = labels.iter().map(|(key, value)| (key.clone(), json!(value))).collect();
    for key in object.labels().keys().filter(|key| !labels.contains_key(*key)) {
        all.insert(key.clone(), Value::Null);
    }
    json!({
        "uid": object.uid(), "resourceVersion": object.resource_version(),
        "labels": all, "annotations": annotations,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_cannot_label_its_slices_as_somebody_elses() {
        let service: Service = serde_json::from_value(json!({
            "metadata": {"name": "web", "labels": {
                "app": "x", SERVICE_NAME: "other", MANAGED_BY: "me", HEADLESS: "no",
            }},
            "spec": {"clusterIP": "10.96.0.7"},
        }))
        .unwrap();
        let labels = of_slices(&service);
        assert_eq!(labels[SERVICE_NAME], "web");
        assert_eq!(labels[MANAGED_BY], SLICES_CONTROLLER);
        assert_eq!(labels["app"], "x");
        assert!(!labels.contains_key(HEADLESS));
        assert_eq!(of_endpoints(&service)[ENDPOINTS_MANAGED_BY], ENDPOINTS_CONTROLLER);
    }

    #[test]
    fn labels_that_went_are_taken_away() {
        let old: Endpoints = serde_json::from_value(json!({
            "metadata": {"name": "web", "uid": "u", "resourceVersion": "3", "labels": {"a": "1", "b": "2"}},
        }))
        .unwrap();
        let change = change(&old, &[("b".to_owned(), "3".to_owned())].into(), &json!({TRIGGER: null}));
        assert_eq!(
            change,
            json!({
                "uid": "u", "resourceVersion": "3", "labels": {"a": null, "b": "3"}, "annotations": {TRIGGER: null},
            })
        );
    }
}
