//! Applying and creating: what is stored, and what is refused in which words.

use serde_json::{Value, json};

use super::{Running, deployment};
use crate::support::cluster::{KUBECTL, KUBECTL_1_20};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn applying_again_changes_nothing_and_a_new_image_is_one_more_generation() {
    let running = Running::start().await;
    for (name, kubectl) in [("new", KUBECTL), ("old", KUBECTL_1_20)] {
        let two =
            deployment(name, 2).replace("containers: [", "containers: [{name: side, image: 'side:1'}, ");
        let file = running.cluster.manifest("two.yaml", &two);
        let apply = async || {
            let said = running.cluster.run(kubectl, &["apply", "-f", &file]).await;
            assert!(said.ok, "{said:?}");
            said.out
        };
        assert_eq!(apply().await, format!("deployment.apps/{name} created\n"));
        running.rolled_out(name).await;
        let path = format!("/apis/apps/v1/namespaces/default/deployments/{name}");
        let version = async || {
            running.cluster.call("GET", &path, Value::Null).await.1["metadata"]["resourceVersion"].clone()
        };
        let before = version().await;
        assert_eq!(apply().await, format!("deployment.apps/{name} unchanged\n"));
        assert_eq!(version().await, before);
        std::fs::write(&file, two.replace("http:1", "http:2")).unwrap();
        assert_eq!(apply().await, format!("deployment.apps/{name} configured\n"));
        let shown = running.cluster.json(&["get", "deploy", name]).await;
        assert_eq!(shown["metadata"]["generation"], 2);
        let images = running
            .must(&format!("get deploy {name} -o jsonpath={{.spec.template.spec.containers[*].image}}"))
            .await;
        assert_eq!(images, "side:1 http:2");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_typo_is_refused_or_dropped_with_a_warning_and_a_dry_run_stores_nothing() {
    let running = Running::start().await;
    let typo = deployment("web", 1).replace("image:", "imagee: x, image:");
    let file = running.cluster.manifest("typo.yaml", &typo);
    let refused = running.fails(&format!("apply -f {file}")).await;
    let wanted = "strict decoding error: unknown field \"spec.template.spec.containers[0].imagee\"";
    assert!(refused.starts_with("Error from server (BadRequest): error when creating "), "{refused}");
    assert!(refused.contains(wanted), "{refused}");
    let not_found = "Error from server (NotFound): deployments.apps \"web\" not found\n";
    assert_eq!(running.fails("get deploy web").await, not_found);

    let said = running.must(&format!("apply --dry-run=server --validate=false -f {file}")).await;
    assert_eq!(said, "deployment.apps/web created (server dry run)\n");
    assert_eq!(running.fails("get deploy web").await, not_found);

    let said = running.says(&format!("apply --validate=warn -f {file}")).await;
    assert_eq!(said.out, "deployment.apps/web created\n");
    assert_eq!(said.err, "Warning: unknown field \"spec.template.spec.containers[0].imagee\"\n");
    let web = running.cluster.json(&["get", "deploy", "web"]).await;
    assert!(web["spec"]["template"]["spec"]["containers"][0].get("imagee").is_none());

    let file = running.cluster.manifest("more.yaml", &deployment("web", 3));
    let diff = running.says(&format!("diff -f {file}")).await;
    assert!(!diff.ok && diff.err == "exit status 1\n" || diff.err.is_empty(), "{diff:?}");
    assert!(diff.out.contains("\n-  replicas: 1\n+  replicas: 3\n"), "{diff:?}");
    let after = running.cluster.json(&["get", "deploy", "web"]).await;
    assert_eq!(after["spec"], web["spec"]);
}

/// The commands of `kubectl create`, what they print, and which field the object must have.
const CREATED: &[(&str, &str, &str, &str)] = &[
    ("configmap c1 --from-literal=a=b", "configmap/c1", "/data/a", "b"),
    ("secret generic s1 --from-literal=a=b", "secret/s1", "/data/a", "Yg=="),
    (
        "secret docker-registry d1 --docker-server=x --docker-username=u --docker-password=p",
        "secret/d1",
        "/type",
        "kubernetes.io/dockerconfigjson",
    ),
    ("serviceaccount sa1", "serviceaccount/sa1", "/kind", "ServiceAccount"),
    ("role r1 --verb=get --resource=pods", "role.rbac.authorization.k8s.io/r1", "/rules/0/verbs/0", "get"),
    (
        "rolebinding rb1 --role=r1 --serviceaccount=default:sa1",
        "rolebinding.rbac.authorization.k8s.io/rb1",
        "/subjects/0/name",
        "sa1",
    ),
    (
        "clusterrole cr1 --verb=get --resource=nodes",
        "clusterrole.rbac.authorization.k8s.io/cr1",
        "/rules/0/resources/0",
        "nodes",
    ),
    (
        "clusterrolebinding crb1 --clusterrole=cr1 --user=bob",
        "clusterrolebinding.rbac.authorization.k8s.io/crb1",
        "/roleRef/name",
        "cr1",
    ),
    ("job j1 --image=busybox -- date", "job.batch/j1", "/spec/template/spec/containers/0/command/0", "date"),
    (
        "cronjob cj1 --image=busybox --schedule=@yearly -- date",
        "cronjob.batch/cj1",
        "/spec/schedule",
        "@yearly",
    ),
    ("job j2 --from=cronjob/cj1", "job.batch/j2", "/metadata/ownerReferences/0/name", "cj1"),
    (
        "ingress i1 --rule=foo.com/bar*=svc1:8080,tls=my-cert",
        "ingress.networking.k8s.io/i1",
        "/spec/rules/0/host",
        "foo.com",
    ),
    ("quota q1 --hard=pods=50", "resourcequota/q1", "/spec/hard/pods", "50"),
    (
        "poddisruptionbudget p1 --min-available=50% --selector=app=x",
        "poddisruptionbudget.policy/p1",
        "/spec/minAvailable",
        "50%",
    ),
    ("namespace foo", "namespace/foo", "/spec/finalizers/0", "kubernetes"),
    ("service clusterip sv1 --tcp=80:8080", "service/sv1", "/spec/type", "ClusterIP"),
    ("service nodeport sv2 --tcp=80:8080", "service/sv2", "/spec/type", "NodePort"),
    (
        "service externalname sv3 --external-name=example.com",
        "service/sv3",
        "/spec/externalName",
        "example.com",
    ),
    (
        "priorityclass pc1 --value=1000",
        "priorityclass.scheduling.k8s.io/pc1",
        "/preemptionPolicy",
        "PreemptLowerPriority",
    ),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_create_command_makes_its_object_without_fields_that_nobody_set() {
    let running = Running::start().await;
    for (command, name, field, value) in CREATED {
        assert_eq!(running.must(&format!("create {command}")).await, format!("{name} created\n"));
        let made = running.cluster.json(&["get", name]).await;
        assert_eq!(made.pointer(field), Some(&json!(value)), "{made:#}");
        let zero = ["minReadySeconds", "suspend", "completions", "data", "value"];
        let spurious = |map: &serde_json::Map<String, Value>| {
            map.iter()
                .any(|(key, value)| value.is_null() || (*value == json!(0) && zero.contains(&key.as_str())))
        };
        assert!(made.as_object().is_some_and(|map| !spurious(map)), "{made:#}");
        assert!(made["spec"].as_object().is_none_or(|map| !spurious(map)), "{made:#}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deployment_made_from_protobuf_is_the_one_made_from_yaml() {
    let running = Running::start().await;
    running.must("create deployment nn --image=nginx").await;
    let made = running.must("create deployment mm --image=nginx --dry-run=client -o json").await;
    let file = running.cluster.manifest("mm.json", &made);
    running.must(&format!("create -f {file}")).await;
    let spec = async |name: &str| {
        let shown = running.cluster.json(&["get", "deploy", name]).await["spec"].to_string();
        serde_json::from_str::<Value>(&shown.replace(&format!("\"{name}\""), "\"\"")).unwrap()
    };
    let (proto, json) = (spec("nn").await, spec("mm").await);
    assert_eq!(proto, json);
    assert!(proto.get("minReadySeconds").is_none() && proto.get("paused").is_none(), "{proto:#}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_there_already_or_not_there_is_said_in_kubernetes_words() {
    let running = Running::start().await;
    let file = running.cluster.manifest("nn.yaml", &deployment("nn", 1));
    running.must(&format!("create -f {file}")).await;
    assert_eq!(
        running.fails(&format!("create -f {file}")).await,
        format!(
            "Error from server (AlreadyExists): error when creating \"{file}\": deployments.apps \"nn\" already exists\n"
        )
    );
    assert_eq!(
        running.fails("create deployment nn --image=nginx").await,
        "error: failed to create deployment: deployments.apps \"nn\" already exists\n"
    );
    assert_eq!(
        running.fails("get deploy nope").await,
        "Error from server (NotFound): deployments.apps \"nope\" not found\n"
    );
    assert_eq!(
        running.fails(&format!("apply -n nons -f {file}")).await,
        format!(
            "Error from server (NotFound): error when creating \"{file}\": namespaces \"nons\" not found\n"
        )
    );
    let empty = running.says("get pods -n nons").await;
    assert_eq!((empty.ok, empty.err.as_str()), (true, "No resources found in nons namespace.\n"));
    let pod = "apiVersion: v1\nkind: Pod\nmetadata: {name: z}\nspec: {serviceAccountName: nosa, containers: [{name: a, image: x}]}\n";
    let file = running.cluster.manifest("pod.yaml", pod);
    assert_eq!(
        running.fails(&format!("create -f {file}")).await,
        format!(
            "Error from server (Forbidden): error when creating \"{file}\": pods \"z\" is forbidden: error looking up service account default/nosa: serviceaccount \"nosa\" not found\n"
        )
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_wrong_with_an_object_is_said_at_once() {
    let running = Running::start().await;
    let wrong = "apiVersion: apps/v1
kind: Deployment
metadata: {name: Bad_Name}
spec:
  replicas: -1
  selector: {matchLabels: {app: x}}
  template:
    metadata: {labels: {app: z}}
    spec: {containers: [{name: a}, {name: a, image: x, volumeMounts: [{name: nope, mountPath: /x}]}]}
";
    let refused = running.fails(&format!("create -f {}", running.cluster.manifest("bad.yaml", wrong))).await;
    assert!(refused.starts_with("The Deployment \"Bad_Name\" is invalid: \n* "), "{refused}");
    for cause in [
        "metadata.name: Invalid value: \"Bad_Name\": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')",
        "spec.replicas: Invalid value: -1: must be greater than or equal to 0",
        "spec.template.metadata.labels: Invalid value: {\"app\":\"z\"}: `selector` does not match template `labels`",
        "spec.template.spec.containers[0].image: Required value",
        "spec.template.spec.containers[1].name: Duplicate value: \"a\"",
        "spec.template.spec.containers[1].volumeMounts[0].name: Not found: \"nope\"",
    ] {
        assert!(refused.contains(cause), "no {cause:?} in {refused}");
    }
    assert_eq!(
        running.fails("patch ns default --type=merge -p {\"metadata\":{\"labels\":{\"a\":\"-\"}}}").await,
        "The Namespace \"default\" is invalid: metadata.labels: Invalid value: \"-\": a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')\n"
    );
}
