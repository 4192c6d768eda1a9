use serde_json::{Value, json};

use super::*;

fn pod(spec: Value) -> Value {
    let mut pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "namespace": "default"}, "spec": spec});
    defaults::pod(&mut pod);
    pod
}

fn wrong(spec: Value) -> Vec<String> {
    let mut errors = Errors::default();
    validate(&pod(spec), &mut errors);
    errors.into_vec().iter().map(ToString::to_string).collect()
}

#[test]
fn a_minimal_pod_gets_what_kubernetes_gives_it() {
    let pod =
        pod(json!({"containers": [{"name": "c", "image": "nginx:1.27", "ports": [{"containerPort": 80}]}]}));
    assert_eq!(
        pod["spec"],
        json!({
            "enableServiceLinks": true, "restartPolicy": "Always", "terminationGracePeriodSeconds": 30,
            "dnsPolicy": "ClusterFirst", "schedulerName": "default-scheduler", "securityContext": {},
            "containers": [{"name": "c", "image": "nginx:1.27", "imagePullPolicy": "IfNotPresent", "resources": {},
                "ports": [{"containerPort": 80, "protocol": "TCP"}],
                "terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File"}],
        })
    );
}

#[test]
fn a_new_pod_is_pending_and_runs_as_the_default_account() {
    let mut pod = pod(json!({"containers": [{"name": "c", "image": "x"}]}));
    prepare_create(&mut pod);
    assert_eq!(pod["status"], json!({"phase": "Pending", "qosClass": "BestEffort"}));
    assert_eq!(pod["spec"]["serviceAccountName"], "default");
}

#[test]
fn what_a_pod_lacks_is_all_said_at_once() {
    assert_eq!(wrong(json!({})), ["spec.containers: Required value"]);
    assert_eq!(
        wrong(json!({"containers": [{"name": "c", "image": "x"}, {"name": "c"}]})),
        ["spec.containers[1].name: Duplicate value: \"c\"", "spec.containers[1].image: Required value"]
    );
    assert_eq!(
        wrong(
            json!({"restartPolicy": "Sometimes", "containers": [{"name": "c", "image": "x", "volumeMounts": [{"name": "v", "mountPath": "/v"}]}]})
        ),
        [
            "spec.containers[0].volumeMounts[0].name: Not found: \"v\"",
            "spec.restartPolicy: Unsupported value: \"Sometimes\": supported values: \"Always\", \"OnFailure\", \"Never\""
        ]
    );
}

#[test]
fn requests_may_not_exceed_limits() {
    let resources = json!({"requests": {"cpu": "2"}, "limits": {"cpu": "1"}});
    assert_eq!(
        wrong(json!({"containers": [{"name": "c", "image": "x", "resources": resources}]})),
        [
            "spec.containers[0].resources.requests: Invalid value: \"2\": must be less than or equal to cpu limit of 1"
        ]
    );
}

#[test]
fn a_volume_has_one_source_with_what_it_needs() {
    let with =
        |volume: Value| wrong(json!({"containers": [{"name": "c", "image": "x"}], "volumes": [volume]}));
    assert!(with(json!({"name": "v"})).is_empty());
    assert_eq!(
        with(json!({"name": "v", "secret": {}})),
        ["spec.volumes[0].secret.secretName: Required value"]
    );
    assert_eq!(
        with(json!({"name": "v", "emptyDir": {}, "hostPath": {"path": "/x"}})),
        ["spec.volumes[0].hostPath: Forbidden: may not specify more than 1 volume type"]
    );
}

#[test]
fn only_the_image_and_a_few_numbers_of_a_pod_may_change() {
    let old = pod(json!({"containers": [{"name": "c", "image": "x"}], "nodeName": "a"}));
    let check = |new: &Value| {
        let mut errors = Errors::default();
        update::validate(&old, new, &mut errors);
        errors.into_vec().iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    let mut new = old.clone();
    new["spec"]["containers"][0]["image"] = json!("y");
    assert!(check(&new).is_empty());
    new["spec"]["nodeName"] = json!("b");
    assert!(check(&new)[0].starts_with("spec: Forbidden: pod updates may not change fields other than"));
}

#[test]
fn a_pod_may_lose_scheduling_gates_and_gets_no_new_ones() {
    let gated =
        |gates: Value| pod(json!({"containers": [{"name": "c", "image": "x"}], "schedulingGates": gates}));
    let old = gated(json!([{"name": "a"}, {"name": "b"}]));
    let check = |gates: Value| {
        let mut errors = Errors::default();
        update::validate(&old, &gated(gates), &mut errors);
        errors.into_vec().iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert!(check(json!([{"name": "b"}])).is_empty());
    assert!(check(json!([])).is_empty());
    assert_eq!(
        check(json!([{"name": "a"}, {"name": "c"}])),
        ["spec.schedulingGates: Forbidden: only deletion is allowed, but found new scheduling gate 'c'"]
    );
}
