//! What kubectl makes of the published schemas: explain, validation before sending, diff and dry runs, in 1.32 and 1.20.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, unreachable_pub)]

mod support;

use bytes::Bytes;
use http::StatusCode;
use http_body_util::BodyExt;
use serde_json::Value;
use support::{Cluster, KUBECTL, KUBECTL_1_20};

const DEPLOYMENT: &str = "
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
      - {name: nginx, image: 'nginx:1.27', ports: [{containerPort: 80}]}
      - {name: helper, image: 'busybox:1'}
";

const CRD: &str = r#"
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: widgets.example.com}
spec:
  group: example.com
  scope: Namespaced
  names: {plural: widgets, kind: Widget}
  versions:
  - name: v1
    served: true
    storage: true
    schema:
      openAPIV3Schema:
        type: object
        description: Widget is a thing with knobs.
        properties:
          spec:
            type: object
            description: What is wanted.
            properties:
              knobs: {type: integer, description: How many knobs it has.}
              note: {type: string, nullable: true}
              free: {type: object, x-kubernetes-preserve-unknown-fields: true}
              port: {x-kubernetes-int-or-string: true}
"#;

const WIDGET: &str = "
apiVersion: example.com/v1
kind: Widget
metadata: {name: one}
spec: {knobs: 3, note: null, free: {a: [1, {b: c}]}, port: http}
";

async fn with_widgets() -> Cluster {
    let cluster = Cluster::start().await;
    cluster.must(&["apply", "-f", &cluster.manifest("crd.yaml", CRD)]).await;
    cluster
}

