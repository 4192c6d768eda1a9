//! Server-side apply and `managedFields`: through the API, with the real kubectl, and with kube-rs.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, unreachable_pub)]

mod support;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api, Patch, PatchParams};
use serde_json::{Value, json};
use support::{Cluster, KUBECTL_1_20, call};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/default/deployments";
const WIDGETS: &str = "/apis/example.com/v1/namespaces/default/widgets";

const DEPLOYMENT: &str = "
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, labels: {app: web}}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
      - name: nginx
        image: nginx:1.27
        env: [{name: A, value: '1'}, {name: B, value: '2'}]
        ports: [{containerPort: 80}]
      - {name: helper, image: 'busybox:1'}
";

const CRD: &str = r#"
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: widgets.example.com}
spec:
  group: example.com
  scope: Namespaced
  names: {plural: widgets, singular: widget, kind: Widget}
  versions:
  - name: v1
    served: true
    storage: true
    subresources: {STATUS}
    schema:
      openAPIV3Schema:
        type: object
        properties:
          spec:
            type: object
            properties:
              size: {type: integer, default: 1}
              tags: {type: array, x-kubernetes-list-type: set, items: {type: string}}
              plain: {type: array, items: {type: string}}
              parts:
                type: array
                x-kubernetes-list-type: map
                x-kubernetes-list-map-keys: [id, zone]
                items:
                  type: object
                  required: [id]
                  properties:
                    id: {type: string}
                    zone: {type: string, default: here}
                    count: {type: integer}
              whole:
                type: object
                x-kubernetes-map-type: atomic
                additionalProperties: {type: string}
              free: {type: object, x-kubernetes-preserve-unknown-fields: true}
          status:
            type: object
            properties: {phase: {type: string}, seen: {type: integer}}
"#;

fn map(data: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "m"}, "data": data})
}

async fn apply(cluster: &Cluster, path: &str, query: &str, body: Value) -> (u16, Value) {
    cluster.patch("apply-patch+yaml", &format!("{path}?{query}"), body).await
}

async fn applied(cluster: &Cluster, path: &str, manager: &str, body: Value) -> Value {
    let (code, body) = apply(cluster, path, &format!("fieldManager={manager}"), body).await;
    assert!(matches!(code, 200 | 201), "{body}");
    body
}

/// What entries say, without their times: manager, operation, subresource, fields.
fn owners(object: &Value) -> Vec<String> {
    let entries = object["metadata"]["managedFields"].as_array().cloned().unwrap_or_default();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mut all: Vec<String> = entries
        .iter()
        .map(|entry| {
            let parts = [&entry["manager"], &entry["operation"], &entry["subresource"]].map(text);
            format!("{} {}", parts.join(" "), entry["fieldsV1"])
        })
        .collect();
    all.sort();
    all
}

fn message(answer: &(u16, Value)) -> (u16, &str) {
    (answer.0, answer.1["message"].as_str().unwrap_or_default())
}

