//! What a pod gets when its manifest does not say.

use serde_json::{Value, json};

use crate::schema::Json;

/// Defaults of a pod.
pub(super) fn pod(pod: &mut Value) {
    let Some(spec) = pod.child("spec") else { return };
    spec.default_to("enableServiceLinks", true);
    let host_network = spec.flag("/hostNetwork");
    for list in ["/containers", "/initContainers"] {
        for container in spec.list_mut(list) {
            request_the_limits(container);
            if host_network {
                for port in container.list_mut("/ports") {
                    if let Some(number) = port.int("/containerPort") {
                        port.default_to("hostPort", number);
                    }
                }
            }
        }
    }
    pod_spec(spec);
}

/// Defaults of a pod template.
pub(in crate::registry) fn template(template: &mut Value) {
    if let Some(meta) = template.child("metadata").and_then(Value::as_object_mut) {
        meta.shift_remove("creationTimestamp");
    }
    if let Some(spec) = template.child("spec") {
        pod_spec(spec);
    }
}

fn pod_spec(spec: &mut Value) {
    spec.default_to("restartPolicy", "Always");
    spec.default_to("terminationGracePeriodSeconds", 30);
    spec.default_to("dnsPolicy", "ClusterFirst");
    spec.default_to("schedulerName", "default-scheduler");
    spec.default_to("securityContext", json!({}));
    service_account(spec);
    for list in ["/containers", "/initContainers", "/ephemeralContainers"] {
        for one in spec.list_mut(list) {
            container(one);
        }
    }
    for one in spec.list_mut("/volumes") {
        volume(one);
    }
}

/// `serviceAccount` is the old name of `serviceAccountName`; both are kept equal.
pub(super) fn service_account(spec: &mut Value) {
    let old = spec.text("/serviceAccount").to_owned();
    if spec.text("/serviceAccountName").is_empty() && !old.is_empty() {
        spec.put("serviceAccountName", json!(old));
    }
    let name = spec.text("/serviceAccountName").to_owned();
    if !name.is_empty() {
        spec.put("serviceAccount", json!(name));
    }
}

fn request_the_limits(container: &mut Value) {
    let Some(resources) = container.child("resources") else { return };
    let Some(limits) = resources.object("/limits").cloned() else { return };
    if let Some(requests) = resources.child("requests") {
        for (name, quantity) in limits {
            requests.default_to(&name, quantity);
        }
    }
}

fn container(container: &mut Value) {
    let image = container.text("/image").to_owned();
    container.default_to("resources", json!({}));
    container.default_to("terminationMessagePath", "/dev/termination-log");
    container.default_to("terminationMessagePolicy", "File");
    let policy = if follows_latest(&image) { "Always" } else { "IfNotPresent" };
    container.default_to("imagePullPolicy", policy);
    for port in container.list_mut("/ports") {
        port.default_to("protocol", "TCP");
    }
    for variable in container.list_mut("/env") {
        if let Some(reference) = variable.pointer_mut("/valueFrom/fieldRef") {
            reference.default_to("apiVersion", "v1");
        }
    }
    for name in ["livenessProbe", "readinessProbe", "startupProbe"] {
        if let Some(probe) = container.get_mut(name) {
            probe.default_to("timeoutSeconds", 1);
            probe.default_to("periodSeconds", 10);
            probe.default_to("successThreshold", 1);
            probe.default_to("failureThreshold", 3);
            handler(probe);
        }
    }
    for hook in ["/lifecycle/postStart", "/lifecycle/preStop"] {
        if let Some(hook) = container.pointer_mut(hook) {
            handler(hook);
        }
    }
}

fn handler(handler: &mut Value) {
    if let Some(get) = handler.get_mut("httpGet") {
        get.default_to("path", "/");
        get.default_to("scheme", "HTTP");
    }
    if let Some(grpc) = handler.get_mut("grpc") {
        grpc.default_to("service", "");
    }
}

/// Whether a pull policy is to default to `Always`: the tag is `latest` or missing, and no digest is given.
fn follows_latest(image: &str) -> bool {
    if image.contains('@') {
        return false;
    }
    let name = image.rsplit('/').next().unwrap_or(image);
    name.split_once(':').is_none_or(|(_, tag)| tag == "latest")
}

fn volume(volume: &mut Value) {
    if volume.as_object().is_some_and(|map| map.keys().all(|key| key == "name")) {
        volume.default_to("emptyDir", json!({}));
    }
    for source in ["secret", "configMap", "downwardAPI", "projected"] {
        if let Some(source) = volume.get_mut(source) {
            source.default_to("defaultMode", 420);
            field_refs(source);
        }
    }
    if let Some(path) = volume.get_mut("hostPath") {
        path.default_to("type", "");
    }
    if let Some(image) = volume.get_mut("image") {
        let policy = if follows_latest(image.text("/reference")) { "Always" } else { "IfNotPresent" };
        image.default_to("pullPolicy", policy);
    }
    if let Some(claim) = volume.pointer_mut("/ephemeral/volumeClaimTemplate/spec") {
        claim.default_to("volumeMode", "Filesystem");
    }
    for source in volume.list_mut("/projected/sources") {
        if let Some(token) = source.get_mut("serviceAccountToken") {
            token.default_to("expirationSeconds", 3600);
        }
        if let Some(downward) = source.get_mut("downwardAPI") {
            field_refs(downward);
        }
    }
}

fn field_refs(downward: &mut Value) {
    for item in downward.list_mut("/items") {
        if let Some(reference) = item.get_mut("fieldRef") {
            reference.default_to("apiVersion", "v1");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_without_a_fixed_tag_are_always_pulled() {
        for image in ["nginx", "nginx:latest", "localhost:5000/a/nginx", "r.io/nginx:latest"] {
            assert!(follows_latest(image), "{image}");
        }
        for image in ["nginx:1.27", "localhost:5000/nginx:1", "nginx@sha256:00", "nginx:latest@sha256:00"] {
            assert!(!follows_latest(image), "{image}");
        }
    }
}
