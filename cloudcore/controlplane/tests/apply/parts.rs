//! Status, scale and custom resources: fields that are written in ways of their own.

use serde_json::{Value, json};

use crate::support::Cluster;
use crate::{DEPLOYMENT, DEPLOYMENTS, applied, apply, message, owners};

const WIDGETS: &str = "/apis/example.com/v1/namespaces/default/widgets";

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