#[tokio::test(flavor = "multi_thread")]
async fn every_write_says_who_made_it() {
    let cluster = Cluster::start().await;
    let (_, created) =
        cluster.call("POST", &format!("{MAPS}?fieldManager=one"), map(json!({"a": "1", "b": "1"}))).await;
    assert_eq!(owners(&created), [r#"one Update  {"f:data":{".":{},"f:a":{},"f:b":{}}}"#]);
    let path = format!("{MAPS}/m");
    let (_, patched) = cluster
        .patch("merge-patch+json", &format!("{path}?fieldManager=two"), json!({"data": {"b": "2"}}))
        .await;
    let moved = [r#"one Update  {"f:data":{".":{},"f:a":{}}}"#, r#"two Update  {"f:data":{"f:b":{}}}"#];
    assert_eq!(owners(&patched), moved);
    // Who does not give a name is known by the program.
    let request = http::Request::builder()
        .method("PUT")
        .uri(&path)
        .header("content-type", "application/json")
        .header("user-agent", "robot/1.0 (linux)");
    let body = map(json!({"a": "1"})).to_string().into_bytes();
    cluster.client.send(request.body(body.into()).unwrap()).await.unwrap();
    let (_, put) = cluster.call("GET", &path, Value::Null).await;
    assert_eq!(owners(&put), [r#"one Update  {"f:data":{".":{},"f:a":{}}}"#]);
    let request = http::Request::builder()
        .method("PUT")
        .uri(&path)
        .header("content-type", "application/json")
        .header("user-agent", "robot/1.0 (linux)");
    let body = map(json!({"a": "3"})).to_string().into_bytes();
    cluster.client.send(request.body(body.into()).unwrap()).await.unwrap();
    let (_, put) = cluster.call("GET", &path, Value::Null).await;
    assert_eq!(owners(&put), [r#"one Update  {"f:data":{}}"#, r#"robot Update  {"f:data":{"f:a":{}}}"#]);
    let (_, same) = cluster.call("PUT", &format!("{path}?fieldManager=three"), put.clone()).await;
    assert_eq!(same, put, "a change of nothing is none");
    for forgotten in [json!([]), json!([{}])] {
        let body = json!({"metadata": {"managedFields": forgotten}});
        let (_, reset) = cluster.patch("merge-patch+json", &path, body).await;
        assert_eq!(reset["metadata"].get("managedFields"), None);
    }
    let long = "x".repeat(129);
    let refused = cluster.call("PUT", &format!("{path}?fieldManager={long}"), map(json!({}))).await;
    assert_eq!(
        message(&refused),
        (
            422,
            "UpdateOptions.meta.k8s.io \"\" is invalid: fieldManager: Too long: may not be more than 128 bytes"
        )
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn appliers_conflict_share_and_let_go() {
    let cluster = Cluster::start().await;
    let path = format!("{MAPS}/m");
    let (code, first) = apply(&cluster, &path, "fieldManager=m1", map(json!({"a": "1", "b": "1"}))).await;
    assert_eq!((code, owners(&first)), (201, vec![r#"m1 Apply  {"f:data":{"f:a":{},"f:b":{}}}"#.to_owned()]));
    let again = applied(&cluster, &path, "m1", map(json!({"a": "1", "b": "1"}))).await;
    assert_eq!(again, first, "the same again is no write");
    let refused = apply(&cluster, &path, "fieldManager=m2", map(json!({"a": "2"}))).await;
    assert_eq!(message(&refused), (409, "Apply failed with 1 conflict: conflict with \"m1\": .data.a"));
    assert_eq!(refused.1["reason"], "Conflict");
    assert_eq!(
        refused.1["details"]["causes"],
        json!([{"reason": "FieldManagerConflict", "message": "conflict with \"m1\"", "field": ".data.a"}])
    );
    let (_, taken) = apply(&cluster, &path, "fieldManager=m2&force=true", map(json!({"a": "2"}))).await;
    assert_eq!(owners(&taken), [r#"m1 Apply  {"f:data":{"f:b":{}}}"#, r#"m2 Apply  {"f:data":{"f:a":{}}}"#]);
    let shared = applied(&cluster, &path, "m3", map(json!({"b": "1"}))).await;
    assert_eq!(owners(&shared).len(), 3);
    let left = applied(&cluster, &path, "m1", map(json!({}))).await;
    assert_eq!(left["data"], json!({"a": "2", "b": "1"}), "m3 still wants b");
    let left = applied(&cluster, &path, "m3", map(json!({}))).await;
    assert_eq!(left["data"], json!({"a": "2"}));
    // A stranger's change takes the field; then the applier conflicts with it.
    let change = json!({"data": {"a": "9", "z": "9"}});
    cluster.patch("merge-patch+json", &format!("{path}?fieldManager=up"), change).await;
    let refused = apply(&cluster, &path, "fieldManager=m2", map(json!({"a": "2", "z": "1"}))).await;
    assert_eq!(
        message(&refused),
        (409, "Apply failed with 2 conflicts: conflicts with \"up\" using v1:\n- .data.a\n- .data.z")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_with_an_apply_is_said_in_kubernetes_words() {
    let cluster = Cluster::start().await;
    let path = format!("{MAPS}/m");
    let refused = apply(&cluster, &path, "", map(json!({}))).await;
    assert_eq!(
        message(&refused),
        (
            422,
            "PatchOptions.meta.k8s.io \"\" is invalid: fieldManager: Required value: is required for apply patch"
        )
    );
    let refused = cluster.patch("merge-patch+json", &format!("{path}?force=true"), json!({})).await;
    assert_eq!(
        message(&refused),
        (
            422,
            "PatchOptions.meta.k8s.io \"\" is invalid: force: Forbidden: may not be specified for non-apply patch"
        )
    );
    let mut with_entries = map(json!({}));
    with_entries["metadata"]["managedFields"] = json!([]);
    let refused = apply(&cluster, &path, "fieldManager=m", with_entries).await;
    assert_eq!(message(&refused), (400, "metadata.managedFields must be nil"));
    let refused = apply(&cluster, &path, "fieldManager=m", json!({"metadata": {"name": "m"}})).await;
    assert_eq!(message(&refused), (400, "invalid object type: /, Kind="));
    let mut unknown = map(json!({}));
    unknown["dat"] = json!({});
    let refused = apply(&cluster, &path, "fieldManager=m", unknown).await;
    assert_eq!(
        message(&refused),
        (
            500,
            "failed to create typed patch object (default/m; /v1, Kind=ConfigMap): .dat: field not declared in schema"
        )
    );
    let mut elsewhere = map(json!({}));
    elsewhere["metadata"]["uid"] = json!("x");
    let refused = apply(&cluster, &path, "fieldManager=m", elsewhere.clone()).await;
    assert_eq!(refused.0, 409);
    assert!(
        message(&refused)
            .1
            .contains("uid mismatch: the provided object specified uid x, and no existing object was found")
    );
    let dry = apply(&cluster, &path, "fieldManager=m&dryRun=All", map(json!({"a": "1"}))).await;
    assert_eq!((dry.0, owners(&dry.1).len()), (201, 1));
    assert_eq!(cluster.call("GET", &path, Value::Null).await.0, 404);
    applied(&cluster, &path, "m", map(json!({"a": "1"}))).await;
    assert_eq!(apply(&cluster, &path, "fieldManager=m", elsewhere).await.0, 409);
    let mut stale = map(json!({"a": "2"}));
    stale["metadata"]["resourceVersion"] = json!("1");
    let refused = apply(&cluster, &path, "fieldManager=m", stale).await;
    assert!(message(&refused).1.contains("the object has been modified"), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn yaml_is_applied_and_lists_are_merged_by_their_keys() {
    let cluster = Cluster::start().await;
    let request = http::Request::builder()
        .method("PATCH")
        .uri(format!("{DEPLOYMENTS}/web?fieldManager=one"))
        .header("content-type", "application/apply-patch+yaml");
    let response = cluster.client.send(request.body(DEPLOYMENT.as_bytes().to_vec().into()).unwrap()).await;
    assert_eq!(response.unwrap().status(), 201);
    let path = format!("{DEPLOYMENTS}/web");
    let two = |container: Value| {
        json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"},
            "spec": {"template": {"spec": {"containers": [container]}}}})
    };
    let side = json!({"name": "nginx", "env": [{"name": "C", "value": "3"}], "ports": [{"containerPort": 81, "name": "admin"}]});
    let both = applied(&cluster, &path, "two", two(side)).await;
    let nginx = &both["spec"]["template"]["spec"]["containers"][0];
    assert_eq!(nginx["image"], "nginx:1.27");
    assert_eq!(nginx["env"].as_array().unwrap().len(), 3);
    assert_eq!(nginx["ports"].as_array().unwrap().len(), 2);
    let mine = owners(&both).into_iter().find(|one| one.starts_with("two")).unwrap();
    assert_eq!(
        mine,
        r#"two Apply  {"f:spec":{"f:template":{"f:spec":{"f:containers":{"k:{\"name\":\"nginx\"}":{".":{},"f:env":{"k:{\"name\":\"C\"}":{".":{},"f:name":{},"f:value":{}}},"f:name":{},"f:ports":{"k:{\"containerPort\":81,\"protocol\":\"TCP\"}":{".":{},"f:containerPort":{},"f:name":{}}}}}}}}}"#
    );
    let left = applied(&cluster, &path, "two", two(json!({"name": "nginx"}))).await;
    let nginx = &left["spec"]["template"]["spec"]["containers"][0];
    assert_eq!(nginx["env"], json!([{"name": "A", "value": "1"}, {"name": "B", "value": "2"}]));
    assert_eq!(nginx["ports"].as_array().unwrap().len(), 1);
    // A field that has a default gets it back when its last owner lets it go.
    let mut scaled = two(json!({"name": "nginx"}));
    scaled["spec"]["replicas"] = json!(5);
    let (_, five) = apply(&cluster, &path, "fieldManager=two&force=true", scaled).await;
    assert_eq!(five["spec"]["replicas"], 5);
    let left = applied(&cluster, &path, "two", two(json!({"name": "nginx"}))).await;
    assert_eq!(left["spec"]["replicas"], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn status_and_scale_have_entries_of_their_own() {
    let cluster = Cluster::start().await;
    cluster.must(&["apply", "-f", &cluster.manifest("d.yaml", DEPLOYMENT)]).await;
    let path = format!("{DEPLOYMENTS}/web");
    let status = json!({"status": {"replicas": 1}, "spec": {"replicas": 9}});
    let (_, reported) =
        cluster.patch("merge-patch+json", &format!("{path}/status?fieldManager=agent"), status).await;
    assert_eq!(reported["spec"]["replicas"], 2);
    assert!(
        owners(&reported).contains(&r#"agent Update status {"f:status":{"f:replicas":{}}}"#.to_owned()),
        "{:?}",
        owners(&reported)
    );
    cluster.must(&["scale", "deploy/web", "--replicas=3"]).await;
    let (_, scaled) = cluster.call("GET", &path, Value::Null).await;
    assert!(
        owners(&scaled).contains(&r#"kubectl Update scale {"f:spec":{"f:replicas":{}}}"#.to_owned()),
        "{:?}",
        owners(&scaled)
    );
    let config = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}, "spec": {"replicas": 4}});
    let refused = apply(&cluster, &path, "fieldManager=me", config).await;
    assert_eq!(
        message(&refused),
        (
            409,
            "Apply failed with 1 conflict: conflict with \"kubectl\" with subresource \"scale\" using apps/v1: .spec.replicas"
        )
    );
    let config = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}, "spec": {"replicas": 8}, "status": {"availableReplicas": 1}});
    let applied = applied(&cluster, &format!("{path}/status"), "observer", config).await;
    assert!(
        owners(&applied)
            .contains(&r#"observer Apply status {"f:status":{"f:availableReplicas":{}}}"#.to_owned()),
        "{:?}",
        owners(&applied)
    );
    assert_eq!((&applied["spec"]["replicas"], &applied["status"]["replicas"]), (&json!(3), &json!(1)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scale_is_applied_and_its_applier_owns_the_replicas() {
    let cluster = Cluster::start().await;
    let object = json!({"metadata": {"name": "web"}, "spec": {"selector": {"matchLabels": {"a": "b"}},
        "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}}});
    let (code, made) = cluster.call("POST", DEPLOYMENTS, object).await;
    assert_eq!(code, 201, "{made}");
    let path = format!("{DEPLOYMENTS}/web");
    let scale = |replicas: u32| json!({"apiVersion": "autoscaling/v1", "kind": "Scale", "metadata": {"name": "web"}, "spec": {"replicas": replicas}});
    let refused = apply(&cluster, &format!("{path}/scale"), "", scale(3)).await;
    assert!(refused.1["message"].as_str().unwrap().contains("is required for apply patch"), "{refused:?}");
    let query = "fieldManager=scaler&force=true";
    let (code, scaled) = apply(&cluster, &format!("{path}/scale"), query, scale(3)).await;
    assert_eq!(
        (code, &scaled["kind"], &scaled["spec"]["replicas"]),
        (200, &json!("Scale"), &json!(3)),
        "{scaled}"
    );
    let (_, now) = cluster.call("GET", &path, Value::Null).await;
    assert_eq!((&now["spec"]["replicas"], &now["metadata"]["generation"]), (&json!(3), &json!(2)));
    let own = r#"scaler Apply scale {"f:spec":{"f:replicas":{}}}"#.to_owned();
    assert!(owners(&now).contains(&own), "{:?}", owners(&now));
    let refused = apply(&cluster, &format!("{path}/scale"), "fieldManager=other", scale(5)).await;
    assert_eq!(
        message(&refused),
        (
            409,
            "Apply failed with 1 conflict: conflict with \"scaler\" with subresource \"scale\": .spec.replicas"
        )
    );
    let (code, again) = apply(&cluster, &format!("{path}/scale"), "fieldManager=scaler", scale(3)).await;
    assert_eq!((code, &again["metadata"]["resourceVersion"]), (200, &now["metadata"]["resourceVersion"]));
    let mut wrong = scale(3);
    wrong["kind"] = json!("Deployment");
    let refused = apply(&cluster, &format!("{path}/scale"), query, wrong).await;
    assert_eq!(message(&refused), (400, "invalid object type: autoscaling/v1, Kind=Deployment"));
    assert_eq!(apply(&cluster, &format!("{DEPLOYMENTS}/none/scale"), query, scale(1)).await.0, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn custom_resources_are_owned_as_their_schema_says() {
    for status in ["{status: {}}", "{}"] {
        let cluster = Cluster::start().await;
        cluster.must(&["apply", "-f", &cluster.manifest("crd.yaml", &CRD.replace("{STATUS}", status))]).await;
        let path = format!("{WIDGETS}/w");
        let widget = |spec: Value| json!({"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": "w"}, "spec": spec, "status": {"phase": "x"}});
        let spec = json!({"tags": ["b", "a"], "plain": ["x"], "parts": [{"id": "1", "count": 1}], "whole": {"k": "v"}, "free": {"deep": {"er": [1]}}});
        let first = applied(&cluster, &path, "one", widget(spec)).await;
        let expected = r#"{"f:spec":{"f:free":{"f:deep":{".":{},"f:er":{}}},"f:parts":{"k:{\"id\":\"1\",\"zone\":\"here\"}":{".":{},"f:count":{},"f:id":{}}},"f:plain":{},"f:tags":{"v:\"a\"":{},"v:\"b\"":{}},"f:whole":{}}"#;
        let own = owners(&first);
        assert!(own[0].starts_with(&format!("one Apply  {expected}")), "{own:?}");
        assert_eq!(own[0].contains("f:status"), status == "{}", "{own:?}");
        assert_eq!((&first["spec"]["size"], &first["spec"]["parts"][0]["zone"]), (&json!(1), &json!("here")));
        let second = applied(
            &cluster,
            &path,
            "two",
            widget(json!({"tags": ["c"], "parts": [{"id": "1", "zone": "there"}]})),
        )
        .await;
        assert_eq!(second["spec"]["tags"], json!(["b", "a", "c"]));
        assert_eq!(second["spec"]["parts"].as_array().unwrap().len(), 2);
        let third = applied(&cluster, &path, "one", widget(json!({"tags": ["a"]}))).await;
        assert_eq!(
            third["spec"],
            json!({"tags": ["a", "c"], "parts": [{"id": "1", "zone": "there"}], "size": 1})
        );
        let refused = apply(&cluster, &path, "fieldManager=one", widget(json!({"tagz": []}))).await;
        assert!(
            message(&refused)
                .1
                .ends_with("example.com/v1, Kind=Widget): .spec.tagz: field not declared in schema"),
            "{refused:?}"
        );
        if status == "{}" {
            continue;
        }
        let reported = json!({"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": "w", "labels": {"a": "b"}}, "status": {"phase": "y"}});
        let reported = applied(&cluster, &format!("{path}/status"), "agent", reported).await;
        assert_eq!(
            (&reported["status"], &reported["metadata"].get("labels")),
            (&json!({"phase": "y"}), &None)
        );
        assert!(
            owners(&reported).contains(&r#"agent Apply status {"f:status":{"f:phase":{}}}"#.to_owned()),
            "{:?}",
            owners(&reported)
        );
        let mut more = reported.clone();
        more["status"]["seen"] = json!(3);
        let (_, put) = cluster.call("PUT", &format!("{path}/status?fieldManager=putter"), more).await;
        assert!(
            owners(&put).contains(&r#"putter Update status {"f:status":{"f:seen":{}}}"#.to_owned()),
            "{:?}",
            owners(&put)
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_moves_from_the_client_side_to_the_server_side() {
    let cluster = Cluster::start().await;
    let file = cluster.manifest("web.yaml", DEPLOYMENT);
    cluster.must(&["apply", "-f", &file]).await;
    assert!(cluster.must(&["apply", "view-last-applied", "deploy/web"]).await.contains("nginx:1.27"));
    std::fs::write(
        &file,
        DEPLOYMENT
            .replace("nginx:1.27", "nginx:1.28")
            .replace("      - {name: helper, image: 'busybox:1'}\n", ""),
    )
    .unwrap();
    assert_eq!(
        cluster.must(&["apply", "--server-side", "-f", &file]).await,
        "deployment.apps/web serverside-applied\n"
    );
    let web = cluster.json(&["get", "deploy", "web", "--show-managed-fields"]).await;
    let containers = web["spec"]["template"]["spec"]["containers"].as_array().unwrap();
    assert_eq!((containers.len(), &containers[0]["image"]), (1, &json!("nginx:1.28")), "{web}");
    let managers: Vec<String> =
        owners(&web).iter().map(|one| one.split(' ').take(2).collect::<Vec<_>>().join(" ")).collect();
    assert!(
        managers.contains(&"kubectl Apply".to_owned())
            && !managers.iter().any(|one| one.contains("client-side")),
        "{managers:?}"
    );
    let version = web["metadata"]["resourceVersion"].clone();
    cluster.must(&["apply", "--server-side", "-f", &file]).await;
    assert_eq!(cluster.json(&["get", "deploy", "web"]).await["metadata"]["resourceVersion"], version);
    assert!(cluster.must(&["apply", "view-last-applied", "deploy/web"]).await.contains("nginx:1.28"));
    assert!(!cluster.must(&["get", "deploy", "web", "-o", "yaml"]).await.contains("managedFields"));
}

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_reports_conflicts_and_forces_them() {
    let cluster = Cluster::start().await;
    let file = cluster.manifest("web.yaml", DEPLOYMENT);
    let with = async |manager: &str, more: &[&str]| {
        let manager = format!("--field-manager={manager}");
        let mut args = vec!["apply", "--server-side", "-f", &file, &manager];
        args.extend(more);
        cluster.kubectl(&args).await
    };
    assert!(with("m1", &[]).await.ok);
    std::fs::write(&file, DEPLOYMENT.replace("replicas: 2", "replicas: 5")).unwrap();
    let diff = cluster.kubectl(&["diff", "--server-side", "--field-manager=m1", "-f", &file]).await;
    assert!(!diff.ok && diff.out.contains("+  replicas: 5"), "{diff:?}");
    let refused = with("m2", &[]).await;
    assert!(
        !refused.ok
            && refused.err.contains("Apply failed with 1 conflict: conflict with \"m1\": .spec.replicas"),
        "{refused:?}"
    );
    assert!(with("m2", &["--dry-run=server", "--force-conflicts"]).await.ok);
    assert_eq!(cluster.json(&["get", "deploy", "web"]).await["spec"]["replicas"], 2);
    assert!(with("m2", &["--force-conflicts"]).await.ok);
    let web = cluster.json(&["get", "deploy", "web", "--show-managed-fields"]).await;
    assert_eq!(web["spec"]["replicas"], 5);
    let holders: Vec<String> = owners(&web).into_iter().filter(|one| one.contains("f:replicas")).collect();
    assert!(holders.len() == 1 && holders[0].starts_with("m2 Apply"), "{holders:?}");
    std::fs::write(&file, DEPLOYMENT.replace("image: nginx", "imagee: x\n        image: nginx")).unwrap();
    let typo = with("m1", &[]).await;
    assert!(
        !typo.ok
            && typo.err.contains(
                ".spec.template.spec.containers[name=\"nginx\"].imagee: field not declared in schema"
            ),
        "{typo:?}"
    );
    let table = cluster.must(&["get", "deploy", "web"]).await;
    assert!(table.contains("0/5"), "{table}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_kubectl_applies_from_the_server_side() {
    let cluster = Cluster::start().await;
    let file = cluster.manifest("web.yaml", DEPLOYMENT);
    let args = ["apply", "--server-side", "--validate=false", "-f", &file];
    let said = cluster.run(KUBECTL_1_20, &args).await;
    assert_eq!(said.out, "deployment.apps/web serverside-applied\n", "{said:?}");
    assert_eq!(cluster.run(KUBECTL_1_20, &args).await.out, "deployment.apps/web serverside-applied\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn controllers_of_kube_rs_apply_their_part() {
    let cluster = Cluster::start().await;
    for client in [cluster.client.clone(), cluster.tls_client().await] {
        let maps: Api<ConfigMap> = Api::default_namespaced(client.clone());
        let part = |key: &str, value: &str| {
            Patch::Apply(
                json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "shared"}, "data": {key: value}}),
            )
        };
        let one = PatchParams::apply("one");
        maps.patch("shared", &one, &part("a", "1")).await.unwrap();
        let both = maps.patch("shared", &PatchParams::apply("two"), &part("b", "1")).await.unwrap();
        assert_eq!(both.data.unwrap().len(), 2);
        let kube::Error::Api(status) =
            maps.patch("shared", &PatchParams::apply("two"), &part("a", "2")).await.unwrap_err()
        else {
            panic!("not an answer of the API");
        };
        assert!(
            status.code == 409 && status.message.contains("conflict with \"one\": .data.a"),
            "{status:?}"
        );
        let forced = maps.patch("shared", &PatchParams::apply("two").force(), &part("a", "2")).await.unwrap();
        let data = forced.data.unwrap();
        assert_eq!(data.into_iter().collect::<Vec<_>>(), [("a".to_owned(), "2".to_owned())]);
        let again = maps.patch("shared", &PatchParams::apply("two"), &part("a", "2")).await.unwrap();
        assert_eq!(again.metadata.resource_version, forced.metadata.resource_version);
        maps.delete("shared", &Default::default()).await.unwrap();

        let deployments: Api<Deployment> = Api::default_namespaced(client.clone());
        let web: Value = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "rs"}, "spec": {
            "selector": {"matchLabels": {"app": "rs"}},
            "template": {"metadata": {"labels": {"app": "rs"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}}});
        deployments.patch("rs", &one, &Patch::Apply(&web)).await.unwrap();
        let status = json!({"apiVersion": "apps/v1", "kind": "Deployment", "status": {"conditions": [{"type": "Available", "status": "True"}]}});
        let reported = deployments
            .patch_status("rs", &PatchParams::apply("status"), &Patch::Apply(&status))
            .await
            .unwrap();
        assert_eq!(reported.status.unwrap().conditions.unwrap().len(), 1);
        deployments.delete("rs", &Default::default()).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ownership_is_kept_over_a_restart_and_a_json_patch_moves_it() {
    let cluster = Cluster::start().await;
    let path = format!("{MAPS}/m");
    applied(&cluster, &path, "one", map(json!({"a": "1"}))).await;
    let cluster = cluster.restart().await;
    let (_, there) = cluster.call("GET", &path, Value::Null).await;
    let mut entries = there["metadata"]["managedFields"].clone();
    entries[0]["manager"] = json!("heir");
    let patch = json!([
        {"op": "replace", "path": "/metadata/managedFields", "value": entries},
        {"op": "replace", "path": "/metadata/resourceVersion", "value": there["metadata"]["resourceVersion"]},
    ]);
    let (code, moved) = call(&cluster.client, "PATCH", &path, "application/json-patch+json", patch).await;
    assert_eq!(
        (code, owners(&moved)),
        (200, vec![r#"heir Apply  {"f:data":{"f:a":{}}}"#.to_owned()]),
        "{moved}"
    );
    let gone = applied(&cluster, &path, "heir", map(json!({}))).await;
    assert_eq!(gone.get("data"), None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_applies_while_others_make_or_delete_the_object_is_never_told_that_it_is_not_there() {
    let cluster = Cluster::start().await;
    let path = format!("{MAPS}/busy");
    for _ in 0..20 {
        let applied = (0..16).map(|number| {
            let config = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "busy"},
                "data": {format!("n{number}"): "x"}});
            let path = format!("{path}?fieldManager=m{number}");
            let cluster = &cluster;
            async move { cluster.patch("apply-patch+yaml", &path, config).await }
        });
        let deleted = cluster.call("DELETE", &path, Value::Null);
        let (answers, _) = tokio::join!(futures::future::join_all(applied), deleted);
        for (code, body) in answers {
            assert!(code == 200 || code == 201, "{code} {body}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_patches_without_a_version_never_hears_of_a_conflict_however_many_do() {
    let cluster = Cluster::start().await;
    let path = format!("{MAPS}/busy");
    assert_eq!(cluster.call("POST", MAPS, json!({"metadata": {"name": "busy"}})).await.0, 201);
    let patches = (0..64).map(async |number: usize| {
        for round in 0..20 {
            let change = json!({"data": {format!("n{number}"): round.to_string()}});
            let (code, body) = cluster.patch("merge-patch+json", &path, change).await;
            assert_eq!(code, 200, "{body}");
        }
    });
    futures::future::join_all(patches).await;
    let data = cluster.call("GET", &path, Value::Null).await.1["data"].as_object().cloned().unwrap();
    assert!(data.len() == 64 && data.values().all(|value| value == "19"), "{data:?}");
}
