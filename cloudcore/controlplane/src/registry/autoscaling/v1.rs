//! `autoscaling/v1`: one wish, about the processor. What it has no field for is carried in annotations, so that nothing is lost on
//! the way back (Kubernetes v1.36 pkg/apis/autoscaling/v1/conversion.go, which has the same annotations).

use k8s_openapi::api::autoscaling::v1::HorizontalPodAutoscaler;
use k8s_openapi::api::autoscaling::v2::{
    HorizontalPodAutoscalerBehavior, HorizontalPodAutoscalerCondition, MetricSpec, MetricStatus,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use super::{utilization, validate};
use crate::registry::descriptor::{Descriptor, STATUS};
use crate::schema::Json;
use crate::table;

pub(super) const AUTOSCALER: Descriptor = Descriptor {
    short_names: &["hpa"],
    categories: &["all"],
    subresources: &[STATUS],
    default: |autoscaler| {
        if let Some(spec) = autoscaler.child("spec") {
            spec.default_to("minReplicas", 1);
        }
    },
    prepare_create: |autoscaler| {
        autoscaler.put("status", json!({"currentReplicas": 0, "desiredReplicas": 0}));
    },
    validate,
    to_stored,
    from_stored,
    printer: table::AUTOSCALER_V1,
    ..Descriptor::of::<HorizontalPodAutoscaler>()
};

/// A field of version 2 that version 1 does not have.
struct Carried {
    part: &'static str,
    field: &'static str,
    annotation: &'static str,
    /// Reads the annotation, of which nobody knows who wrote it.
    read: fn(&str) -> Option<Value>,
}

const CARRIED: &[Carried] = &[
    Carried {
        part: "spec",
        field: "metrics",
        annotation: "autoscaling.alpha.kubernetes.io/metrics",
        read: typed::<Vec<MetricSpec>>,
    },
    Carried {
        part: "spec",
        field: "behavior",
        annotation: "autoscaling.alpha.kubernetes.io/behavior",
        read: typed::<HorizontalPodAutoscalerBehavior>,
    },
    Carried {
        part: "status",
        field: "currentMetrics",
        annotation: "autoscaling.alpha.kubernetes.io/current-metrics",
        read: typed::<Vec<MetricStatus>>,
    },
    Carried {
        part: "status",
        field: "conditions",
        annotation: "autoscaling.alpha.kubernetes.io/conditions",
        read: typed::<Vec<HorizontalPodAutoscalerCondition>>,
    },
];

fn typed<T: DeserializeOwned + Serialize>(text: &str) -> Option<Value> {
    serde_json::to_value(serde_json::from_str::<T>(text).ok()?).ok()
}

fn is_processor(metric: &Value) -> bool {
    metric.text("/type") == "Resource" && metric.text("/resource/name") == "cpu"
}

fn take(object: &mut Value, part: &str, field: &str) -> Option<Value> {
    object.get_mut(part)?.as_object_mut()?.shift_remove(field)
}

fn annotations(object: &mut Value) -> Option<&mut Map<String, Value>> {
    object.child("metadata")?.child("annotations")?.as_object_mut()
}

fn from_stored(autoscaler: &mut Value) {
    for Carried { part, field, annotation, .. } in CARRIED {
        let Some(mut value) = take(autoscaler, part, field) else { continue };
        if let Some(metrics) = value.as_array_mut()
            && field.to_lowercase().ends_with("metrics")
        {
            let (amount, name) = match *part {
                "spec" => ("/resource/target/averageUtilization", "targetCPUUtilizationPercentage"),
                _ => ("/resource/current/averageUtilization", "currentCPUUtilizationPercentage"),
            };
            let at = metrics.iter().position(|one| is_processor(one) && one.int(amount).is_some());
            if let Some(percent) = at.map(|at| metrics.remove(at)).and_then(|metric| metric.int(amount))
                && let Some(part) = autoscaler.get_mut(*part)
            {
                part.put(name, percent);
            }
        }
        let empty = value.as_array().is_some_and(Vec::is_empty) || value.is_null();
        if !empty && let Some(all) = annotations(autoscaler) {
            all.insert((*annotation).to_owned(), json!(value.to_string()));
        }
    }
    if let Some(status) = autoscaler.child("status") {
        status.default_to("currentReplicas", 0);
    }
}

fn to_stored(autoscaler: &mut Value) {
    for Carried { part, field, annotation, read } in CARRIED {
        let carried = annotations(autoscaler).and_then(|all| all.shift_remove(*annotation));
        let carried = carried.as_ref().and_then(Value::as_str).and_then(read);
        if let (Some(value), Some(part)) = (carried, autoscaler.child(part)) {
            part.put(field, value);
        }
    }
    if let Some(meta) = autoscaler.child("metadata").and_then(Value::as_object_mut)
        && meta.get("annotations").and_then(Value::as_object).is_some_and(Map::is_empty)
    {
        meta.shift_remove("annotations");
    }
    let wanted = take(autoscaler, "spec", "targetCPUUtilizationPercentage");
    if let Some(percent) = wanted.as_ref().and_then(Value::as_i64) {
        put_first(autoscaler, "spec", "metrics", utilization("cpu", percent));
    }
    let seen = take(autoscaler, "status", "currentCPUUtilizationPercentage");
    if let Some(percent) = seen.as_ref().and_then(Value::as_i64) {
        let current = json!({"averageUtilization": percent, "averageValue": "0"});
        let metric = json!({"type": "Resource", "resource": {"name": "cpu", "current": current}});
        put_first(autoscaler, "status", "currentMetrics", metric);
    }
    super::default(autoscaler);
    autoscaler.put("apiVersion", "autoscaling/v2");
}

fn put_first(autoscaler: &mut Value, part: &str, field: &str, metric: Value) {
    let Some(part) = autoscaler.child(part) else { return };
    part.default_to(field, Vec::<Value>::new());
    if let Some(all) = part.get_mut(field).and_then(Value::as_array_mut) {
        all.insert(0, metric);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_lost_between_the_versions() {
        let memory = utilization("memory", 60);
        let stored = json!({
            "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": {"name": "a"},
            "spec": {"minReplicas": 1, "maxReplicas": 5, "metrics": [utilization("cpu", 50), memory],
                "behavior": {"scaleDown": {"stabilizationWindowSeconds": 5}}},
            "status": {"desiredReplicas": 0, "currentReplicas": 0},
        });
        let mut old = stored.clone();
        from_stored(&mut old);
        assert_eq!(
            old["spec"],
            json!({"minReplicas": 1, "maxReplicas": 5, "targetCPUUtilizationPercentage": 50})
        );
        let carried = old["metadata"]["annotations"]["autoscaling.alpha.kubernetes.io/metrics"].as_str();
        assert_eq!(carried.map(|text| serde_json::from_str(text).unwrap()), Some(json!([memory])));
        to_stored(&mut old);
        assert_eq!(old, stored);
    }

    #[test]
    fn who_wants_nothing_wants_what_is_usual() {
        let mut one = json!({"metadata": {"name": "a"}, "spec": {"maxReplicas": 5}});
        to_stored(&mut one);
        assert_eq!(one["spec"]["metrics"], json!([utilization("cpu", 80)]));
        assert!(one["metadata"].get("annotations").is_none());
    }
}
