//! Custom resources: what a definition may say, and that it is meant.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, unreachable_pub)]

mod support;

use serde_json::{Value, json};
use support::{Cluster, KUBECTL, KUBECTL_1_20};

const WIDGETS: &str = "/apis/example.com/v1/namespaces/default/widgets";
const OLD_WIDGETS: &str = "/apis/example.com/v1beta1/namespaces/default/widgets";
const CRDS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";

/// A definition of widgets whose `spec` has this schema.
fn widgets(spec: Value) -> Value {
    json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": "widgets.example.com"},
        "spec": {"group": "example.com", "scope": "Namespaced",
            "names": {"plural": "widgets", "kind": "Widget", "shortNames": ["wd"], "categories": ["all", "things"]},
            "versions": [version("v1", true, spec)]}})
}

fn version(name: &str, storage: bool, spec: Value) -> Value {
    json!({"name": name, "served": true, "storage": storage, "schema": {"openAPIV3Schema": {"type": "object",
        "properties": {"spec": spec, "status": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}}}})
}

fn widget(name: &str, spec: Value) -> Value {
    json!({"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": name}, "spec": spec})
}

async fn define(cluster: &Cluster, crd: Value) -> Value {
    let (code, made) = cluster.call("POST", CRDS, crd).await;
    assert_eq!(code, 201, "{made}");
    made
}

/// Changes the definition of widgets.
async fn redefine(cluster: &Cluster, patch: Value) -> (u16, Value) {
    cluster.patch("merge-patch+json", &format!("{CRDS}/widgets.example.com"), patch).await
}

async fn refused(cluster: &Cluster, crd: Value) -> String {
    let (code, status) = cluster.call("POST", CRDS, crd).await;
    assert_eq!(code, 422, "{status}");
    status["message"].as_str().unwrap().to_owned()
}

fn free() -> Value {
    json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true})
}

