//! The real kubectl, 1.32 and 1.20, against the control plane.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, unreachable_pub)]

mod support;

use std::process::Stdio;
use std::time::Duration;

use support::{Cluster, KUBECTL, KUBECTL_1_20};
use tokio::io::{AsyncBufReadExt, BufReader};

const POD: &str = "
apiVersion: v1
kind: Pod
metadata:
  name: web
  labels: {app: web}
spec:
  nodeName: edge1
  containers:
  - name: nginx
    image: nginx:1.27
    ports: [{containerPort: 80}]
";

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
      - {name: nginx, image: 'nginx:1.27'}
      - {name: helper, image: 'busybox:1'}
";

const CRD: &str = r#"
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: widgets.example.com}
spec:
  group: example.com
  scope: Namespaced
  names: {plural: widgets, singular: widget, kind: Widget, shortNames: [wd], categories: [all]}
  versions:
  - name: v1
    served: true
    storage: true
    subresources: {status: {}}
    additionalPrinterColumns:
    - {name: "N", type: integer, jsonPath: .spec.n}
    schema:
      openAPIV3Schema:
        type: object
        properties:
          spec:
            type: object
            required: ["n"]
            properties:
              "n": {type: integer, minimum: 0, maximum: 9}
              mode: {type: string, enum: [a, b], default: a}
          status:
            type: object
            x-kubernetes-preserve-unknown-fields: true
"#;

