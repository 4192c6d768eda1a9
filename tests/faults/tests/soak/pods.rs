//! The objects behind the wishes.

use e2e::image::BUSYBOX;
use serde_json::{Value, json};

use crate::plan::{Kind, Wish};

/// The second image: other default command, so another identity.
pub const OTHER: &str = "skerry.test/busybox:2";
/// What the pods' files come from.
pub const CONFIG: &str = "soak";

pub fn name(number: usize) -> String {
    format!("soak-{number}")
}

pub fn image(wish: Wish) -> &'static str {
    if wish.image == 0 { BUSYBOX } else { OTHER }
}

/// The config map.
pub fn config(text: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": CONFIG}, "data": {"file": text}})
}

/// The pod, to be applied.
pub fn pod(number: usize, wish: Wish) -> Value {
    let polite = "trap 'exit 0' TERM; while :; do /bin/busybox sleep 0.3; done";
    let script = match wish.kind {
        Kind::Crasher => "exit 3",
        Kind::Finisher => "/bin/busybox sleep 0.1",
        Kind::Stubborn => "trap '' TERM; while :; do /bin/busybox sleep 0.3; done",
        _ => polite,
    };
    let container = |name: &str, script: &str| {
        json!({
            "name": name, "image": image(wish), "imagePullPolicy": "IfNotPresent",
            "command": ["/bin/busybox", "sh", "-c", script],
        })
    };
    let mut main = container("main", script);
    let mut spec = json!({
        "nodeName": "edge1", "terminationGracePeriodSeconds": 2, "automountServiceAccountToken": false,
        "enableServiceLinks": false,
    });
    match wish.kind {
        Kind::Scratch => {
            spec["volumes"] = json!([{"name": "memory", "emptyDir": {"medium": "Memory"}}, {"name": "disk", "emptyDir": {}}]);
            main["volumeMounts"] =
                json!([{"name": "memory", "mountPath": "/memory"}, {"name": "disk", "mountPath": "/disk"}]);
        }
        Kind::Files => {
            spec["volumes"] = json!([{"name": "files", "configMap": {"name": CONFIG}}]);
            main["volumeMounts"] = json!([
                {"name": "files", "mountPath": "/files"},
                {"name": "files", "mountPath": "/one", "subPath": "file"},
            ]);
        }
        Kind::Limited => {
            main["resources"] = json!({"limits": {"cpu": "100m", "memory": "32Mi"}});
        }
        Kind::HostNetwork => spec["hostNetwork"] = true.into(),
        Kind::Finisher => spec["restartPolicy"] = "Never".into(),
        _ => {}
    }
    spec["containers"] = json!([main]);
    if wish.kind == Kind::Crowd {
        spec["containers"] = json!([main, container("side", polite)]);
        spec["initContainers"] = json!([container("before", "exit 0")]);
    }
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "name": name(number), "namespace": "default",
            "labels": {"generation": wish.generation.to_string()},
        },
        "spec": spec,
    })
}
