//! What Helm 4 sends for a chart: custom kinds first, everything else by strict server-side apply as `helm`, a release record in a
//! Secret, a wait for what was made, and background deletion. `kubectl` sends it here, with Helm's own parameters.

use serde_json::{Value, json};

use crate::support::Managed;

const CRD: &str = r#"
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: backups.shop.example}
spec:
  group: shop.example
  scope: Namespaced
  names: {plural: backups, singular: backup, kind: Backup}
  versions:
  - name: v1
    served: true
    storage: true
    schema:
      openAPIV3Schema:
        type: object
        properties:
          spec: {type: object, required: [every], properties: {every: {type: string}}}
"#;

/// The chart's templates, rendered for a version of the image.
fn templates(image: &str, replicas: u32) -> String {
    let labels = "{app.kubernetes.io/name: shop, app.kubernetes.io/managed-by: Helm}";
    format!(
        r#"
apiVersion: v1
kind: ServiceAccount
metadata: {{name: shop, labels: {labels}}}
---
apiVersion: v1
kind: ConfigMap
metadata: {{name: shop, labels: {labels}}}
data: {{image: "{image}"}}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {{name: shop, labels: {labels}}}
rules: [{{apiGroups: [""], resources: [configmaps], verbs: [get]}}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {{name: shop, labels: {labels}}}
roleRef: {{apiGroup: rbac.authorization.k8s.io, kind: Role, name: shop}}
subjects: [{{kind: ServiceAccount, name: shop, namespace: shop}}]
---
apiVersion: v1
kind: Service
metadata: {{name: shop, labels: {labels}}}
spec: {{selector: {{app.kubernetes.io/name: shop}}, ports: [{{name: http, port: 80, targetPort: http}}]}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {{name: shop, labels: {labels}}}
spec:
  replicas: {replicas}
  selector: {{matchLabels: {{app.kubernetes.io/name: shop}}}}
  template:
    metadata: {{labels: {labels}}}
    spec:
      serviceAccountName: shop
      containers:
      - name: shop
        image: {image}
        ports: [{{name: http, containerPort: 8080}}]
        readinessProbe: {{httpGet: {{path: /, port: http}}}}
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {{name: shop, labels: {labels}}}
spec:
  rules:
  - host: shop.example
    http: {{paths: [{{path: /, pathType: Prefix, backend: {{service: {{name: shop, port: {{name: http}}}}}}}}]}}
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: {{name: shop, labels: {labels}}}
spec: {{minAvailable: 1, selector: {{matchLabels: {{app.kubernetes.io/name: shop}}}}}}
---
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {{name: shop, labels: {labels}}}
spec:
  scaleTargetRef: {{apiVersion: apps/v1, kind: Deployment, name: shop}}
  maxReplicas: 5
  metrics: [{{type: Resource, resource: {{name: cpu, target: {{type: Utilization, averageUtilization: 80}}}}}}]
---
apiVersion: shop.example/v1
kind: Backup
metadata: {{name: shop, labels: {labels}}}
spec: {{every: 1h}}
"#
    )
}

const HOOK: &str = r"
apiVersion: batch/v1
kind: Job
metadata:
  name: shop-migrate
  annotations: {helm.sh/hook: pre-upgrade}
spec:
  template:
    metadata: {annotations: {agent/exit: '0'}}
    spec: {restartPolicy: Never, containers: [{name: migrate, image: busybox, command: ['true']}]}
";

async fn apply(managed: &Managed, file: &str, text: &str) -> String {
    let path = managed.cluster.manifest(file, text);
    let helm =
        ["apply", "-n", "shop", "--server-side", "--field-manager=helm", "--validate=strict", "-f", &path];
    managed.cluster.must(&helm).await
}

async fn rolled_out(managed: &Managed) {
    managed.cluster.must(&["rollout", "status", "-n", "shop", "deployment/shop", "--timeout=25s"]).await;
}

/// The record of a release, as Helm keeps and finds it.
fn record(version: u32, status: &str) -> Value {
    json!({
        "metadata": {
            "name": format!("sh.helm.release.v1.shop.v{version}"),
            "labels": {"name": "shop", "owner": "helm", "status": status, "version": version.to_string()},
        },
        "type": "helm.sh/release.v1",
        "stringData": {"release": "H4sI".repeat(200_000)},
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_chart_is_installed_upgraded_rolled_back_and_uninstalled() {
    let managed = Managed::start().await;
    let _node = managed.node("one");
    let cluster = &managed.cluster;
    cluster.must(&["create", "namespace", "shop"]).await;

    apply(&managed, "crd.yaml", CRD).await;
    cluster.must(&["wait", "--for=condition=Established", "crd/backups.shop.example", "--timeout=20s"]).await;
    let secrets = "/api/v1/namespaces/shop/secrets";
    let (code, answer) = cluster.call("POST", secrets, record(1, "pending-install")).await;
    assert_eq!(code, 201, "{answer}");
    let installed = apply(&managed, "v1.yaml", &templates("shop:1", 2)).await;
    assert_eq!(installed.lines().count(), 10, "{installed}");
    assert!(installed.lines().all(|line| line.ends_with("serverside-applied")), "{installed}");
    rolled_out(&managed).await;
    let deployed = json!({"metadata": {"labels": {"status": "deployed"}}});
    let (code, _) =
        cluster.patch("merge-patch+json", &format!("{secrets}/sh.helm.release.v1.shop.v1"), deployed).await;
    assert_eq!(code, 200);
    let released = "?labelSelector=name%3Dshop%2Cowner%3Dhelm%2Cstatus%3Ddeployed";
    let (_, found) = cluster.call("GET", &format!("{secrets}{released}"), Value::Null).await;
    assert_eq!(found["items"].as_array().unwrap().len(), 1);

    // An upgrade: the hook first, then the templates; what somebody else set is not taken away.
    cluster.must(&["annotate", "-n", "shop", "deployment/shop", "team=sea"]).await;
    apply(&managed, "hook.yaml", HOOK).await;
    cluster
        .must(&["wait", "-n", "shop", "--for=condition=complete", "job/shop-migrate", "--timeout=25s"])
        .await;
    cluster.must(&["delete", "-n", "shop", "job/shop-migrate"]).await;
    apply(&managed, "v2.yaml", &templates("shop:2", 3)).await;
    rolled_out(&managed).await;
    let deployment = cluster.json(&["get", "-n", "shop", "deployment/shop"]).await;
    assert_eq!(deployment["metadata"]["annotations"]["team"], "sea");
    assert_eq!(deployment["status"]["updatedReplicas"], 3);
    assert_eq!(deployment["spec"]["template"]["spec"]["containers"][0]["image"], "shop:2");

    // What a person changed by hand is a conflict, which Helm shows and does not overrule.
    cluster.must(&["scale", "-n", "shop", "deployment/shop", "--replicas=4"]).await;
    let path = cluster.manifest("v3.yaml", &templates("shop:2", 3));
    let helm = ["apply", "-n", "shop", "--server-side", "--field-manager=helm", "-f", &path];
    let refused = cluster.kubectl(&helm).await;
    assert!(!refused.ok && refused.err.contains(".spec.replicas"), "{refused:?}");

    // A rollback, by force.
    let path = cluster.manifest("v1.yaml", &templates("shop:1", 2));
    let helm =
        ["apply", "-n", "shop", "--server-side", "--force-conflicts", "--field-manager=helm", "-f", &path];
    cluster.must(&helm).await;
    rolled_out(&managed).await;
    let deployment = cluster.json(&["get", "-n", "shop", "deployment/shop"]).await;
    assert_eq!(deployment["spec"]["template"]["spec"]["containers"][0]["image"], "shop:1");
    assert_eq!(deployment["spec"]["replicas"], 2);

    let uninstall = ["delete", "-n", "shop", "--cascade=background", "-f", &path];
    cluster.must(&uninstall).await;
    let pods = "/api/v1/namespaces/shop/pods";
    managed.until(pods, "gone", |list| list["items"].as_array().is_some_and(Vec::is_empty)).await;
    let slices = "/apis/discovery.k8s.io/v1/namespaces/shop/endpointslices";
    managed.until(slices, "gone", |list| list["items"].as_array().is_some_and(Vec::is_empty)).await;
}