async fn a_pod_lives_and_goes(kubectl: &str) {
    let cluster = Cluster::start().await;
    let file = cluster.manifest("pod.yaml", POD);
    let run = async |args: &[&str]| {
        let said = cluster.run(kubectl, args).await;
        assert!(said.ok, "{kubectl} {args:?}: {said:?}");
        said.out
    };
    let apply = async |file: &str| run(&["apply", "-f", file]).await;
    assert_eq!(apply(&file).await, "pod/web created\n");
    assert_eq!(apply(&file).await, "pod/web unchanged\n");
    let wide = run(&["get", "pods", "-o", "wide"]).await;
    let words: Vec<&str> = wide.split_whitespace().collect();
    assert_eq!(words[..7], ["NAME", "READY", "STATUS", "RESTARTS", "AGE", "IP", "NODE"], "{wide}");
    assert!(wide.contains("web    0/1     Pending   0") && wide.contains("edge1"), "{wide}");
    assert!(run(&["get", "pod", "web", "-o", "yaml"]).await.contains("image: nginx:1.27"));
    assert_eq!(run(&["get", "pods", "-o", "name", "-l", "app=web", "-A"]).await, "pod/web\n");
    assert_eq!(run(&["get", "pods", "-l", "app!=web", "-o", "name"]).await, "");
    let described = run(&["describe", "pod", "web"]).await;
    assert!(
        described.contains("Node:") && described.contains("edge1") && described.contains("Image:"),
        "{described}"
    );
    assert_eq!(run(&["label", "pod", "web", "tier=front"]).await, "pod/web labeled\n");
    assert_eq!(run(&["annotate", "pod", "web", "note=hi"]).await, "pod/web annotated\n");
    assert_eq!(
        run(&[
            "patch",
            "pod",
            "web",
            "-p",
            r#"{"spec":{"containers":[{"name":"nginx","image":"nginx:1.28"}]}}"#
        ])
        .await,
        "pod/web patched\n"
    );
    assert_eq!(
        run(&["patch", "pod", "web", "--type=merge", "-p", r#"{"metadata":{"labels":{"tier":"back"}}}"#])
            .await,
        "pod/web patched\n"
    );
    let json = r#"[{"op":"replace","path":"/metadata/labels/tier","value":"side"}]"#;
    assert_eq!(run(&["patch", "pod", "web", "--type=json", "-p", json]).await, "pod/web patched\n");
    let columns = run(&[
        "get",
        "pod",
        "web",
        "-o",
        "jsonpath={.metadata.labels.tier} {.spec.containers[*].image} {.metadata.annotations.note}",
    ])
    .await;
    assert_eq!(columns, "side nginx:1.28 hi");
    assert_eq!(run(&["delete", "pod", "web", "--wait=false"]).await, "pod \"web\" deleted\n");
    assert!(run(&["get", "pods"]).await.contains("Terminating"));
    run(&["delete", "pod", "web", "--force", "--grace-period=0"]).await;
    let gone = cluster.run(kubectl, &["get", "pod", "web"]).await;
    assert_eq!(gone.err, "Error from server (NotFound): pods \"web\" not found\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_is_applied_shown_changed_and_deleted() {
    a_pod_lives_and_goes(KUBECTL).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_is_applied_shown_changed_and_deleted_by_kubectl_1_20() {
    a_pod_lives_and_goes(KUBECTL_1_20).await;
}

async fn a_deployment_changes(kubectl: &str) {
    let cluster = Cluster::start().await;
    let run = async |args: &[&str]| {
        let said = cluster.run(kubectl, args).await;
        assert!(said.ok, "{kubectl} {args:?}: {said:?}");
        said.out
    };
    let file = cluster.manifest("web.yaml", DEPLOYMENT);
    let on_file = async |args: &[&str]| {
        let mut all = args.to_vec();
        all.extend(["-f", file.as_str()]);
        run(&all).await
    };
    assert_eq!(on_file(&["create"]).await, "deployment.apps/web created\n");
    on_file(&["apply"]).await;
    std::fs::write(&file, DEPLOYMENT.replace("nginx:1.27", "nginx:1.28")).unwrap();
    assert_eq!(on_file(&["apply"]).await, "deployment.apps/web configured\n");
    let shown = cluster.json(&["get", "deploy", "web"]).await;
    assert_eq!(shown["metadata"]["generation"], 2);
    assert_eq!(shown["spec"]["template"]["spec"]["containers"][1]["name"], "helper");
    assert!(run(&["get", "deploy"]).await.contains("0/2"));
    assert!(run(&["describe", "deploy", "web"]).await.contains("2 desired"));
    assert_eq!(run(&["scale", "deploy/web", "--replicas=3"]).await, "deployment.apps/web scaled\n");
    assert_eq!(
        run(&["set", "image", "deploy/web", "helper=busybox:2"]).await,
        "deployment.apps/web image updated\n"
    );
    let script = cluster.manifest("edit.sh", "#!/bin/sh\nsed -i 's/busybox:2/busybox:3/' \"$1\"\n");
    std::fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let mut edit = cluster.command(kubectl, &["edit", "deploy", "web"]);
    edit.env("EDITOR", &script);
    let edited = edit.output().await.unwrap();
    assert!(edited.status.success(), "{edited:?}");
    let shown = cluster.json(&["get", "deploy", "web"]).await;
    assert_eq!(shown["spec"]["replicas"], 3);
    assert_eq!(shown["spec"]["template"]["spec"]["containers"][1]["image"], "busybox:3");
    assert_eq!(on_file(&["replace"]).await, "deployment.apps/web replaced\n");
    assert_eq!(cluster.json(&["get", "deploy", "web"]).await["spec"]["replicas"], 2);
    assert_eq!(on_file(&["delete"]).await.replace("deployment.apps ", ""), "\"web\" deleted\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deployment_is_created_configured_scaled_edited_and_replaced() {
    a_deployment_changes(KUBECTL).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deployment_is_created_configured_scaled_edited_and_replaced_by_kubectl_1_20() {
    a_deployment_changes(KUBECTL_1_20).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn get_w_shows_each_change_as_a_row() {
    for kubectl in [KUBECTL, KUBECTL_1_20] {
        let cluster = Cluster::start().await;
        let mut watch = cluster.command(kubectl, &["get", "pods", "-w"]);
        let mut child = watch.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut line = async || {
            let line = tokio::time::timeout(Duration::from_secs(20), lines.next_line()).await;
            let line = line.expect("the watch is silent").unwrap().unwrap();
            line.split_whitespace().take(3).collect::<Vec<_>>().join(" ")
        };
        let file = cluster.manifest("pod.yaml", POD);
        cluster.must(&["create", "-f", &file]).await;
        assert_eq!(line().await, "NAME READY STATUS");
        assert_eq!(line().await, "web 0/1 Pending");
        let running = r#"{"status":{"phase":"Running","containerStatuses":[{"name":"nginx","image":"i","imageID":"i","ready":true,"restartCount":0,"state":{"running":{}}}]}}"#;
        cluster.must(&["patch", "pod", "web", "--subresource=status", "-p", running]).await;
        assert_eq!(line().await, "web 1/1 Running");
        cluster.must(&["delete", "pod", "web", "--wait=false"]).await;
        assert_eq!(line().await, "web 1/1 Terminating");
        child.kill().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_manifests_are_refused_in_the_servers_words_and_nothing_is_stored() {
    let cluster = Cluster::start().await;
    let refused = async |text: &str| {
        let said = cluster.kubectl(&["apply", "-f", &cluster.manifest("bad.yaml", text)]).await;
        assert!(!said.ok, "{said:?}");
        said.err
    };
    let typo = refused(&POD.replace("image:", "imagee: x\n    image:")).await;
    assert!(typo.contains("strict decoding error: unknown field \"spec.containers[0].imagee\""), "{typo}");
    let number = refused(&DEPLOYMENT.replace("replicas: 2", "replicas: two")).await;
    assert!(number.contains("Deployment in version \"v1\" cannot be handled as a Deployment: "), "{number}");
    let name = refused(&POD.replace("name: web\n", "name: Web_1\n")).await;
    assert!(name.contains("The Pod \"Web_1\" is invalid: metadata.name: Invalid value: \"Web_1\": a lowercase RFC 1123 subdomain must consist of"), "{name}");
    let missing = refused(&POD.replace("    image: nginx:1.27\n", "")).await;
    assert!(missing.contains("spec.containers[0].image: Required value"), "{missing}");
    let nowhere = cluster.kubectl(&["apply", "-n", "nons", "-f", &cluster.manifest("pod.yaml", POD)]).await;
    assert!(nowhere.err.contains("namespaces \"nons\" not found"), "{nowhere:?}");
    assert_eq!(
        cluster.kubectl(&["get", "pods,deploy"]).await.err,
        "No resources found in default namespace.\n"
    );
    let warned = cluster
        .kubectl(&[
            "apply",
            "--validate=warn",
            "-f",
            &cluster.manifest("w.yaml", &POD.replace("image:", "imagee: x\n    image:")),
        ])
        .await;
    assert!(
        warned.ok && warned.err.contains("Warning: unknown field \"spec.containers[0].imagee\""),
        "{warned:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_custom_kind_is_served_at_once_checked_and_gone_with_its_definition() {
    for kubectl in [KUBECTL, KUBECTL_1_20] {
        let cluster = Cluster::start().await;
        let crd = cluster.manifest("crd.yaml", CRD);
        cluster.must(&["get", "pods"]).await;
        cluster.must(&["apply", "-f", &crd]).await;
        cluster
            .must(&["wait", "--for=condition=Established", "--timeout=5s", "crd/widgets.example.com"])
            .await;
        let widget = |n: &str| {
            format!(
                "apiVersion: example.com/v1\nkind: Widget\nmetadata: {{name: one}}\nspec: {{\"n\": {n}}}\n"
            )
        };
        let apply = async |text: &str| {
            let file = cluster.manifest("widget.yaml", text);
            cluster.run(kubectl, &["apply", "-f", &file]).await
        };
        assert_eq!(apply(&widget("3")).await.out, "widget.example.com/one created\n");
        assert_eq!(apply(&widget("4")).await.out, "widget.example.com/one configured\n");
        let shown = cluster.run(kubectl, &["get", "wd"]).await.out;
        assert_eq!(shown.split_whitespace().collect::<Vec<_>>(), ["NAME", "N", "one", "4"], "{shown}");
        assert_eq!(cluster.json(&["get", "widget", "one"]).await["spec"]["mode"], "a");
        let wrong = apply(&widget("10")).await.err;
        assert!(
            wrong.contains("spec.n: Invalid value: 10: spec.n in body should be less than or equal to 9"),
            "{wrong}"
        );
        let wrong = apply(&widget("3, mode: z")).await.err;
        assert!(
            wrong.contains("spec.mode: Unsupported value: \"z\": supported values: \"a\", \"b\""),
            "{wrong}"
        );
        let wrong = apply(&widget("x")).await.err;
        // The old one finds it itself.
        let expected = match kubectl {
            KUBECTL => "spec.n in body must be of type integer: \"string\"",
            _ => "got \"string\", expected \"integer\"",
        };
        assert!(wrong.contains(expected), "{wrong}");
        cluster
            .must(&[
                "patch",
                "widget",
                "one",
                "--subresource=status",
                "--type=merge",
                "-p",
                r#"{"status":{"seen":true}}"#,
            ])
            .await;
        cluster.must(&["delete", "-f", &crd]).await;
        // kubectl may still know the kind from its cache; the server does not.
        let gone = cluster.run(kubectl, &["get", "wd"]).await;
        assert!(!gone.ok, "{gone:?}");
        assert_eq!(cluster.run(kubectl, &["get", "crds", "-o", "name"]).await.out, "");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn discovery_explains_what_is_there() {
    let cluster = Cluster::start().await;
    assert!(cluster.must(&["version"]).await.contains("Server Version: v1.36."));
    for kubectl in [KUBECTL, KUBECTL_1_20] {
        let kinds = cluster.run(kubectl, &["api-resources"]).await.out;
        for row in
            ["deployments deploy apps/v1 true Deployment", "pods po v1 true Pod", "nodes no v1 false Node"]
        {
            let found =
                kinds.lines().any(|line| line.split_whitespace().collect::<Vec<_>>().join(" ") == row);
            assert!(found, "{row} is not in\n{kinds}");
        }
    }
    assert!(cluster.must(&["explain", "pod.spec.containers.image"]).await.contains("FIELD: image <string>"));
    assert!(cluster.must(&["get", "--raw", "/"]).await.contains("paths"));
    assert!(cluster.must(&["get", "--raw", "/readyz?verbose"]).await.ends_with("readyz check passed\n"));
    assert_eq!(cluster.kubectl(&["top", "nodes"]).await.err, "error: Metrics API not available\n");
    assert!(cluster.must(&["get", "all", "-A"]).await.contains("service/kubernetes"));
}

#[tokio::test(flavor = "multi_thread")]
async fn delete_returns_when_the_namespace_is_really_gone() {
    let cluster = Cluster::start().await;
    let namespace = cluster.manifest("ns.yaml", "apiVersion: v1\nkind: Namespace\nmetadata: {name: foo}\n");
    cluster.must(&["apply", "-f", &namespace]).await;
    cluster.must(&["apply", "-n", "foo", "-f", &cluster.manifest("d.yaml", DEPLOYMENT)]).await;
    assert_eq!(cluster.must(&["delete", "ns", "foo"]).await, "namespace \"foo\" deleted\n");
    assert!(!cluster.kubectl(&["get", "ns", "foo"]).await.ok);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_side_dry_run_and_diff_store_nothing() {
    let cluster = Cluster::start().await;
    let file = cluster.manifest("web.yaml", DEPLOYMENT);
    assert_eq!(
        cluster.must(&["apply", "--dry-run=server", "-f", &file]).await,
        "deployment.apps/web created (server dry run)\n"
    );
    assert!(!cluster.kubectl(&["get", "deploy", "web"]).await.ok);
    cluster.must(&["apply", "-f", &file]).await;
    let before = cluster.json(&["get", "deploy", "web"]).await;
    std::fs::write(&file, DEPLOYMENT.replace("replicas: 2", "replicas: 5")).unwrap();
    let diff = cluster.kubectl(&["diff", "-f", &file]).await;
    assert!(!diff.ok && diff.out.contains("+  replicas: 5"), "{diff:?}");
    assert_eq!(cluster.json(&["get", "deploy", "web"]).await, before);
    assert_eq!(
        cluster.must(&["apply", "--server-side", "-f", &file]).await,
        "deployment.apps/web serverside-applied\n"
    );
    assert_eq!(cluster.json(&["get", "deploy", "web"]).await["spec"]["replicas"], 5);
}
