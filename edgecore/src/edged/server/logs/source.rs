//! Which container's log is meant, by the pod's status (Kubernetes v1.36 `pkg/kubelet/kubelet_pods.go`,
//! `validateContainerLogStatus`). No I/O.

use k8s_openapi::api::core::v1::{ContainerStatus, PodStatus};

use crate::edged::runtime::ContainerId;

/// The id of the container to read, or in the kubelet's words why there is none.
pub(super) fn container(
    status: &PodStatus,
    pod: &str,
    name: &str,
    previous: bool,
) -> Result<ContainerId, String> {
    let what = format!("container {name:?} in pod {pod:?}");
    let lists =
        [&status.container_statuses, &status.init_container_statuses, &status.ephemeral_container_statuses];
    let found = lists.into_iter().flatten().flatten().find(|container| container.name == name);
    let Some(found) = found else { return Err(format!("{what} is not available")) };
    if previous {
        return last(found).ok_or_else(|| format!("previous terminated {what} not found"));
    }
    let state = found.state.clone().unwrap_or_default();
    if state.running.is_some() {
        return id(found.container_id.as_deref()).ok_or_else(|| format!("{what} is not available"));
    }
    if let Some(ended) = state.terminated {
        // Without an id it is the next one that did not come to be.
        let own = id(ended.container_id.as_deref()).or_else(|| last(found));
        return own.ok_or_else(|| format!("{what} is terminated"));
    }
    if let Some(id) = last(found) {
        return Ok(id);
    }
    let reason = state.waiting.and_then(|waiting| waiting.reason);
    Err(match reason.as_deref() {
        None => format!("{what} is waiting to start - no logs yet"),
        Some("ErrImagePull") => format!("{what} is waiting to start: image can't be pulled"),
        Some("ImagePullBackOff") => format!("{what} is waiting to start: trying and failing to pull image"),
        Some(reason) => format!("{what} is waiting to start: {reason}"),
    })
}

fn last(status: &ContainerStatus) -> Option<ContainerId> {
    id(status.last_state.as_ref()?.terminated.as_ref()?.container_id.as_deref())
}

/// What the runtime knows: the id without its scheme.
fn id(text: Option<&str>) -> Option<ContainerId> {
    let (_, id) = text?.split_once("://")?;
    Some(ContainerId(id.to_owned()))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn of(status: Value, previous: bool) -> Result<String, String> {
        let mut status = status;
        status["name"] = "c".into();
        let status = serde_json::from_value(json!({ "containerStatuses": [status] })).unwrap();
        container(&status, "p", "c", previous).map(|id| id.0)
    }

    #[test]
    fn the_state_says_which_container_is_meant() {
        let running = json!({ "containerID": "containerd://2", "state": { "running": {} },
            "lastState": { "terminated": { "exitCode": 1, "containerID": "containerd://1" } } });
        assert_eq!(of(running.clone(), false).as_deref(), Ok("2"));
        assert_eq!(of(running, true).as_deref(), Ok("1"));
        let waits = json!({ "state": { "waiting": { "reason": "CrashLoopBackOff" } },
            "lastState": { "terminated": { "exitCode": 1, "containerID": "docker://1" } } });
        assert_eq!(of(waits, false).as_deref(), Ok("1"));
    }

    #[test]
    fn a_container_without_a_log_is_explained() {
        let waits =
            |reason: &str| of(json!({ "state": { "waiting": { "reason": reason } } }), false).unwrap_err();
        assert_eq!(
            waits("ContainerCreating"),
            "container \"c\" in pod \"p\" is waiting to start: ContainerCreating"
        );
        assert!(waits("ErrImagePull").ends_with("image can't be pulled"));
        let running = json!({ "containerID": "containerd://2", "state": { "running": {} } });
        assert_eq!(
            of(running, true).unwrap_err(),
            "previous terminated container \"c\" in pod \"p\" not found"
        );
        assert_eq!(
            container(&PodStatus::default(), "p", "c", false).unwrap_err(),
            "container \"c\" in pod \"p\" is not available"
        );
    }
}
