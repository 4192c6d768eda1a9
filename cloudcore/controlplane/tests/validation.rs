//! Objects that cannot be meant: each is refused with Kubernetes' words about the field, and with all that is wrong at once.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, unreachable_pub)]

mod support;

use serde_json::{Value, json};
use support::Cluster;

const SPACE: &str = "namespaces/default";

fn template() -> Value {
    json!({"metadata": {"labels": {"app": "a"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}})
}

fn workload(change: Value) -> Value {
    let mut spec = json!({"selector": {"matchLabels": {"app": "a"}}, "template": template()});
    merge(&mut spec, change);
    json!({"metadata": {"name": "x"}, "spec": spec})
}

fn job(change: Value) -> Value {
    let mut spec = json!({"template": template()});
    spec["template"]["spec"]["restartPolicy"] = json!("Never");
    merge(&mut spec, change);
    json!({"metadata": {"name": "x"}, "spec": spec})
}

fn cron(change: Value) -> Value {
    let mut spec = json!({"schedule": "* * * * *", "jobTemplate": {"spec": job(json!({}))["spec"]}});
    merge(&mut spec, change);
    json!({"metadata": {"name": "x"}, "spec": spec})
}

fn named(rest: Value) -> Value {
    let mut object = json!({"metadata": {"name": "x"}});
    merge(&mut object, rest);
    object
}

fn merge(into: &mut Value, from: Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (key, value) in from {
                merge(into.entry(key).or_insert(Value::Null), value);
            }
        }
        (into, from) => *into = from,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_object_that_cannot_be_meant_is_refused_with_the_field_and_the_reason() {
    let cluster = Cluster::start().await;
    let apps = |plural: &str| format!("/apis/apps/v1/{SPACE}/{plural}");
    let core = |plural: &str| format!("/api/v1/{SPACE}/{plural}");
    let batch = |plural: &str| format!("/apis/batch/v1/{SPACE}/{plural}");
    let net = |plural: &str| format!("/apis/networking.k8s.io/v1/{SPACE}/{plural}");
    let cases: Vec<(String, Value, &str)> = vec![
        (
            apps("deployments"),
            workload(json!({"selector": {"matchLabels": {"app": "b"}}})),
            "spec.template.metadata.labels: Invalid value: {\"app\":\"a\"}: `selector` does not match template `labels`",
        ),
        (
            apps("deployments"),
            workload(json!({"selector": {"matchExpressions": [{"key": "app", "operator": "In"}]}})),
            "spec.selector.matchExpressions[0].values: Required value: must be specified when `operator` is 'In' or 'NotIn'",
        ),
        (
            apps("deployments"),
            workload(
                json!({"selector": {"matchExpressions": [{"key": "app", "operator": "Near", "values": ["a"]}]}}),
            ),
            "spec.selector.matchExpressions[0].operator: Invalid value: \"Near\": not a valid selector operator",
        ),
        (
            apps("deployments"),
            workload(json!({"strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "lots"}}})),
            "spec.strategy.rollingUpdate.maxSurge: Invalid value: \"lots\": a valid percent string must be",
        ),
        (
            apps("deployments"),
            workload(json!({"strategy": {"rollingUpdate": {"maxUnavailable": "200%"}}})),
            "spec.strategy.rollingUpdate.maxUnavailable: Invalid value: \"200%\": must not be greater than 100%",
        ),
        (
            apps("deployments"),
            workload(json!({"strategy": {"type": "Recreate", "rollingUpdate": {"maxSurge": 1}}})),
            "spec.strategy.rollingUpdate: Forbidden: may not be specified when strategy `type` is 'Recreate'",
        ),
        (
            apps("deployments"),
            workload(json!({"template": {"spec": {"restartPolicy": "Never"}}})),
            "spec.template.spec.restartPolicy: Unsupported value: \"Never\": supported values: \"Always\"",
        ),
        (
            apps("daemonsets"),
            workload(json!({"selector": {"matchLabels": null}})),
            "spec.selector: Invalid value: {}: empty selector is invalid for daemonset",
        ),
        (
            apps("daemonsets"),
            workload(json!({"updateStrategy": {"type": "Sometimes"}})),
            "spec.updateStrategy.type: Unsupported value: \"Sometimes\"",
        ),
        (
            apps("daemonsets"),
            workload(json!({"updateStrategy": {"rollingUpdate": {"maxUnavailable": 0}}})),
            "spec.updateStrategy.rollingUpdate.maxUnavailable: Invalid value: 0: cannot be 0 when maxSurge is 0",
        ),
        (
            apps("statefulsets"),
            workload(json!({"podManagementPolicy": "Wild"})),
            "spec.podManagementPolicy: Invalid value: \"Wild\": must be 'OrderedReady' or 'Parallel'",
        ),
        (
            apps("statefulsets"),
            workload(json!({"updateStrategy": {"rollingUpdate": {"partition": -1}}})),
            "spec.updateStrategy.rollingUpdate.partition: Invalid value: -1: must be greater than or equal to 0",
        ),
        (
            apps("replicasets"),
            workload(json!({"replicas": -2})),
            "spec.replicas: Invalid value: -2: must be greater than or equal to 0",
        ),
        (
            batch("jobs"),
            job(json!({"template": {"spec": {"restartPolicy": "Always"}}})),
            "spec.template.spec.restartPolicy: Required value: valid values: \"OnFailure\", \"Never\"",
        ),
        (
            batch("jobs"),
            job(json!({"completionMode": "Indexed", "parallelism": 2})),
            "spec.completions: Required value: when completion mode is Indexed",
        ),
        (
            batch("jobs"),
            job(json!({"backoffLimit": -1})),
            "spec.backoffLimit: Invalid value: -1: must be greater than or equal to 0",
        ),
        (
            batch("cronjobs"),
            cron(json!({"schedule": "often"})),
            "spec.schedule: Invalid value: \"often\": expected exactly 5 fields, found 1: [often]",
        ),
        (
            batch("cronjobs"),
            cron(json!({"timeZone": "Middle/Earth"})),
            "spec.timeZone: Invalid value: \"Middle/Earth\": unknown time zone Middle/Earth",
        ),
        (
            batch("cronjobs"),
            cron(json!({"concurrencyPolicy": "Maybe"})),
            "spec.concurrencyPolicy: Unsupported value: \"Maybe\"",
        ),
        (
            core("services"),
            named(json!({"spec": {"ports": [{"port": 0}]}})),
            "spec.ports[0].port: Invalid value: 0: must be between 1 and 65535, inclusive",
        ),
        (
            core("services"),
            named(json!({"spec": {"ports": [{"port": 1}, {"port": 2}]}})),
            "spec.ports[0].name: Required value",
        ),
        (
            core("services"),
            named(json!({"spec": {"clusterIP": "ten", "ports": [{"port": 1}]}})),
            "spec.clusterIP: Invalid value: \"ten\": must be empty, 'None', or a valid IP address",
        ),
        (
            core("services"),
            named(json!({"spec": {"type": "ExternalName"}})),
            "spec.externalName: Required value",
        ),
        (
            core("services"),
            named(json!({"spec": {"ports": [{"port": 1, "nodePort": 30000}]}})),
            "spec.ports[0].nodePort: Forbidden: may not be used when `type` is 'ClusterIP'",
        ),
        (
            core("services"),
            named(json!({"metadata": {"name": "1x"}, "spec": {"ports": [{"port": 1}]}})),
            "metadata.name: Invalid value: \"1x\": a DNS-1035 label must consist of",
        ),
        (
            core("configmaps"),
            named(json!({"data": {"a b": ""}})),
            "data[a b]: Invalid value: \"a b\": a valid config key must consist of",
        ),
        (
            core("configmaps"),
            named(json!({"data": {"a": "x"}, "binaryData": {"a": "eA=="}})),
            "data[a]: Invalid value: \"a\": duplicate of key present in binaryData",
        ),
        (core("secrets"), named(json!({"type": "kubernetes.io/tls"})), "data[tls.crt]: Required value"),
        (
            core("persistentvolumeclaims"),
            named(json!({"spec": {"resources": {"requests": {"storage": "1Gi"}}}})),
            "spec.accessModes: Required value: at least 1 access mode is required",
        ),
        (
            core("persistentvolumeclaims"),
            named(
                json!({"spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "0"}}}}),
            ),
            "spec.resources.requests[storage]: Invalid value: \"0\": must be greater than zero",
        ),
        (
            "/api/v1/persistentvolumes".to_owned(),
            named(json!({"spec": {"accessModes": ["ReadWriteOnce"], "capacity": {"storage": "1Gi"}}})),
            "spec: Required value: must specify a volume type",
        ),
        (
            "/api/v1/nodes".to_owned(),
            named(json!({"spec": {"taints": [{"key": "a", "effect": "Never"}]}})),
            "spec.taints[0].effect: Unsupported value: \"Never\"",
        ),
        (
            "/api/v1/nodes".to_owned(),
            named(json!({"status": {"capacity": {"cpu": "-1"}}})),
            "status.capacity[cpu]: Invalid value: \"-1\": must be greater than or equal to 0",
        ),
        (
            net("ingresses"),
            named(json!({"spec": {}})),
            "spec: Invalid value: []: either `defaultBackend` or `rules` must be specified",
        ),
        (
            "/apis/networking.k8s.io/v1/ingressclasses".to_owned(),
            named(json!({"spec": {"controller": "mine"}})),
            "spec.controller: Invalid value: \"mine\": must be a domain-prefixed path",
        ),
        (
            format!("/apis/discovery.k8s.io/v1/{SPACE}/endpointslices"),
            named(json!({"addressType": "IPv4", "endpoints": [{"addresses": ["x"]}]})),
            "endpoints[0].addresses[0]: Invalid value: \"x\": must be a valid IP address",
        ),
        (
            format!("/apis/policy/v1/{SPACE}/poddisruptionbudgets"),
            named(json!({"spec": {"minAvailable": "many"}})),
            "spec.minAvailable: Invalid value: \"many\": a valid percent string must be",
        ),
        (
            format!("/apis/autoscaling/v2/{SPACE}/horizontalpodautoscalers"),
            named(
                json!({"spec": {"minReplicas": 3, "maxReplicas": 2, "scaleTargetRef": {"kind": "Deployment", "name": "x"}}}),
            ),
            "spec.maxReplicas: Invalid value: 2: must be greater than or equal to `minReplicas`",
        ),
        (
            "/apis/node.k8s.io/v1/runtimeclasses".to_owned(),
            named(json!({"handler": "No Way"})),
            "handler: Invalid value: \"No Way\": a lowercase RFC 1123 label must consist of",
        ),
        (
            "/apis/storage.k8s.io/v1/storageclasses".to_owned(),
            named(json!({"provisioner": ""})),
            "provisioner: Required value",
        ),
        (
            format!("/apis/coordination.k8s.io/v1/{SPACE}/leases"),
            named(json!({"spec": {"leaseDurationSeconds": 0}})),
            "spec.leaseDurationSeconds: Invalid value: 0: must be greater than 0",
        ),
        (
            "/api/v1/namespaces".to_owned(),
            json!({"metadata": {"name": "a.b"}}),
            "metadata.name: Invalid value: \"a.b\": a lowercase RFC 1123 label must consist of",
        ),
    ];
    for (path, object, expected) in cases {
        let (code, status) = cluster.call("POST", &path, object).await;
        assert_eq!((code, &status["reason"]), (422, &json!("Invalid")), "{path}: {status}");
        let message = status["message"].as_str().unwrap();
        assert!(message.contains(expected), "{path}: {message}\nlacks\n{expected}");
        let field = expected.split(": ").next().unwrap();
        let causes = status["details"]["causes"].as_array().unwrap();
        assert!(causes.iter().any(|cause| cause["field"] == field), "{path}: {status}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn metadata_is_held_to_its_form_in_every_kind() {
    let cluster = Cluster::start().await;
    let maps = format!("/api/v1/{SPACE}/configmaps");
    let long = "x".repeat(300 * 1024);
    for (metadata, expected) in [
        (json!({}), "metadata.name: Required value: name or generateName is required"),
        (
            json!({"name": "A"}),
            "metadata.name: Invalid value: \"A\": a lowercase RFC 1123 subdomain must consist of",
        ),
        (
            json!({"generateName": "A_"}),
            "metadata.generateName: Invalid value: \"A_\": a lowercase RFC 1123 subdomain",
        ),
        (
            json!({"name": "a", "labels": {"a b": "c"}}),
            "metadata.labels: Invalid value: \"a b\": name part must consist of",
        ),
        (
            json!({"name": "a", "labels": {"a": "-"}}),
            "metadata.labels: Invalid value: \"-\": a valid label must be",
        ),
        (
            json!({"name": "a", "annotations": {"/": "c"}}),
            "metadata.annotations: Invalid value: \"/\": prefix part must be non-empty",
        ),
        (
            json!({"name": "a", "annotations": {"a": long}}),
            "metadata.annotations: Too long: may not be more than 262144 bytes",
        ),
        (
            json!({"name": "a", "finalizers": ["x"]}),
            "metadata.finalizers[0]: Invalid value: \"x\": name is neither a standard finalizer name nor is it fully qualified",
        ),
        (
            json!({"name": "a", "ownerReferences": [{"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": ""}]}),
            "metadata.ownerReferences[0].uid: Invalid value: \"\": must not be empty",
        ),
    ] {
        let (code, status) = cluster.call("POST", &maps, json!({"metadata": metadata})).await;
        assert_eq!(code, 422, "{status}");
        assert!(
            status["message"].as_str().unwrap().contains(expected),
            "{} lacks {expected}",
            status["message"]
        );
    }
    // All that is wrong is said at once.
    let (_, status) = cluster
        .call("POST", &maps, json!({"metadata": {"name": "A", "labels": {"a": "-"}}, "data": {"/": ""}}))
        .await;
    assert_eq!(status["details"]["causes"].as_array().unwrap().len(), 3, "{status}");
    assert!(status["message"].as_str().unwrap().starts_with("ConfigMap \"A\" is invalid: ["), "{status}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_never_changes_does_not_change() {
    let cluster = Cluster::start().await;
    let cases: Vec<(String, Value, Value, &str)> = vec![
        (
            format!("/apis/apps/v1/{SPACE}/deployments"),
            workload(json!({})),
            json!({"spec": {"selector": {"matchLabels": {"app": "a", "b": "c"}}, "template": {"metadata": {"labels": {"b": "c"}}}}}),
            "spec.selector: Invalid value: {\"matchLabels\":{\"app\":\"a\",\"b\":\"c\"}}: field is immutable",
        ),
        (
            format!("/apis/apps/v1/{SPACE}/statefulsets"),
            workload(json!({"serviceName": "s"})),
            json!({"spec": {"serviceName": "t"}}),
            "spec: Forbidden: updates to statefulset spec for fields other than",
        ),
        (
            format!("/apis/batch/v1/{SPACE}/jobs"),
            job(json!({})),
            json!({"spec": {"template": {"spec": {"containers": [{"name": "c", "image": "other"}]}}}}),
            "field is immutable",
        ),
        (
            format!("/api/v1/{SPACE}/secrets"),
            named(json!({"type": "a/b"})),
            json!({"type": "c/d"}),
            "type: Invalid value: \"c/d\": field is immutable",
        ),
        (
            format!("/api/v1/{SPACE}/configmaps"),
            named(json!({"immutable": true, "data": {"a": "1"}})),
            json!({"data": {"a": "2"}}),
            "data: Forbidden: field is immutable when `immutable` is set",
        ),
        (
            format!("/api/v1/{SPACE}/persistentvolumeclaims"),
            named(
                json!({"spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}}),
            ),
            json!({"spec": {"accessModes": ["ReadOnlyMany"]}}),
            "spec: Forbidden: spec is immutable after creation except",
        ),
        (
            "/api/v1/persistentvolumes".to_owned(),
            named(
                json!({"spec": {"accessModes": ["ReadWriteOnce"], "capacity": {"storage": "1Gi"}, "hostPath": {"path": "/a"}}}),
            ),
            json!({"spec": {"hostPath": {"path": "/b"}}}),
            "is immutable after creation",
        ),
        (
            "/apis/networking.k8s.io/v1/ingressclasses".to_owned(),
            named(json!({"spec": {"controller": "a.b/c"}})),
            json!({"spec": {"controller": "a.b/d"}}),
            "spec.controller: Invalid value: \"a.b/d\": field is immutable",
        ),
        (
            "/apis/node.k8s.io/v1/runtimeclasses".to_owned(),
            named(json!({"handler": "a"})),
            json!({"handler": "b"}),
            "handler: Invalid value: \"b\": field is immutable",
        ),
        (
            "/apis/storage.k8s.io/v1/storageclasses".to_owned(),
            named(json!({"provisioner": "a"})),
            json!({"provisioner": "b"}),
            "provisioner: Forbidden: updates to provisioner are forbidden.",
        ),
        (
            format!("/apis/discovery.k8s.io/v1/{SPACE}/endpointslices"),
            named(json!({"addressType": "IPv4", "endpoints": []})),
            json!({"addressType": "IPv6"}),
            "addressType: Invalid value: \"IPv6\": field is immutable",
        ),
        (
            "/api/v1/nodes".to_owned(),
            named(json!({"spec": {"providerID": "a"}})),
            json!({"spec": {"providerID": "b"}}),
            "spec.providerID: Forbidden: ",
        ),
    ];
    for (path, object, change, expected) in cases {
        let (code, made) = cluster.call("POST", &path, object).await;
        assert_eq!(code, 201, "{path}: {made}");
        let (code, status) = cluster.patch("merge-patch+json", &format!("{path}/x"), change).await;
        assert_eq!(code, 422, "{path}: {status}");
        assert!(
            status["message"].as_str().unwrap().contains(expected),
            "{path}: {} lacks {expected}",
            status["message"]
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_and_double_fields_are_refused_warned_about_or_dropped_as_the_client_wants() {
    let cluster = Cluster::start().await;
    let post = async |path: &str, body: &str| {
        let request =
            http::Request::builder().method("POST").uri(path).header("content-type", "application/json");
        let response =
            cluster.client.send(request.body(body.as_bytes().to_vec().into()).unwrap()).await.unwrap();
        let warnings: Vec<String> = response
            .headers()
            .get_all("warning")
            .iter()
            .map(|one| one.to_str().unwrap().to_owned())
            .collect();
        (response.status().as_u16(), warnings)
    };
    let maps = format!("/api/v1/{SPACE}/configmaps");
    let body = |name: &str| {
        format!(r#"{{"metadata":{{"name":"{name}","oops":1}},"data":{{"a":"1","a":"2"}},"extra":{{}}}}"#)
    };
    let (code, warnings) = post(&format!("{maps}?dryRun=All"), &body("a")).await;
    assert_eq!(code, 201);
    assert_eq!(
        warnings,
        [
            "299 - \"unknown field \\\"metadata.oops\\\"\"",
            "299 - \"unknown field \\\"extra\\\"\"",
            "299 - \"duplicate field \\\"data.a\\\"\"",
        ]
    );
    assert_eq!(post(&format!("{maps}?fieldValidation=Ignore"), &body("b")).await, (201, Vec::new()));
    let (code, status) = cluster
        .call(
            "POST",
            &format!("{maps}?fieldValidation=Strict"),
            json!({"metadata": {"name": "c"}, "extra": 1}),
        )
        .await;
    assert_eq!(code, 400);
    assert_eq!(
        status["message"],
        "ConfigMap in version \"v1\" cannot be handled as a ConfigMap: strict decoding error: unknown field \"extra\""
    );
    let (code, status) =
        cluster.call("POST", &maps, json!({"apiVersion": "v2", "metadata": {"name": "c"}})).await;
    assert_eq!(
        (code, status["message"].as_str().unwrap()),
        (400, "the API version in the data (v2) does not match the expected API version (v1)")
    );
    let (code, status) =
        cluster.call("POST", &maps, json!({"kind": "Secret", "metadata": {"name": "c"}})).await;
    assert_eq!(code, 400);
    assert!(
        status["message"]
            .as_str()
            .unwrap()
            .starts_with("Secret in version \"v1\" cannot be handled as a ConfigMap: "),
        "{status}"
    );
    let (_, warnings) = post(&format!("/api/v1/{SPACE}/endpoints"), r#"{"metadata":{"name":"e"}}"#).await;
    assert_eq!(
        warnings,
        ["299 - \"v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice\""]
    );
}
