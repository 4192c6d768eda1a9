//! Labels and annotations that every node wears. Pure.

use k8s_openapi::api::core::v1::Node;
use kube::ResourceExt;
use serde_json::{Map, Value, json};

/// How many seconds agents may keep config maps and secrets without asking again, by the number of nodes.
const TTL: &str = "node.alpha.kubernetes.io/ttl";
const TTL_BY_SIZE: &[(usize, &str)] = &[(100, "0"), (500, "15"), (1000, "30"), (2000, "60")];
const LABELS: &[(&str, &str)] =
    &[("kubernetes.io/os", "beta.kubernetes.io/os"), ("kubernetes.io/arch", "beta.kubernetes.io/arch")];

/// The change of metadata that `node`, one of `size`, needs.
pub(super) fn missing(node: &Node, size: usize) -> Option<Value> {
    let mut labels = Map::new();
    for (stable, old) in LABELS {
        if let Some(value) = node.labels().get(*stable)
            && node.labels().get(*old) != Some(value)
        {
            labels.insert((*old).to_owned(), json!(value));
        }
    }
    let ttl = TTL_BY_SIZE.iter().find(|(limit, _)| size <= *limit).map_or("300", |(_, ttl)| ttl);
    let mut annotations = Map::new();
    if node.annotations().get(TTL).map(String::as_str) != Some(ttl) {
        annotations.insert(TTL.to_owned(), json!(ttl));
    }
    (!labels.is_empty() || !annotations.is_empty())
        .then(|| json!({"metadata": {"labels": labels, "annotations": annotations}}))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_labels_follow_the_new_ones_and_the_ttl_the_size() {
        let mut node = Node::default();
        node.labels_mut().insert("kubernetes.io/os".to_owned(), "linux".to_owned());
        let change = missing(&node, 3).unwrap();
        assert_eq!(change["metadata"]["labels"], json!({"beta.kubernetes.io/os": "linux"}));
        assert_eq!(change["metadata"]["annotations"], json!({TTL: "0"}));
        node.labels_mut().insert("beta.kubernetes.io/os".to_owned(), "linux".to_owned());
        node.annotations_mut().insert(TTL.to_owned(), "0".to_owned());
        assert_eq!(missing(&node, 100), None);
        assert_eq!(missing(&node, 101).unwrap()["metadata"]["annotations"], json!({TTL: "15"}));
    }
}
