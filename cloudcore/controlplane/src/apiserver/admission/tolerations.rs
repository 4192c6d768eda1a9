//! Admission plugin DefaultTolerationSeconds, and KubeEdge's mutation of pods that outlive the connection of their node.

use serde_json::{Value, json};

use crate::schema::Json;

const NOT_READY: &str = "node.kubernetes.io/not-ready";
const UNREACHABLE: &str = "node.kubernetes.io/unreachable";
/// KubeEdge's label of pods that stay where they are for as long as their node is offline.
const AUTONOMY: (&str, &str) = ("app-offline.kubeedge.io", "autonomy");

pub(super) fn admit(pod: &mut Value) {
    let offline = pod["metadata"]["labels"][AUTONOMY.0] == AUTONOMY.1;
    let Some(spec) = pod.get_mut("spec").filter(|spec| spec.is_object()) else { return };
    let mut tolerations = spec.list("/tolerations").to_vec();
    for key in [NOT_READY, UNREACHABLE] {
        if !tolerations.iter().any(|one| tolerates(one, key)) {
            tolerations.push(
                json!({"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300}),
            );
        }
    }
    if offline {
        tolerations.retain(|one| one.text("/key") != UNREACHABLE);
        tolerations.push(json!({"key": UNREACHABLE, "operator": "Exists"}));
    }
    spec.put("tolerations", tolerations);
}

fn tolerates(toleration: &Value, key: &str) -> bool {
    let named = toleration.text("/key");
    (named.is_empty() || named == key) && matches!(toleration.text("/effect"), "" | "NoExecute")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admitted(mut pod: Value) -> Value {
        admit(&mut pod);
        pod["spec"]["tolerations"].clone()
    }

    fn five_minutes(key: &str) -> Value {
        json!({"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300})
    }

    #[test]
    fn a_pod_waits_five_minutes_for_its_node_unless_it_says_otherwise() {
        let both = json!([five_minutes(NOT_READY), five_minutes(UNREACHABLE)]);
        assert_eq!(admitted(json!({"spec": {}})), both);
        let own =
            json!({"key": UNREACHABLE, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 7});
        assert_eq!(admitted(json!({"spec": {"tolerations": [own]}})), json!([own, five_minutes(NOT_READY)]));
        let all = json!({"operator": "Exists"});
        assert_eq!(admitted(json!({"spec": {"tolerations": [all]}})), json!([all]));
        let other = json!({"key": NOT_READY, "operator": "Exists", "effect": "NoSchedule"});
        assert_eq!(admitted(json!({"spec": {"tolerations": [other]}})).as_array().unwrap().len(), 3);
    }

    #[test]
    fn an_autonomous_pod_stays_on_a_node_that_cannot_be_reached() {
        let labels = json!({"app-offline.kubeedge.io": "autonomy"});
        let own =
            json!({"key": UNREACHABLE, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 7});
        let pod = json!({"metadata": {"labels": labels}, "spec": {"tolerations": [own]}});
        let forever = json!({"key": UNREACHABLE, "operator": "Exists"});
        assert_eq!(admitted(pod), json!([five_minutes(NOT_READY), forever]));
    }
}
