use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::schema::{Errors, Path};

fn schema() -> Schema {
    Schema::compile(&json!({
        "type": "object", "required": ["spec"],
        "properties": {
            "spec": {
                "type": "object", "required": ["n"],
                "properties": {
                    "n": {"type": "integer", "minimum": 1, "maximum": 9},
                    "mode": {"type": "string", "enum": ["a", "b"], "default": "a"},
                    "pat": {"type": "string", "pattern": "^x"},
                    "port": {"x-kubernetes-int-or-string": true},
                    "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": true, "properties": {"known": {"type": "object", "properties": {"a": {"type": "string"}}}}},
                    "map": {"type": "object", "additionalProperties": {"type": "object", "properties": {"v": {"type": "integer", "default": 7}}}},
                    "list": {"type": "array", "maxItems": 3, "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"],
                        "items": {"type": "object", "properties": {"name": {"type": "string"}, "x": {"type": "string"}}}},
                    "maybe": {"type": "string", "nullable": true, "default": "d"},
                    "when": {"type": "string", "format": "date-time"}
                }
            }
        }
    }))
}

fn wrong(object: &Value) -> Vec<String> {
    let mut errors = Errors::default();
    schema().validate(object, None, &mut errors);
    errors.into_vec().iter().map(ToString::to_string).collect()
}

#[test]
fn every_violation_is_said_in_kubernetes_words() {
    assert_eq!(wrong(&json!({})), ["spec: Required value"]);
    assert_eq!(wrong(&json!({"spec": {}})), ["spec.n: Required value"]);
    assert_eq!(
        wrong(&json!({"spec": {"n": 10, "mode": "z", "pat": "y"}})),
        [
            "spec.n: Invalid value: 10: spec.n in body should be less than or equal to 9",
            "spec.mode: Unsupported value: \"z\": supported values: \"a\", \"b\"",
            "spec.pat: Invalid value: \"y\": spec.pat in body should match '^x'"
        ]
    );
    assert_eq!(
        wrong(&json!({"spec": {"n": "1"}})),
        ["spec.n: Invalid value: \"string\": spec.n in body must be of type integer: \"string\""]
    );
    assert_eq!(
        wrong(&json!({"spec": {"n": 1, "when": "soon"}})),
        ["spec.when: Invalid value: \"soon\": spec.when in body must be of type date-time: \"soon\""]
    );
    assert_eq!(
        wrong(&json!({"spec": {"n": 1, "list": [{"name": "a"}, {"name": "a"}]}})),
        ["spec.list[1]: Duplicate value: {\"name\":\"a\"}"]
    );
    assert!(wrong(&json!({"apiVersion": "g/v1", "kind": "K", "metadata": {"name": "x"}, "spec": {"n": 1, "port": "http", "maybe": null}})).is_empty());
    assert_eq!(wrong(&json!({"spec": {"n": 1, "port": true}})).len(), 1);
}

#[test]
fn unknown_fields_are_dropped_and_named() {
    let mut object = json!({"metadata": {"name": "x"}, "extra": 1, "spec": {"n": 1, "oops": {"a": 1},
        "free": {"anything": {"goes": [{"here": 1}]}, "known": {"a": "", "b": ""}},
        "map": {"k": {"v": 1, "w": 2}}, "list": [{"name": "a", "y": 1}]}});
    let mut unknown = schema().prune(&mut object);
    unknown.sort();
    assert_eq!(unknown, ["extra", "spec.free.known.b", "spec.list[0].y", "spec.map.k.w", "spec.oops"]);
    assert_eq!(object["spec"]["free"], json!({"anything": {"goes": [{"here": 1}]}, "known": {"a": ""}}));
    assert_eq!(object["metadata"], json!({"name": "x"}));
}

#[test]
fn defaults_are_filled_in_where_their_parents_are() {
    let mut object = json!({"spec": {"n": 1, "map": {"k": {}}, "maybe": null}});
    schema().apply_defaults(&mut object);
    assert_eq!(object, json!({"spec": {"n": 1, "map": {"k": {"v": 7}}, "maybe": null, "mode": "a"}}));
    let mut object = json!({"spec": {"mode": null}});
    schema().apply_defaults(&mut object);
    assert_eq!(object["spec"]["mode"], "a");
}

#[test]
fn a_schema_must_be_structural() {
    let check = |schema: Value| {
        let mut errors = Errors::default();
        check_structural(&schema, &Path::Root.field("schema"), &mut errors);
        errors.into_vec().iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(check(json!({})), ["schema.type: Required value: must not be empty at the root"]);
    assert_eq!(
        check(json!({"type": "object", "properties": {"a": {}}})),
        ["schema.properties[a].type: Required value: must not be empty for specified object fields"]
    );
    assert!(
        check(json!({"type": "object", "properties": {"a": {"type": "string", "pattern": "("}}}))[0]
            .starts_with(
                "schema.properties[a].pattern: Invalid value: \"(\": must be a valid regular expression"
            )
    );
    assert!(
        check(json!({"type": "object", "properties": {"a": {"x-kubernetes-preserve-unknown-fields": true}}}))
            .is_empty()
    );
}

#[test]
fn combinations_of_schemas_are_understood() {
    let schema = Schema::compile(
        &json!({"type": "object", "properties": {"a": {"type": "string"}, "b": {"type": "string"}},
        "oneOf": [{"required": ["a"]}, {"required": ["b"]}]}),
    );
    assert!(schema.accepts(&json!({"a": ""})));
    assert!(!schema.accepts(&json!({})));
    assert!(!schema.accepts(&json!({"a": "", "b": ""})));
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,3}".prop_map(Value::from)
    ];
    leaf.prop_recursive(4, 30, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::Array),
            prop::collection::vec(
                ("(spec|n|mode|pat|port|free|map|list|maybe|name|properties|type|items)", inner),
                0..5
            )
            .prop_map(|pairs| Value::Object(pairs.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn no_object_and_no_schema_makes_the_server_panic(object in any_json(), source in any_json()) {
        for schema in [schema(), Schema::compile(&source)] {
            let mut object = object.clone();
            schema.prune(&mut object);
            schema.apply_defaults(&mut object);
            let mut errors = Errors::default();
            schema.validate(&object, None, &mut errors);
            schema.validate(&object, Some(&Value::Null), &mut errors);
        }
        let mut errors = Errors::default();
        check_structural(&source, &Path::Root, &mut errors);
    }

    #[test]
    fn what_is_pruned_once_has_nothing_left_to_prune(object in any_json()) {
        let mut object = object;
        schema().prune(&mut object);
        prop_assert!(schema().prune(&mut object).is_empty());
    }
}