#[tokio::test(flavor = "multi_thread")]
async fn explain_describes_fields_of_built_in_and_custom_kinds() {
    let cluster = with_widgets().await;
    for kubectl in [KUBECTL, KUBECTL_1_20] {
        let explain = async |args: &[&str]| {
            let said = cluster.run(kubectl, &[&["explain"], args].concat()).await;
            assert!(said.ok, "{kubectl} {args:?}: {said:?}");
            said.out.split_whitespace().collect::<Vec<_>>().join(" ")
        };
        let containers = explain(&["pod.spec.containers"]).await;
        assert!(
            containers.contains("image <string>") && containers.contains("List of containers"),
            "{containers}"
        );
        assert!(explain(&["deployment.spec.replicas"]).await.contains("<integer>"));
        let all = explain(&["deployments", "--recursive"]).await;
        assert!(
            all.contains("maxSurge <") && all.contains("terminationGracePeriodSeconds <integer>"),
            "{all}"
        );
        let widget = explain(&["widgets"]).await;
        assert!(
            widget.contains("Widget is a thing with knobs.") && widget.contains("metadata <"),
            "{widget}"
        );
        assert!(explain(&["widget.spec.knobs"]).await.contains("How many knobs it has."));
        assert!(explain(&["widgets", "--recursive"]).await.contains("knobs <integer>"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_1_20_finds_mistakes_itself_and_sends_nothing() {
    let cluster = with_widgets().await;
    let refused = async |verb: &str, text: &str| {
        let file = cluster.manifest("bad.yaml", text);
        let said = cluster.run(KUBECTL_1_20, &[verb, "-f", &file]).await;
        assert!(!said.ok, "{said:?}");
        said.err
    };
    for verb in ["apply", "create"] {
        let typo = refused(verb, &DEPLOYMENT.replace("replicas:", "replicaz:")).await;
        assert!(
            typo.contains(r#"error validating data: ValidationError(Deployment.spec): unknown field "replicaz" in io.k8s.api.apps.v1.DeploymentSpec"#),
            "{typo}"
        );
        let kind = refused(verb, &DEPLOYMENT.replace("replicas: 2", "replicas: two")).await;
        assert!(
            kind.contains(r#"ValidationError(Deployment.spec.replicas): invalid type for io.k8s.api.apps.v1.DeploymentSpec.replicas: got "string", expected "integer""#),
            "{kind}"
        );
        let missing = refused(verb, &DEPLOYMENT.replace("  selector: {matchLabels: {app: web}}\n", "")).await;
        assert!(
            missing.contains(r#"ValidationError(Deployment.spec): missing required field "selector" in io.k8s.api.apps.v1.DeploymentSpec"#),
            "{missing}"
        );
        let widget = refused(verb, &WIDGET.replace("knobs: 3", "knobz: 3")).await;
        assert!(
            widget.contains(
                r#"ValidationError(Widget.spec): unknown field "knobz" in com.example.v1.Widget.spec"#
            ),
            "{widget}"
        );
    }
    assert!(!cluster.kubectl(&["get", "deploy", "web"]).await.ok);
    assert!(!cluster.kubectl(&["get", "widget", "one"]).await.ok);
    // It reads the schema no stricter than the server does.
    let widget = cluster.manifest("widget.yaml", WIDGET);
    let applied = cluster.run(KUBECTL_1_20, &["apply", "-f", &widget]).await;
    assert_eq!(applied.out, "widget.example.com/one created\n", "{applied:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_1_20_merges_lists_by_the_published_keys_and_knows_dry_run_and_diff() {
    let cluster = Cluster::start().await;
    let file = cluster.manifest("web.yaml", DEPLOYMENT);
    let old = async |args: &[&str]| cluster.run(KUBECTL_1_20, args).await;
    let dry = old(&["apply", "--dry-run=server", "-f", &file]).await;
    assert_eq!(dry.out, "deployment.apps/web created (server dry run)\n", "{dry:?}");
    assert!(!cluster.kubectl(&["get", "deploy", "web"]).await.ok);
    assert_eq!(
        old(&["create", "--validate", "--save-config", "-f", &file]).await.out,
        "deployment.apps/web created\n"
    );
    // Somebody adds a container; an apply that changes another one leaves it alone.
    let sidecar = r#"{"spec":{"template":{"spec":{"containers":[{"name":"sidecar","image":"s:1"}]}}}}"#;
    cluster.must(&["patch", "deploy", "web", "-p", sidecar]).await;
    std::fs::write(&file, DEPLOYMENT.replace("nginx:1.27", "nginx:1.28")).unwrap();
    let diff = old(&["diff", "-f", &file]).await;
    assert!(
        !diff.ok && diff.out.contains("nginx:1.28") && !diff.out.contains("-        name: sidecar"),
        "{diff:?}"
    );
    assert_eq!(old(&["apply", "-f", &file]).await.out, "deployment.apps/web configured\n");
    let names = cluster
        .must(&["get", "deploy", "web", "-o", "jsonpath={.spec.template.spec.containers[*].image}"])
        .await;
    let mut images: Vec<&str> = names.split(' ').collect();
    images.sort_unstable();
    assert_eq!(images, ["busybox:1", "nginx:1.28", "s:1"]);
}

async fn get(cluster: &Cluster, path: &str, accept: &str, tag: &str) -> (StatusCode, http::HeaderMap, Bytes) {
    let request = http::Request::builder().uri(path).header("accept", accept).header("if-none-match", tag);
    let response = cluster.client.send(request.body(Vec::new().into()).unwrap()).await.unwrap();
    let (parts, body) = response.into_parts();
    #[allow(clippy::disallowed_methods, reason = "our own server's answers are bounded")]
    let bytes = body.collect().await.unwrap().to_bytes();
    (parts.status, parts.headers, bytes)
}

#[tokio::test(flavor = "multi_thread")]
async fn documents_are_sent_once_until_they_change() {
    let cluster = Cluster::start().await;
    let protobuf = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf";
    for (path, accept) in [
        ("/openapi/v2", "application/json"),
        ("/openapi/v2", protobuf),
        ("/openapi/v3/apis/apps/v1", "application/json"),
    ] {
        let (code, headers, body) = get(&cluster, path, accept, "\"none\"").await;
        assert_eq!(code, 200);
        let tag = headers["etag"].to_str().unwrap().to_owned();
        assert_eq!(headers["content-type"].to_str().unwrap().contains("protobuf"), accept == protobuf);
        assert_eq!(serde_json::from_slice::<Value>(&body).is_ok(), accept != protobuf);
        let (code, _, body) = get(&cluster, path, accept, &tag).await;
        assert_eq!((code.as_u16(), body.len()), (304, 0), "{path} {accept}");
    }
    let (_, headers, _) = get(&cluster, "/openapi/v2", protobuf, "").await;
    cluster.must(&["apply", "-f", &cluster.manifest("crd.yaml", CRD)]).await;
    let (code, changed, _) = get(&cluster, "/openapi/v2", protobuf, headers["etag"].to_str().unwrap()).await;
    assert_eq!(code, 200);
    assert_ne!(changed["etag"], headers["etag"]);
    let (code, _, _) = get(&cluster, "/openapi/v3/apis/nope/v1", "application/json", "").await;
    assert_eq!(code, 404);
}
