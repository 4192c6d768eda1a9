//! Names and labels of what is made for pods, the same as dockershim's, so that its containers and ours are told alike.

use std::collections::HashMap;

use k8s_cri::v1::{ContainerMetadata, PodSandboxMetadata};

use super::super::labels;

/// Label: `podsandbox` or `container`.
pub(super) const TYPE: &str = "io.kubernetes.docker.type";
/// Value of [`TYPE`] for a sandbox.
pub(super) const SANDBOX: &str = "podsandbox";
/// Value of [`TYPE`] for a container.
pub(super) const CONTAINER: &str = "container";
/// Label: the sandbox that a container was made in.
pub(super) const SANDBOX_ID: &str = "io.kubernetes.sandbox.id";
/// Label: where the kubelet has the log.
pub(super) const LOG_PATH: &str = "io.kubernetes.container.logpath";
/// Label: the image as the user wrote it.
pub(super) const IMAGE: &str = "skerry.dev/image";
/// What annotations begin with among the labels.
const ANNOTATION: &str = "annotation.";

/// `k8s_POD_<pod>_<namespace>_<uid>_<attempt>`.
pub(super) fn sandbox(pod: &PodSandboxMetadata) -> String {
    full("POD", pod, pod.attempt)
}

/// `k8s_<container>_<pod>_<namespace>_<uid>_<attempt>`.
pub(super) fn container(pod: &PodSandboxMetadata, container: &ContainerMetadata) -> String {
    full(&container.name, pod, container.attempt)
}

fn full(container: &str, pod: &PodSandboxMetadata, attempt: u32) -> String {
    format!("k8s_{container}_{}_{}_{}_{attempt}", pod.name, pod.namespace, pod.uid)
}

/// The attempt in a name. Kubernetes' names have no underscores; what follows the attempt made a taken name unique.
pub(super) fn attempt(name: &str) -> u32 {
    let mut parts = name.trim_start_matches('/').split('_');
    match parts.next() {
        Some("k8s") => parts.nth(4).and_then(|attempt| attempt.parse().ok()).unwrap_or(0),
        _ => 0,
    }
}

/// Labels and annotations as Docker's labels.
pub(super) fn join(
    labels: HashMap<String, String>,
    annotations: HashMap<String, String>,
) -> HashMap<String, String> {
    let mut all = labels;
    all.extend(annotations.into_iter().map(|(key, value)| (format!("{ANNOTATION}{key}"), value)));
    all
}

/// The labels and annotations in Docker's labels; dockershim's own are left out.
pub(super) fn split(all: HashMap<String, String>) -> (HashMap<String, String>, HashMap<String, String>) {
    let (mut labels, mut annotations) = (HashMap::new(), HashMap::new());
    for (key, value) in all {
        match key.strip_prefix(ANNOTATION) {
            Some(key) => annotations.insert(key.to_owned(), value),
            None if [TYPE, SANDBOX_ID, LOG_PATH, IMAGE].contains(&key.as_str()) => None,
            None => labels.insert(key, value),
        };
    }
    (labels, annotations)
}

/// A filter for containers of one type, of one pod or of all.
pub(super) fn filter(kind: &str, pod: Option<&super::super::PodUid>) -> HashMap<String, Vec<String>> {
    let mut wanted = vec![format!("{TYPE}={kind}")];
    wanted.extend(pod.map(|uid| format!("{}={uid}", labels::POD_UID)));
    HashMap::from([("label".to_owned(), wanted)])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, proptest};

    use super::*;

    #[test]
    fn the_attempt_is_found_in_names_of_ours_only() {
        let pod =
            PodSandboxMetadata { name: "p".into(), uid: "u-1".into(), namespace: "n".into(), attempt: 3 };
        assert_eq!(sandbox(&pod), "k8s_POD_p_n_u-1_3");
        assert_eq!(attempt(&sandbox(&pod)), 3);
        assert_eq!(attempt("/k8s_c_p_n_u-1_7_a1b2"), 7);
        assert_eq!(attempt("/other_POD_p_n_u_3"), 0);
        assert_eq!(attempt("/k8s_c"), 0);
    }

    proptest! {
        #[test]
        fn any_name_can_be_read(name in any::<String>()) {
            attempt(&name);
        }

        #[test]
        fn labels_and_annotations_survive_the_way_through_docker(
            labels: HashMap<String, String>, annotations: HashMap<String, String>
        ) {
            let plain: HashMap<_, _> =
                labels.into_iter().filter(|(key, _)| !key.starts_with(ANNOTATION)).collect();
            let back = split(join(plain.clone(), annotations.clone()));
            assert_eq!(back, (plain, annotations));
        }
    }
}
