//! Admission policies and their bindings, driven by the real kubectl.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, unreachable_pub)]

mod support;

use controlplane::AuditConfig;
use serde_json::{Value, json};
use support::{Cluster, Said, eventually, expect};

const GROUP: &str = "/apis/admissionregistration.k8s.io/v1";

const DEPLOYMENT: &str = "
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 7
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: c, image: 'nginx:1.27'}]}
";

async fn apply(cluster: &Cluster, manifest: &str) -> Said {
    let file = cluster.manifest("object.yaml", manifest);
    cluster.kubectl(&["apply", "-f", &file]).await
}

/// A policy about creations and changes of a resource, with more in its spec.
fn policy(name: &str, group: &str, resource: &str, more: &str) -> String {
    format!(
        "apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata: {{name: {name}}}
spec:
  matchConstraints:
    resourceRules:
    - {{apiGroups: ['{group}'], apiVersions: ['v1'], operations: [CREATE, UPDATE], resources: ['{resource}']}}
{more}
"
    )
}

fn binding(name: &str, policy: &str, more: &str) -> String {
    format!(
        "apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata: {{name: {name}}}
spec:
  policyName: {policy}
{more}
"
    )
}

const DENY: &str = "  validationActions: [Deny]";

async fn registered(cluster: &Cluster, manifests: &[String]) {
    let said = apply(cluster, &manifests.join("---\n")).await;
    assert!(said.ok, "{said:?}");
}

