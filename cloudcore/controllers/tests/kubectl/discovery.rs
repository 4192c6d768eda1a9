//! What there is: versions, health, kinds, their documents.

use serde_json::Value;

use super::{Running, assert_lines, lines, words};
use crate::support::cluster::{KUBECTL, KUBECTL_1_20, eventually, expect};

/// NAME SHORTNAMES APIVERSION NAMESPACED KIND
const KINDS: &[&str] = &[
    "bindings v1 true Binding",
    "configmaps cm v1 true ConfigMap",
    "endpoints ep v1 true Endpoints",
    "events ev v1 true Event",
    "namespaces ns v1 false Namespace",
    "nodes no v1 false Node",
    "pods po v1 true Pod",
    "secrets v1 true Secret",
    "serviceaccounts sa v1 true ServiceAccount",
    "services svc v1 true Service",
    "customresourcedefinitions crd,crds apiextensions.k8s.io/v1 false CustomResourceDefinition",
    "controllerrevisions apps/v1 true ControllerRevision",
    "daemonsets ds apps/v1 true DaemonSet",
    "deployments deploy apps/v1 true Deployment",
    "replicasets rs apps/v1 true ReplicaSet",
    "selfsubjectreviews authentication.k8s.io/v1 false SelfSubjectReview",
    "tokenreviews authentication.k8s.io/v1 false TokenReview",
    "localsubjectaccessreviews authorization.k8s.io/v1 true LocalSubjectAccessReview",
    "selfsubjectaccessreviews authorization.k8s.io/v1 false SelfSubjectAccessReview",
    "selfsubjectrulesreviews authorization.k8s.io/v1 false SelfSubjectRulesReview",
    "subjectaccessreviews authorization.k8s.io/v1 false SubjectAccessReview",
    "leases coordination.k8s.io/v1 true Lease",
    "events ev events.k8s.io/v1 true Event",
    "clusterrolebindings rbac.authorization.k8s.io/v1 false ClusterRoleBinding",
    "clusterroles rbac.authorization.k8s.io/v1 false ClusterRole",
    "rolebindings rbac.authorization.k8s.io/v1 true RoleBinding",
    "roles rbac.authorization.k8s.io/v1 true Role",
    "statefulsets sts apps/v1 true StatefulSet",
    "horizontalpodautoscalers hpa autoscaling/v2 true HorizontalPodAutoscaler",
    "cronjobs cj batch/v1 true CronJob",
    "jobs batch/v1 true Job",
    "poddisruptionbudgets pdb policy/v1 true PodDisruptionBudget",
];

const DEVICES: &str = "
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: devices.example.com}
spec:
  group: example.com
  scope: Namespaced
  names: {plural: devices, singular: device, kind: Device}
  versions: [{name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object}}}]
