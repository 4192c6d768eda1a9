//! What gitlab-runner 11 sends for a job, up to the scripts: those it runs by exec, which waits for the stream tunnel. It is built on
//! Kubernetes 1.3's client, which knows no discovery, polls, and deletes without a body. No runner is run here; these are its requests.

use serde_json::{Value, json};

use crate::support::Managed;

const SECRETS: &str = "/api/v1/namespaces/default/secrets";
const PODS: &str = "/api/v1/namespaces/default/pods";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_objects_of_a_runners_job_are_made_polled_and_removed() {
    let managed = Managed::start().await;
    let _node = managed.ready_node("edge1").await;
    let cluster = &managed.cluster;
    let prefix = "runner-a1b2c3d4-project-4711-concurrent-0";
    let secret = json!({
        "kind": "Secret", "apiVersion": "v1", "metadata": {"generateName": prefix, "creationTimestamp": null},
        "data": {".dockercfg": "eyJyZWdpc3RyeS5leGFtcGxlIjp7InVzZXJuYW1lIjoiYSIsInBhc3N3b3JkIjoiYiJ9fQ=="},
        "type": "kubernetes.io/dockercfg",
    });
    let (code, secret) = cluster.call("POST", SECRETS, secret).await;
    assert_eq!(code, 201, "{secret}");
    let secret = secret["metadata"]["name"].as_str().unwrap().to_owned();
    assert_eq!(secret.len(), prefix.len() + 5, "{secret}");

    let container = |name: &str| {
        json!({
            "name": name, "image": "busybox", "command": ["sh", "-c", "read line"], "stdin": true,
            "env": [{"name": "CI", "value": "true"}], "resources": {}, "securityContext": {"privileged": false},
            "volumeMounts": [{"name": "repo", "mountPath": "/builds/group"}],
        })
    };
    let pod = json!({
        "kind": "Pod", "apiVersion": "v1",
        "metadata": {"generateName": prefix, "namespace": "default", "creationTimestamp": null},
        "spec": {
            "volumes": [{"name": "repo", "emptyDir": {}}], "restartPolicy": "Never",
            "terminationGracePeriodSeconds": 0, "nodeSelector": {},
            "containers": [container("build"), container("helper")], "imagePullSecrets": [{"name": secret}],
        },
        "status": {},
    });
    let (code, made) = cluster.call("POST", PODS, pod.clone()).await;
    assert_eq!((code, &made["status"]["phase"]), (201, &json!("Pending")), "{made}");
    let path = format!("{PODS}/{}", made["metadata"]["name"].as_str().unwrap());
    managed.until(&path, "running", |pod| pod["status"]["phase"] == "Running").await;

    // It reads the reason and the message of a container that waits for its image.
    let mut stuck = pod;
    stuck["spec"]["nodeName"] = json!("nobody");
    let (code, stuck) = cluster.call("POST", PODS, stuck).await;
    assert_eq!(code, 201, "{stuck}");
    let stuck = format!("{PODS}/{}", stuck["metadata"]["name"].as_str().unwrap());
    let waiting =
        json!({"waiting": {"reason": "ImagePullBackOff", "message": "Back-off pulling image \"busybox\""}});
    let status = json!({"name": "build", "ready": false, "image": "busybox", "imageID": "", "restartCount": 0, "state": waiting});
    let status = json!({"status": {"containerStatuses": [status]}});
    assert_eq!(cluster.patch("strategic-merge-patch+json", &format!("{stuck}/status"), status).await.0, 200);
    let shown = cluster.call("GET", &stuck, Value::Null).await.1;
    assert_eq!(shown["status"]["phase"], "Pending");
    assert_eq!(shown["status"]["containerStatuses"][0]["state"], waiting);

    // Without a body, and without a grace: gone at once.
    for path in [path, stuck, format!("{SECRETS}/{secret}")] {
        assert_eq!(cluster.call("DELETE", &path, Value::Null).await.0, 200, "{path}");
        assert_eq!(cluster.call("GET", &path, Value::Null).await.0, 404, "{path}");
    }
}