fn map(name: &str) -> Value {
    json!({"metadata": {"name": name}, "data": {"a": "b"}})
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_refuses_in_kubernetes_words_from_the_moment_that_it_is_bound() {
    let cluster = Cluster::start().await;
    let rule = "
  variables: [{name: most, expression: '5'}]
  validations:
  - {expression: object.spec.replicas <= variables.most, messageExpression: \"'at most ' + string(variables.most) + ' replicas'\"}";
    registered(&cluster, &[policy("few", "apps", "deployments", rule)]).await;
    let said = apply(&cluster, DEPLOYMENT).await;
    assert!(said.ok, "{said:?}");
    cluster.must(&["delete", "deployment", "web"]).await;

    registered(&cluster, &[binding("few-everywhere", "few", DENY)]).await;
    let said = apply(&cluster, DEPLOYMENT).await;
    let words = "The deployments \"web\" is invalid: : ValidatingAdmissionPolicy 'few' with binding 'few-everywhere' denied request: at most 5 replicas\n";
    assert_eq!((said.ok, said.err.as_str()), (false, words));
    let body = json!({
        "metadata": {"name": "web"},
        "spec": {"replicas": 7, "selector": {"matchLabels": {"a": "b"}}, "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i:1"}]}}},
    });
    let status =
        expect(cluster.call("POST", "/apis/apps/v1/namespaces/default/deployments", body), 422).await;
    assert_eq!(status["reason"], "Invalid");
    assert_eq!(
        status["message"],
        "deployments.apps \"web\" is forbidden: ValidatingAdmissionPolicy 'few' with binding 'few-everywhere' denied request: at most 5 replicas"
    );

    // It says that it was seen, and holds after a restart and for changes, too.
    let seen = cluster.json(&["get", "validatingadmissionpolicy", "few"]).await;
    assert_eq!(seen["status"], json!({"observedGeneration": 1, "typeChecking": {}}));
    let cluster = cluster.restart().await;
    assert!(apply(&cluster, &DEPLOYMENT.replace('7', "5")).await.ok);
    let said = cluster.kubectl(&["set", "image", "deployment/web", "c=nginx:1.28"]).await;
    assert!(said.ok, "{said:?}");
    let said = apply(&cluster, DEPLOYMENT).await;
    assert_eq!((said.ok, said.err.as_str()), (false, words));
    let table = cluster.must(&["get", "validatingadmissionpolicies,validatingadmissionpolicybindings"]).await;
    assert!(
        table.contains("VALIDATIONS") && table.contains("PARAMKIND") && table.contains("POLICYNAME"),
        "{table}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn reasons_have_their_codes_and_expressions_see_old_request_and_namespace() {
    let cluster = Cluster::start().await;
    let rules = "
  matchConditions: [{name: not-the-servers, expression: \"request.userInfo.username == 'kubernetes-admin'\"}]
  validations:
  - {expression: \"oldObject == null || object.data == oldObject.data\", message: data is for ever, reason: Forbidden}
  - {expression: \"namespaceObject.metadata.name == request.namespace && request.operation in ['CREATE', 'UPDATE']\"}
  - {expression: \"!request.name.startsWith('no-')\", reason: Unauthorized}";
    registered(&cluster, &[policy("maps", "", "configmaps", rules), binding("maps", "maps", DENY)]).await;
    let admin = cluster.tls_client().await;
    let call = async |method: &str, path: &str, body: Value| {
        let path = format!("/api/v1/namespaces/default/configmaps{path}");
        support::call(&admin, method, &path, "application/json", body).await
    };
    expect(call("POST", "", map("m")), 201).await;
    let mut changed = map("m");
    changed["data"]["a"] = json!("c");
    let status = expect(call("PUT", "/m", changed), 403).await;
    assert_eq!((&status["reason"], &status["code"]), (&json!("Forbidden"), &json!(403)));
    assert!(status["message"].as_str().unwrap().ends_with("denied request: data is for ever"), "{status}");
    let status = expect(call("POST", "", map("no-way")), 401).await;
    assert!(
        status["message"].as_str().unwrap().ends_with("failed expression: !request.name.startsWith('no-')"),
        "{status}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn parameters_come_from_any_kind_by_name_or_selector() {
    let cluster = Cluster::start().await;
    let crd = "
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: limits.example.com}
spec:
  group: example.com
  scope: Namespaced
  names: {plural: limits, singular: limit, kind: Limit}
  versions:
  - name: v1
    served: true
    storage: true
    schema: {openAPIV3Schema: {type: object, properties: {most: {type: integer}}}}
";
    let rule = "
  paramKind: {apiVersion: example.com/v1, kind: Limit}
  validations: [{expression: object.spec.replicas <= params.most, messageExpression: \"'at most ' + string(params.most)\"}]";
    let by_name = "  validationActions: [Deny]\n  paramRef: {name: small, parameterNotFoundAction: Deny}";
    registered(&cluster, &[policy("few", "apps", "deployments", rule), binding("few", "few", by_name)]).await;
    let refusal = async |why: &str| {
        let said = apply(&cluster, DEPLOYMENT).await;
        assert!(said.err.ends_with(&format!("denied request: {why}\n")), "{said:?}");
    };
    // A policy whose parameters are of a kind that is not there lets nothing through.
    refusal("failed to configure policy: failed to find resource referenced by paramKind: 'example.com/v1, Kind=Limit'").await;
    registered(&cluster, &[crd.to_owned()]).await;
    refusal(
        "failed to configure binding: no params found for policy binding with `Deny` parameterNotFoundAction",
    )
    .await;
    let limit = |name: &str, most: u32| {
        format!(
            "apiVersion: example.com/v1\nkind: Limit\nmetadata: {{name: {name}, labels: {{limit: replicas}}}}\nmost: {most}\n"
        )
    };
    registered(&cluster, &[limit("small", 3), limit("large", 9)]).await;
    refusal("at most 3").await;
    let allowed = "  validationActions: [Deny]\n  paramRef: {name: none, parameterNotFoundAction: Allow}";
    registered(&cluster, &[binding("few", "few", allowed)]).await;
    assert!(apply(&cluster, DEPLOYMENT).await.ok);
    cluster.must(&["delete", "deployment", "web"]).await;
    let selected = "  validationActions: [Deny]\n  paramRef: {selector: {matchLabels: {limit: replicas}}, parameterNotFoundAction: Allow}";
    registered(&cluster, &[binding("few", "few", selected)]).await;
    refusal("at most 3").await;
    registered(&cluster, &[limit("small", 8)]).await;
    assert!(apply(&cluster, DEPLOYMENT).await.ok);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_binding_narrows_its_policy_to_namespaces_and_warns_or_notes_instead() {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("audit.log");
    let audit = AuditConfig { path: log.clone(), policy: None, max_bytes: 1 << 20, max_files: 3 };
    let cluster = Cluster::start_with(dir, |config| config.audit = Some(audit)).await;
    for namespace in ["strict", "mild"] {
        cluster.must(&["create", "namespace", namespace]).await;
        cluster.must(&["label", "namespace", namespace, &format!("mood={namespace}")]).await;
    }
    let rule = "
  matchConditions: [{name: ours, expression: \"object.metadata.name.startsWith('m')\"}]
  validations: [{expression: has(object.metadata.labels), message: labels are missing}]
  auditAnnotations: [{key: seen, valueExpression: \"'map ' + object.metadata.name\"}]";
    let within = |mood: &str, actions: &str| {
        format!(
            "  validationActions: [{actions}]\n  matchResources: {{namespaceSelector: {{matchLabels: {{mood: {mood}}}}}}}"
        )
    };
    registered(
        &cluster,
        &[
            policy("labels", "", "configmaps", rule),
            binding("strict", "labels", &within("strict", "Deny")),
            binding("mild", "labels", &within("mild", "Warn, Audit")),
        ],
    )
    .await;
    let create =
        async |namespace: &str| cluster.kubectl(&["create", "configmap", "m", "-n", namespace]).await;
    let said = create("default").await;
    assert!(said.ok && said.err.is_empty(), "{said:?}");
    let said = create("strict").await;
    assert!(
        !said.ok && said.err.contains("with binding 'strict' denied request: labels are missing"),
        "{said:?}"
    );
    let said = create("mild").await;
    let words = "Warning: Validation failed for ValidatingAdmissionPolicy 'labels' with binding 'mild': labels are missing\n";
    assert!(said.ok && said.err == words, "{said:?}");
    let told = eventually("the audit log tells", || {
        let text = std::fs::read_to_string(&log).unwrap();
        let found = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let mut found = found.filter(|line| line["annotations"].get("labels/seen").is_some());
        let found = found.find(|line| line["objectRef"]["namespace"] == "mild");
        async move { found }
    })
    .await;
    let annotations = &told["annotations"];
    assert_eq!(annotations["labels/seen"], "map m");
    let failure = annotations["validation.policy.admission.k8s.io/validation_failure"].as_str().unwrap();
    let failure: Value = serde_json::from_str(failure).unwrap();
    assert_eq!(
        failure,
        json!([{
            "message": "labels are missing", "policy": "labels", "binding": "mild", "expressionIndex": 0,
            "validationActions": ["Warn", "Audit"],
        }])
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_evaluated_or_costs_too_much_fails_unless_the_policy_may_be_ignored() {
    let cluster = Cluster::start().await;
    let maps = "/api/v1/namespaces/default/configmaps";
    for (expression, words) in [
        (
            "object.data.nope == 'x'",
            "expression 'object.data.nope == 'x'' resulted in error: no such key: nope",
        ),
        (
            "object.data.all(a, object.data.all(b, object.data.all(c, object.data.all(d, a + b + c + d != ''))))",
            "running out of cost budget",
        ),
    ] {
        for failure in ["Fail", "Ignore"] {
            let rule =
                format!("  failurePolicy: {failure}\n  validations: [{{expression: \"{expression}\"}}]");
            registered(&cluster, &[policy("maps", "", "configmaps", &rule), binding("maps", "maps", DENY)])
                .await;
            let data: serde_json::Map<_, _> = (0..200).map(|n| (format!("k{n}"), json!("v"))).collect();
            let body = json!({"metadata": {"generateName": "m-"}, "data": data});
            let code = if failure == "Fail" { 422 } else { 201 };
            let status = expect(cluster.call("POST", maps, body), code).await;
            let message = status["message"].as_str().unwrap_or_default();
            assert!(failure == "Ignore" || message.contains(words), "{message}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_that_makes_no_sense_is_refused_when_it_is_written() {
    let cluster = Cluster::start().await;
    let refused = async |more: Value, words: &str| {
        let mut spec = json!({
            "matchConstraints": {"resourceRules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}]},
            "validations": [{"expression": "true"}],
        });
        spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let body = json!({"metadata": {"name": "p"}, "spec": spec});
        let status =
            expect(cluster.call("POST", &format!("{GROUP}/validatingadmissionpolicies"), body), 422).await;
        let message = status["message"].as_str().unwrap();
        let start = "ValidatingAdmissionPolicy.admissionregistration.k8s.io \"p\" is invalid: ";
        assert!(message.starts_with(start) && message.contains(words), "{message}");
    };
    refused(
        json!({"validations": []}),
        "spec.validations: Required value: validations or auditAnnotations must be non-empty",
    )
    .await;
    refused(
        json!({"validations": [{"expression": "object."}]}),
        "spec.validations[0].expression: Invalid value: \"object.\": compilation failed",
    )
    .await;
    refused(json!({"validations": [{"expression": "params.x"}]}), "undeclared reference to 'params'").await;
    // A variable knows those before it.
    let variables = json!([{"name": "a", "expression": "variables.b"}, {"name": "b", "expression": "1"}]);
    refused(
        json!({"variables": variables}),
        "spec.variables[0].expression: Invalid value: \"variables.b\": compilation failed: undefined field 'b'",
    )
    .await;
    refused(json!({"matchConstraints": {}}), "spec.matchConstraints.resourceRules: Required value").await;
    refused(json!({"failurePolicy": "Maybe"}), "spec.failurePolicy: Unsupported value: \"Maybe\"").await;
    let body = json!({"metadata": {"name": "b"}, "spec": {"policyName": "p", "validationActions": ["Deny", "Warn"]}});
    let status =
        expect(cluster.call("POST", &format!("{GROUP}/validatingadmissionpolicybindings"), body), 422).await;
    assert!(status["message"].as_str().unwrap().contains("must not contain both Deny and Warn"), "{status}");
}

#[tokio::test(flavor = "multi_thread")]
async fn policies_and_bindings_are_nobody_elses_business() {
    let cluster = Cluster::start().await;
    let all = "apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata: {name: all}
spec:
  matchConstraints:
    resourceRules: [{apiGroups: ['*'], apiVersions: ['*'], operations: ['*'], resources: ['*']}]
  validations: [{expression: 'false'}]
";
    registered(&cluster, &[all.to_owned(), binding("all", "all", DENY)]).await;
    assert!(!cluster.kubectl(&["create", "configmap", "m"]).await.ok);
    // Questions still have answers, and the way back is open.
    assert_eq!(cluster.must(&["auth", "can-i", "create", "pods"]).await, "yes\n");
    cluster.must(&["delete", "validatingadmissionpolicybinding", "all"]).await;
    cluster.must(&["create", "configmap", "m"]).await;
}