";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_kubectls_find_the_version_and_every_kind() {
    let running = Running::start().await;
    let version = running.must("version").await;
    assert!(version.contains("\nServer Version: v1.36."), "{version}");
    for kubectl in [KUBECTL, KUBECTL_1_20] {
        let said = running.cluster.run(kubectl, &["api-resources"]).await;
        assert!(said.ok, "{said:?}");
        assert_eq!(lines(&said.out)[0], "NAME SHORTNAMES APIVERSION NAMESPACED KIND");
        assert_lines(&said.out, KINDS);
        let versions = running.cluster.run(kubectl, &["api-versions"]).await.out;
        assert_lines(&versions, &["v1", "apps/v1", "autoscaling/v1", "autoscaling/v2", "batch/v1"]);
    }
    assert!(running.must("cluster-info").await.contains("is running at"), "cluster-info");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn health_paths_and_what_is_not_there_are_answered_as_by_kubernetes() {
    let running = Running::start().await;
    for path in ["/healthz", "/livez", "/readyz"] {
        assert_eq!(running.must(&format!("get --raw {path}")).await, "ok");
    }
    assert!(running.must("get --raw /readyz?verbose").await.ends_with("readyz check passed\n"));
    let root: Value = serde_json::from_str(&running.must("get --raw /").await).unwrap();
    for path in ["/api/v1", "/apis/apps", "/apis/apps/v1", "/healthz", "/openapi/v3"] {
        assert!(root["paths"].as_array().unwrap().iter().any(|one| one == path), "{path} is not in {root}");
    }
    let not_found = "Error from server (NotFound): the server could not find the requested resource\n";
    assert_eq!(running.fails("get --raw /api/v1/nopes").await, not_found);
    assert_eq!(running.cluster.call("GET", "/nope", Value::Null).await.1, "404 page not found\n");
    let (code, status) = running.cluster.call("GET", "/api/v1/nopes", Value::Null).await;
    assert_eq!((code, &status["kind"]), (404, &"Status".into()));
    assert_eq!(status["message"], "the server could not find the requested resource");
    for (path, wanted) in [("/api/v1", "pods/exec"), ("/apis/apps/v1", "deployments/scale")] {
        let list = expect(running.cluster.call("GET", path, Value::Null), 200).await;
        let found = list["resources"].as_array().unwrap().iter().find(|one| one["name"] == wanted).cloned();
        let group = if wanted.ends_with("scale") { "autoscaling".into() } else { Value::Null };
        assert_eq!(found.expect(wanted)["group"], group);
    }
    for what in ["nodes", "pods"] {
        assert_eq!(running.fails(&format!("top {what}")).await, "error: Metrics API not available\n");
    }
    assert_eq!(
        running.fails("get nopes").await,
        "error: the server doesn't have a resource type \"nopes\"\n"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_kind_is_found_by_a_kubectl_that_has_looked_before() {
    let running = Running::start().await;
    for kubectl in [KUBECTL, KUBECTL_1_20] {
        assert!(running.cluster.run(kubectl, &["get", "pods"]).await.ok);
    }
    running.apply("crd.yaml", DEVICES).await;
    for kubectl in [KUBECTL, KUBECTL_1_20] {
        let said = running.cluster.run(kubectl, &["get", "devices"]).await;
        assert_eq!((said.ok, said.err.as_str()), (true, "No resources found in default namespace.\n"));
    }
    eventually("the document has it", || async {
        let (_, index) = running.cluster.call("GET", "/openapi/v3", Value::Null).await;
        index["paths"].get("apis/example.com/v1").map(|_| ())
    })
    .await;
    let groups = expect(running.cluster.call("GET", "/apis", Value::Null), 200).await;
    assert!(groups["groups"].as_array().unwrap().iter().any(|one| one["name"] == "example.com"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn explain_tells_fields_and_what_they_are_for() {
    let running = Running::start().await;
    for (kubectl, field) in
        [(KUBECTL, "FIELD: containers <[]Container>"), (KUBECTL_1_20, "RESOURCE: containers <[]Object>")]
    {
        let said = running.cluster.run(kubectl, &["explain", "pod.spec.containers"]).await.out;
        assert_lines(&said, &[field]);
        assert!(said.contains("Docker image name") || said.contains("Container image name"), "{said}");
    }
    let said = running.must("explain deploy --recursive").await;
    // Required in Rust only.
    assert_lines(
        &said,
        &["metadata <ObjectMeta>", "selector <LabelSelector> -required-", "maxSurge <IntOrString>"],
    );
    assert_eq!(
        words(&running.fails("explain pod.nope").await).join(" "),
        "error: field \"nope\" does not exist"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn get_all_shows_what_is_served_and_survives_delete_all() {
    let running = Running::start().await;
    running.apply("web.yaml", &deployment_and_service()).await;
    running.rolled_out("web").await;
    for kubectl in [KUBECTL, KUBECTL_1_20] {
        let said = running.cluster.run(kubectl, &["get", "all"]).await;
        assert!(said.ok && said.err.is_empty(), "{said:?}");
        let kinds: Vec<&str> = said
            .out
            .lines()
            .filter_map(|line| line.split_once('/').map(|(kind, _)| kind))
            .filter(|kind| !kind.contains(' '))
            .collect();
        let mut order = kinds.clone();
        order.dedup();
        assert_eq!(order, ["pod", "service", "deployment.apps", "replicaset.apps"], "{}", said.out);
    }
    let said = running.must("delete all --all").await;
    assert!(said.contains("service \"kubernetes\" deleted"), "{said}");
    // As in Kubernetes, pods must still find the API.
    let path = "/api/v1/namespaces/default/services/kubernetes";
    running.until(path, "back", |service| service["spec"]["clusterIP"] == "10.96.0.1").await;
}

fn deployment_and_service() -> String {
    super::deployment("web", 2)
        + "---\napiVersion: v1\nkind: Service\nmetadata: {name: web}\nspec: {selector: {app: web}, ports: [{port: 80}]}\n"
}