fn words(text: &str) -> Vec<&str> {
    text.split_whitespace().collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_is_the_same_in_every_served_version_and_each_has_its_own_columns() {
    let cluster = Cluster::start().await;
    let mut crd = widgets(free());
    let mut old = version("v1beta1", true, free());
    old["additionalPrinterColumns"] = json!([{"name": "Old", "type": "string", "jsonPath": ".spec.color"}]);
    old["deprecated"] = json!(true);
    crd["spec"]["versions"][0]["storage"] = json!(false);
    crd["spec"]["versions"][0]["additionalPrinterColumns"] = json!([
        {"name": "Size", "type": "integer", "jsonPath": ".spec.size"},
        {"name": "Heavy", "type": "boolean", "jsonPath": ".spec.heavy", "priority": 1},
        {"name": "Since", "type": "date", "jsonPath": ".metadata.creationTimestamp"},
    ]);
    crd["spec"]["versions"].as_array_mut().unwrap().push(old);
    let made = define(&cluster, crd).await;
    assert_eq!(made["status"]["storedVersions"], json!(["v1beta1"]));
    let old_form = json!({"metadata": {"name": "one"}, "spec": {"color": "red", "size": 3, "heavy": true}});
    assert_eq!(cluster.call("POST", OLD_WIDGETS, old_form).await.0, 201);
    let (_, new) = cluster.call("GET", &format!("{WIDGETS}/one"), Value::Null).await;
    assert_eq!((&new["apiVersion"], &new["spec"]["color"]), (&json!("example.com/v1"), &json!("red")));
    // A write through one version that changes nothing is none in the other.
    let (code, same) = cluster.call("PUT", &format!("{WIDGETS}/one"), new.clone()).await;
    assert_eq!((code, &same["metadata"]["resourceVersion"]), (200, &new["metadata"]["resourceVersion"]));
    let shown = cluster.kubectl(&["get", "widgets.v1beta1.example.com"]).await;
    assert_eq!(words(&shown.out), ["NAME", "OLD", "one", "red"], "{shown:?}");
    assert!(shown.err.contains("Warning: example.com/v1beta1 Widget is deprecated"), "{shown:?}");
    for kubectl in [KUBECTL, KUBECTL_1_20] {
        let plain = cluster.run(kubectl, &["get", "wd"]).await.out;
        assert_eq!(words(&plain)[..5], ["NAME", "SIZE", "SINCE", "one", "3"], "{plain}");
        let wide = cluster.run(kubectl, &["get", "things", "-o", "wide"]).await.out;
        assert_eq!(words(&wide)[..7], ["NAME", "SIZE", "HEAVY", "SINCE", "one", "3", "true"], "{wide}");
    }
    // Storage moves on; the old version stays listed until somebody says that nothing is left in it.
    let both = [version("v1", true, free()), version("v1beta1", false, free())];
    let (code, moved) = redefine(&cluster, json!({"spec": {"versions": both}})).await;
    assert_eq!((code, &moved["status"]["storedVersions"]), (200, &json!(["v1beta1", "v1"])), "{moved}");
    let (code, status) = redefine(&cluster, json!({"spec": {"versions": [both[0]]}})).await;
    assert_eq!(code, 422);
    assert!(
        status["message"]
            .as_str()
            .unwrap()
            .contains("status.storedVersions[0]: Invalid value: \"v1beta1\": missing from spec.versions"),
        "{status}"
    );
    let patch = r#"{"status":{"storedVersions":["v1"]}}"#;
    cluster
        .must(&["patch", "crd", "widgets.example.com", "--subresource=status", "--type=merge", "-p", patch])
        .await;
    let mut unserved = both.clone();
    unserved[1]["served"] = json!(false);
    assert_eq!(redefine(&cluster, json!({"spec": {"versions": unserved}})).await.0, 200);
    assert_eq!(cluster.call("GET", &format!("{OLD_WIDGETS}/one"), Value::Null).await.0, 404);
    assert_eq!(redefine(&cluster, json!({"spec": {"versions": [both[0]]}})).await.0, 200);
    assert_eq!(cluster.call("GET", &format!("{WIDGETS}/one"), Value::Null).await.1["spec"]["color"], "red");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_schema_does_not_allow_is_said_field_by_field_and_what_it_does_not_know_is_dropped() {
    let cluster = Cluster::start().await;
    define(&cluster, widgets(json!({"type": "object", "required": ["n"], "properties": {
        "n": {"type": "integer", "minimum": 1, "maximum": 9}, "mode": {"type": "string", "enum": ["a", "b"]},
        "pat": {"type": "string", "pattern": "^x", "maxLength": 3}, "list": {"type": "array", "maxItems": 1, "items": {"type": "string"}}}}))).await;
    for (spec, reason, field, expected) in [
        (
            json!({"n": 10}),
            "FieldValueInvalid",
            "spec.n",
            "Invalid value: 10: spec.n in body should be less than or equal to 9",
        ),
        (
            json!({"n": 0}),
            "FieldValueInvalid",
            "spec.n",
            "Invalid value: 0: spec.n in body should be greater than or equal to 1",
        ),
        (
            json!({"n": 1, "mode": "z"}),
            "FieldValueNotSupported",
            "spec.mode",
            "Unsupported value: \"z\": supported values: \"a\", \"b\"",
        ),
        (
            json!({"n": 1, "pat": "y"}),
            "FieldValueInvalid",
            "spec.pat",
            "Invalid value: \"y\": spec.pat in body should match '^x'",
        ),
        (
            json!({"n": 1, "pat": "xxxx"}),
            "FieldValueTooLong",
            "spec.pat",
            "Too long: may not be more than 3 bytes",
        ),
        (json!({"mode": "a"}), "FieldValueRequired", "spec.n", "Required value"),
        (
            json!({"n": "1"}),
            "FieldValueTypeInvalid",
            "spec.n",
            "Invalid value: \"string\": spec.n in body must be of type integer: \"string\"",
        ),
        (
            json!({"n": 1, "list": ["a", "b"]}),
            "FieldValueTooMany",
            "spec.list",
            "Too many: 2: must have at most 1 items",
        ),
    ] {
        let (code, status) = cluster.call("POST", WIDGETS, widget("bad", spec)).await;
        assert_eq!((code, &status["reason"]), (422, &json!("Invalid")), "{status}");
        assert_eq!(status["message"], format!("Widget.example.com \"bad\" is invalid: {field}: {expected}"));
        let cause = &status["details"]["causes"][0];
        assert_eq!(
            (&cause["reason"], &cause["field"], &cause["message"]),
            (&json!(reason), &json!(field), &json!(expected))
        );
    }
    let (_, status) = cluster.call("POST", WIDGETS, widget("bad", json!({"n": 10, "mode": "z"}))).await;
    let message = status["message"].as_str().unwrap();
    assert!(message.starts_with("Widget.example.com \"bad\" is invalid: [spec."), "{message}");
    assert_eq!(status["details"]["causes"].as_array().unwrap().len(), 2);
    let (code, made) =
        cluster.call("POST", WIDGETS, widget("good", json!({"n": 1, "extra": {"a": 1}}))).await;
    assert_eq!((code, &made["spec"]), (201, &json!({"n": 1})), "{made}");
    let strict = format!("{WIDGETS}?fieldValidation=Strict");
    let (code, status) = cluster.call("POST", &strict, widget("bad", json!({"n": 1, "extra": 1}))).await;
    assert_eq!(code, 400);
    assert!(
        status["message"].as_str().unwrap().contains("strict decoding error: unknown field \"spec.extra\""),
        "{status}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_status_of_a_custom_resource_is_written_apart_and_only_the_rest_counts_generations() {
    let cluster = Cluster::start().await;
    let mut crd = widgets(free());
    crd["spec"]["versions"][0]["subresources"] = json!({"status": {}});
    define(&cluster, crd).await;
    let mut both = widget("one", json!({"n": 1}));
    both["status"] = json!({"seen": true});
    let (_, made) = cluster.call("POST", WIDGETS, both).await;
    assert_eq!((made.get("status"), &made["metadata"]["generation"]), (None, &json!(1)));
    let path = format!("{WIDGETS}/one");
    let mut both = made.clone();
    (both["spec"]["n"], both["status"]) = (json!(2), json!({"seen": true}));
    let (code, written) = cluster.call("PUT", &format!("{path}/status"), both.clone()).await;
    assert_eq!((code, &written["spec"], &written["status"]), (200, &json!({"n": 1}), &json!({"seen": true})));
    assert_eq!(written["metadata"]["generation"], 1);
    both["metadata"]["resourceVersion"] = written["metadata"]["resourceVersion"].clone();
    both["status"] = json!({"seen": false});
    let (code, written) = cluster.call("PUT", &path, both).await;
    assert_eq!((code, &written["spec"], &written["status"]), (200, &json!({"n": 2}), &json!({"seen": true})));
    assert_eq!(written["metadata"]["generation"], 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_scales_a_custom_resource_where_its_definition_says() {
    let cluster = Cluster::start().await;
    let mut crd = widgets(
        json!({"type": "object", "properties": {"size": {"type": "object", "properties": {"wanted": {"type": "integer", "maximum": 9}}}}}),
    );
    crd["spec"]["versions"][0]["subresources"] = json!({"status": {}, "scale": {
        "specReplicasPath": ".spec.size.wanted", "statusReplicasPath": ".status.there", "labelSelectorPath": ".status.selector"}});
    define(&cluster, crd).await;
    cluster.call("POST", WIDGETS, widget("one", json!({"size": {"wanted": 1}}))).await;
    let status = r#"{"status":{"there":1,"selector":"app=one"},"spec":{"size":{"wanted":7}}}"#;
    cluster.must(&["patch", "widget", "one", "--subresource=status", "--type=merge", "-p", status]).await;
    for (kubectl, wanted) in [(KUBECTL, "3"), (KUBECTL_1_20, "4")] {
        let said = cluster.run(kubectl, &["scale", "widget/one", &format!("--replicas={wanted}")]).await;
        assert!(said.ok, "{said:?}");
        let now = cluster.must(&["get", "widget", "one", "-o", "jsonpath={.spec.size.wanted}"]).await;
        assert_eq!(now, wanted);
    }
    let (_, scale) = cluster.call("GET", &format!("{WIDGETS}/one/scale"), Value::Null).await;
    assert_eq!(scale["spec"], json!({"replicas": 4}));
    assert_eq!(scale["status"], json!({"replicas": 1, "selector": "app=one"}));
    let mismatch = cluster.kubectl(&["scale", "widget/one", "--replicas=5", "--current-replicas=9"]).await;
    assert!(mismatch.err.contains("Expected replicas to be 9, was 4"), "{mismatch:?}");
    let too_many = cluster.kubectl(&["scale", "widget/one", "--replicas=10"]).await;
    assert!(too_many.err.contains("should be less than or equal to 9"), "{too_many:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn defaults_reach_objects_that_were_stored_before_there_were_any() {
    let cluster = Cluster::start().await;
    let spec =
        |default: Value| json!({"type": "object", "properties": {"n": {"type": "integer"}, "mode": default}});
    define(&cluster, widgets(spec(json!({"type": "string"})))).await;
    let (_, made) =
        cluster.call("POST", WIDGETS, widget("one", json!({"n": 1, "mode": null, "gone": 1}))).await;
    assert_eq!(made["spec"], json!({"n": 1}));
    let versions = [version("v1", true, spec(json!({"type": "string", "default": "calm"})))];
    assert_eq!(redefine(&cluster, json!({"spec": {"versions": versions}})).await.0, 200);
    let (_, got) = cluster.call("GET", &format!("{WIDGETS}/one"), Value::Null).await;
    assert_eq!(got["spec"], json!({"n": 1, "mode": "calm"}));
    let (_, list) = cluster.call("GET", WIDGETS, Value::Null).await;
    assert_eq!(list["items"][0]["spec"]["mode"], "calm");
    let seen = support::events(&cluster.client, &format!("{WIDGETS}?watch=true&timeoutSeconds=1"), 1).await;
    assert_eq!(seen[0]["object"]["spec"]["mode"], "calm");
    let wrong = [version("v1", true, spec(json!({"type": "string", "default": 3})))];
    let (code, status) = redefine(&cluster, json!({"spec": {"versions": wrong}})).await;
    assert_eq!(code, 422);
    assert!(
        status["message"].as_str().unwrap().contains(".default: Invalid value: \"integer\":"),
        "{status}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_that_are_maps_or_sets_have_nothing_twice_and_unions_and_embedded_objects_are_checked() {
    let cluster = Cluster::start().await;
    define(&cluster, widgets(json!({"type": "object", "properties": {
        "ports": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["port", "protocol"], "items": {
            "type": "object", "required": ["port"], "properties": {"port": {"type": "integer"}, "protocol": {"type": "string", "default": "TCP"}}}},
        "tags": {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"}},
        "at": {"x-kubernetes-int-or-string": true, "anyOf": [{"type": "integer"}, {"type": "string"}]},
        "inner": {"type": "object", "x-kubernetes-embedded-resource": true, "x-kubernetes-preserve-unknown-fields": true},
        "maybe": {"type": "string", "nullable": true},
    }}))).await;
    let refuse = async |spec: Value| {
        let (code, status) = cluster.call("POST", WIDGETS, widget("bad", spec)).await;
        assert_eq!(code, 422, "{status}");
        status["message"].as_str().unwrap().to_owned()
    };
    let twice = refuse(json!({"ports": [{"port": 1}, {"port": 1, "protocol": "TCP"}]})).await;
    assert!(twice.contains(r#"spec.ports[1]: Duplicate value: {"port":1,"protocol":"TCP"}"#), "{twice}");
    assert!(refuse(json!({"tags": ["a", "b", "a"]})).await.contains(r#"spec.tags[2]: Duplicate value: "a""#));
    assert!(refuse(json!({"at": true})).await.contains("spec.at in body must be of type integer,string"));
    let inner = refuse(json!({"inner": {"kind": "Pod"}})).await;
    assert!(inner.contains("spec.inner.apiVersion: Required value"), "{inner}");
    let good = json!({"ports": [{"port": 1}, {"port": 1, "protocol": "UDP"}], "tags": ["a"], "at": "http", "maybe": null,
        "inner": {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x"}, "any": {"thing": 1}}});
    let (code, made) = cluster.call("POST", WIDGETS, widget("good", good)).await;
    assert_eq!(code, 201, "{made}");
    assert_eq!(made["spec"]["inner"]["any"]["thing"], 1);
    assert_eq!(made["spec"]["maybe"], Value::Null);
}

#[tokio::test(flavor = "multi_thread")]
async fn validation_rules_guard_creation_change_and_status_and_tell_why() {
    let cluster = Cluster::start().await;
    let mut crd = widgets(json!({"type": "object",
        "x-kubernetes-validations": [{"rule": "self.min <= self.max", "messageExpression": "'min ' + string(self.min) + ' is above max'", "fieldPath": ".min"}],
        "properties": {"min": {"type": "integer"}, "max": {"type": "integer"},
            "name": {"type": "string", "x-kubernetes-validations": [{"rule": "self == oldSelf", "message": "name is immutable", "reason": "FieldValueForbidden"}]}}}));
    crd["spec"]["versions"][0]["subresources"] = json!({"status": {}});
    define(&cluster, crd).await;
    let file = |spec: &str| {
        cluster.manifest(
            "w.yaml",
            &format!("apiVersion: example.com/v1\nkind: Widget\nmetadata: {{name: one}}\nspec: {spec}\n"),
        )
    };
    let bad = cluster.kubectl(&["apply", "-f", &file("{min: 5, max: 2}")]).await;
    assert!(
        bad.err.contains(
            "The Widget \"one\" is invalid: spec.min: Invalid value: \"object\": min 5 is above max"
        ),
        "{bad:?}"
    );
    cluster.must(&["apply", "-f", &file("{min: 1, max: 2, name: a}")]).await;
    cluster.must(&["apply", "-f", &file("{min: 2, max: 2, name: a}")]).await;
    let renamed = cluster.kubectl(&["apply", "-f", &file("{min: 1, max: 2, name: b}")]).await;
    assert!(renamed.err.contains("spec.name: Forbidden: name is immutable"), "{renamed:?}");
    // A stricter rule does not lock out what was there before it.
    let stricter = [version(
        "v1",
        true,
        json!({"type": "object",
        "x-kubernetes-validations": [{"rule": "self.max > 100"}], "properties": {"max": {"type": "integer"}}}),
    )];
    assert_eq!(redefine(&cluster, json!({"spec": {"versions": stricter}})).await.0, 200);
    assert_eq!(cluster.must(&["label", "widget", "one", "a=b"]).await, "widget.example.com/one labeled\n");
    let broken = widgets(
        json!({"type": "object", "x-kubernetes-validations": [{"rule": "self.nope > 1"}], "properties": {"a": {"type": "string"}}}),
    );
    let (code, status) = redefine(&cluster, json!({"spec": broken["spec"]})).await;
    assert_eq!(code, 422);
    assert!(
        status["message"].as_str().unwrap().contains("compilation failed: undefined field 'nope'"),
        "{status}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn objects_are_selected_by_the_fields_that_their_definition_names() {
    let cluster = Cluster::start().await;
    let spec = json!({"type": "object", "properties": {"color": {"type": "string"}, "big": {"type": "boolean"}, "deep": {"type": "object", "properties": {"n": {"type": "integer"}}}}});
    let mut crd = widgets(spec);
    crd["spec"]["versions"][0]["selectableFields"] =
        json!([{"jsonPath": ".spec.color"}, {"jsonPath": ".spec.big"}, {"jsonPath": ".spec.deep.n"}]);
    define(&cluster, crd.clone()).await;
    for (name, spec) in
        [("a", json!({"color": "red", "big": true})), ("b", json!({"color": "blue", "deep": {"n": 3}}))]
    {
        assert_eq!(cluster.call("POST", WIDGETS, widget(name, spec)).await.0, 201);
    }
    for (selector, expected) in [
        ("spec.color=red", "widget.example.com/a\n"),
        ("spec.color!=red", "widget.example.com/b\n"),
        ("spec.big=true,metadata.name=a", "widget.example.com/a\n"),
        ("spec.deep.n=3", "widget.example.com/b\n"),
        ("spec.deep.n=4", ""),
    ] {
        let found = cluster.must(&["get", "widgets", "-o", "name", "--field-selector", selector]).await;
        assert_eq!(found, expected, "{selector}");
    }
    let unknown = cluster.kubectl(&["get", "widgets", "--field-selector", "spec.size=1"]).await;
    assert!(unknown.err.contains("field label not supported: spec.size"), "{unknown:?}");
    let watch = format!("{WIDGETS}?watch=true&timeoutSeconds=1&fieldSelector=spec.color%3Dblue");
    let seen = support::events(&cluster.client, &watch, 5).await;
    assert_eq!(seen.iter().map(|one| &one["object"]["metadata"]["name"]).collect::<Vec<_>>(), ["b"]);
    crd["metadata"]["name"] = json!("gadgets.example.com");
    crd["spec"]["names"] = json!({"plural": "gadgets", "kind": "Gadget"});
    crd["spec"]["versions"][0]["selectableFields"] = json!([{"jsonPath": ".spec.deep"}]);
    assert!(refused(&cluster, crd).await.contains("spec.versions[0].selectableFields[0].jsonPath: Invalid value: \".spec.deep\": must point to a field of type"));
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_definitions_are_refused_in_kubernetes_words() {
    let cluster = Cluster::start().await;
    for (spec, expected) in [
        (
            json!({"properties": {}}),
            "properties[spec].type: Required value: must not be empty for specified object fields",
        ),
        (json!({"type": "object", "$ref": "#/x"}), "properties[spec].$ref: Forbidden: $ref is not supported"),
        (json!({"type": "array"}), "properties[spec].items: Required value: must be specified"),
        (
            json!({"type": "object", "anyOf": [{"type": "string"}]}),
            "properties[spec].anyOf[0].type: Forbidden: must be empty to be structural",
        ),
        (
            json!({"type": "object", "oneOf": [{"properties": {"a": {"minimum": 1}}}]}),
            "oneOf[0].properties[a]: Required value: because it is defined in",
        ),
        (
            json!({"type": "object", "x-kubernetes-embedded-resource": true}),
            "properties[spec].properties: Required value: must not be empty if x-kubernetes-embedded-resource is true",
        ),
        (
            json!({"type": "object", "properties": {}, "additionalProperties": {"type": "string"}, "x-kubernetes-preserve-unknown-fields": false}),
            "must be true or undefined",
        ),
    ] {
        let message = refused(&cluster, widgets(spec)).await;
        assert!(message.contains(expected), "{message}");
    }
    let with = |change: &dyn Fn(&mut Value)| {
        let mut crd = widgets(free());
        change(&mut crd);
        crd
    };
    for (crd, expected) in [
        (
            with(&|crd| crd["metadata"]["name"] = json!("things.example.com")),
            "metadata.name: Invalid value: \"things.example.com\": must be spec.names.plural+\".\"+spec.group",
        ),
        (
            with(
                &|crd| crd["spec"]["conversion"] = json!({"strategy": "Webhook", "webhook": {"conversionReviewVersions": ["v1"], "clientConfig": {"url": "https://x"}}}),
            ),
            "spec.conversion.strategy: Invalid value: \"Webhook\": conversion webhooks are not supported",
        ),
        (
            with(&|crd| crd["spec"]["versions"][0]["storage"] = json!(false)),
            "must have exactly one version marked as storage version",
        ),
        (
            with(&|crd| crd["spec"]["scope"] = json!("World")),
            "spec.scope: Unsupported value: \"World\": supported values: \"Cluster\", \"Namespaced\"",
        ),
        (
            with(&|crd| {
                crd["spec"]["versions"][0]["additionalPrinterColumns"] =
                    json!([{"name": "A", "type": "text", "jsonPath": ".a"}])
            }),
            "additionalPrinterColumns[0].type: Unsupported value: \"text\"",
        ),
        (
            with(&|crd| {
                crd["spec"]["group"] = json!("foo.k8s.io");
                crd["metadata"]["name"] = json!("widgets.foo.k8s.io");
            }),
            "protected groups must have approval annotation",
        ),
    ] {
        let message = refused(&cluster, crd).await;
        assert!(message.contains(expected), "{message}");
    }
    define(&cluster, widgets(free())).await;
    for (field, value) in
        [("scope", json!("Cluster")), ("group", json!("other.com")), ("names", json!({"kind": "Gadget"}))]
    {
        let (code, status) = redefine(&cluster, json!({"spec": {field: value}})).await;
        assert_eq!(code, 422);
        assert!(status["message"].as_str().unwrap().contains("field is immutable"), "{status}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_taken_name_is_not_accepted_until_it_is_free() {
    let cluster = Cluster::start().await;
    define(&cluster, widgets(free())).await;
    let mut other = widgets(free());
    other["metadata"]["name"] = json!("wodgets.example.com");
    other["spec"]["names"] = json!({"plural": "wodgets", "kind": "Wodget", "shortNames": ["wd"]});
    let made = define(&cluster, other).await;
    let condition = |crd: &Value, kind: &str| {
        let all = crd["status"]["conditions"].as_array().unwrap();
        let one = all.iter().find(|one| one["type"] == kind).unwrap();
        (one["status"].as_str().unwrap().to_owned(), one["reason"].as_str().unwrap().to_owned())
    };
    assert_eq!(condition(&made, "NamesAccepted"), ("False".to_owned(), "ShortNamesConflict".to_owned()));
    assert_eq!(condition(&made, "Established"), ("False".to_owned(), "NotAccepted".to_owned()));
    let wodgets = "/apis/example.com/v1/namespaces/default/wodgets";
    assert_eq!(cluster.call("GET", wodgets, Value::Null).await.0, 404);
    cluster.must(&["delete", "crd", "widgets.example.com"]).await;
    cluster.must(&["wait", "--for=condition=Established", "--timeout=20s", "crd/wodgets.example.com"]).await;
    assert_eq!(cluster.call("GET", wodgets, Value::Null).await.0, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_definition_goes_when_the_last_of_its_objects_lets_go() {
    let cluster = Cluster::start().await;
    define(&cluster, widgets(free())).await;
    for name in ["a", "b", "c"] {
        let mut one = widget(name, json!({}));
        one["metadata"]["finalizers"] = json!(["example.com/hold"]);
        assert_eq!(cluster.call("POST", WIDGETS, one).await.0, 201);
    }
    cluster.must(&["delete", "crd", "widgets.example.com", "--wait=false"]).await;
    cluster.must(&["wait", "--for=condition=Terminating", "--timeout=20s", "crd/widgets.example.com"]).await;
    assert_eq!(cluster.call("POST", WIDGETS, widget("late", json!({}))).await.0, 405);
    for name in ["a", "b", "c"] {
        cluster
            .must(&[
                "wait",
                "--for=jsonpath={.metadata.deletionTimestamp}",
                "--timeout=20s",
                &format!("widget/{name}"),
            ])
            .await;
        let free = r#"{"metadata":{"finalizers":null}}"#;
        cluster.must(&["patch", "widget", name, "--type=merge", "-p", free]).await;
    }
    cluster.must(&["wait", "--for=delete", "--timeout=20s", "crd/widgets.example.com"]).await;
    assert_eq!(cluster.call("GET", WIDGETS, Value::Null).await.0, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_definitions_of_kubeedge_are_accepted_and_serve_devices() {
    let cluster = Cluster::start().await;
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy/crds");
    cluster.must(&["apply", "-f", folder]).await;
    cluster.must(&["wait", "--for=condition=Established", "--timeout=5s", "crd", "--all"]).await;
    let names = cluster.must(&["get", "crd", "-o", "name"]).await;
    assert_eq!(names.lines().count(), std::fs::read_dir(folder).unwrap().count(), "{names}");
    let device = "
apiVersion: devices.kubeedge.io/v1beta1
kind: Device
metadata: {name: thermo}
spec:
  nodeName: edge1
  deviceModelRef: {name: model}
  protocol: {protocolName: modbus, configData: {port: 1, nested: {any: thing}}}
  properties:
  - {name: temperature, desired: {value: '20'}, reportCycle: 1000}
";
    for kubectl in [KUBECTL, KUBECTL_1_20] {
        let file = cluster.manifest("device.yaml", device);
        let said = cluster.run(kubectl, &["apply", "-f", &file]).await;
        assert!(said.ok, "{kubectl}: {said:?}");
        let shown = cluster.json(&["get", "device", "thermo"]).await;
        assert_eq!(shown["spec"]["protocol"]["configData"]["nested"], json!({"any": "thing"}));
        let typo = cluster.manifest("typo.yaml", &device.replace("nodeName", "nodeNaem"));
        let said = cluster.run(kubectl, &["apply", "-f", &typo]).await;
        assert!(
            !said.ok && said.err.contains("unknown field \"") && said.err.contains("nodeNaem"),
            "{said:?}"
        );
        let explained = cluster.run(kubectl, &["explain", "device.spec.nodeName"]).await.out;
        assert!(words(&explained).join(" ").contains("FIELD: nodeName <string>"), "{explained}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_custom_resource_has_no_protobuf_form_but_may_be_deleted_with_options_in_it() {
    const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";
    let cluster = Cluster::start().await;
    define(&cluster, widgets(free())).await;
    let path = format!("{WIDGETS}/one");
    let (code, _) = cluster.call("POST", WIDGETS, widget("one", json!({}))).await;
    assert_eq!(code, 201);
    let answer = async |method: &str, path: &str, header: &str, body: &[u8]| {
        let request = http::Request::builder().method(method).uri(path).header(header, PROTOBUF);
        let request = request.body(body.to_vec().into()).unwrap();
        support::answered(cluster.client.send(request).await.unwrap()).await
    };
    let unknown = b"k8s\0\x0a\x18\x0a\x0eexample.com/v1\x12\x06Widget\x12\x00";
    for body in [&unknown[..], b"k8s\0", b"nonsense", b""] {
        for (method, path) in [("POST", WIDGETS), ("PUT", &path)] {
            let (code, refused) = answer(method, path, "content-type", body).await;
            assert_eq!((code, &refused["reason"]), (415, &json!("UnsupportedMediaType")), "{refused}");
            let said = refused["message"].as_str().unwrap();
            assert!(
                said.ends_with("accepted media types include: application/json, application/yaml"),
                "{said}"
            );
        }
    }
    let (code, refused) = answer("GET", &path, "accept", b"").await;
    assert_eq!((code, &refused["reason"]), (406, &json!("NotAcceptable")), "{refused}");
    assert!(refused["message"].as_str().unwrap().contains("application/json, application/yaml"), "{refused}");
    let options = b"k8s\0\x0a\x13\x0a\x02v1\x12\x0dDeleteOptions\x12\x02\x08\x00";
    let (code, gone) = answer("DELETE", &path, "content-type", options).await;
    assert_eq!(code, 200, "{gone}");
}
