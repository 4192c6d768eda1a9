use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::registry::Registry;

fn patched(plural: &str, kind: PatchType, current: &Value, patch: &Value) -> Result<Value, PatchError> {
    let registry = Registry::new();
    let group = if plural == "deployments" { "apps" } else { "" };
    let resource = registry.resolve(group, "v1", plural).unwrap();
    apply(kind, &resource, current, patch.to_string().as_bytes())
}

fn strategic(current: &Value, patch: &Value) -> Value {
    patched("pods", PatchType::Strategic, current, patch).unwrap()
}

fn pod(containers: Value) -> Value {
    json!({"spec": {"containers": containers}})
}

#[test]
fn containers_are_merged_by_name_and_new_ones_go_first() {
    let current = pod(json!([{"name": "a", "image": "1"}, {"name": "b", "image": "1"}]));
    let patch = pod(json!([{"name": "b", "image": "2"}]));
    assert_eq!(
        strategic(&current, &patch),
        pod(json!([{"name": "a", "image": "1"}, {"name": "b", "image": "2"}]))
    );
    let patch = pod(json!([{"name": "c", "image": "3"}]));
    assert_eq!(
        strategic(&current, &patch),
        pod(json!([{"name": "c", "image": "3"}, {"name": "a", "image": "1"}, {"name": "b", "image": "1"}]))
    );
}

#[test]
fn an_element_order_is_followed() {
    let current = pod(json!([{"name": "a"}, {"name": "b"}]));
    let patch = json!({"spec": {"$setElementOrder/containers": [{"name": "b"}, {"name": "a"}, {"name": "c"}],
        "containers": [{"name": "c", "image": "x"}]}});
    assert_eq!(
        strategic(&current, &patch),
        pod(json!([{"name": "b"}, {"name": "a"}, {"name": "c", "image": "x"}]))
    );
    let only_order = json!({"spec": {"$setElementOrder/containers": [{"name": "b"}, {"name": "a"}]}});
    assert_eq!(strategic(&current, &only_order), pod(json!([{"name": "b"}, {"name": "a"}])));
}

#[test]
fn directives_delete_and_replace() {
    let current = pod(json!([{"name": "a"}, {"name": "b"}]));
    let delete = pod(json!([{"name": "a", "$patch": "delete"}]));
    assert_eq!(strategic(&current, &delete), pod(json!([{"name": "b"}])));
    let replace = pod(json!([{"$patch": "replace"}, {"name": "z"}]));
    assert_eq!(strategic(&current, &replace), pod(json!([{"name": "z"}])));
    let current = json!({"metadata": {"labels": {"a": "1", "b": "2"}}});
    let replace = json!({"metadata": {"labels": {"$patch": "replace", "c": "3"}}});
    assert_eq!(strategic(&current, &replace), json!({"metadata": {"labels": {"c": "3"}}}));
    let delete = json!({"metadata": {"labels": {"$patch": "delete"}}});
    assert_eq!(strategic(&current, &delete), json!({"metadata": {"labels": {}}}));
}

#[test]
fn sets_are_united_and_can_lose_members() {
    let current = json!({"metadata": {"finalizers": ["a", "b"]}});
    let add = json!({"metadata": {"finalizers": ["c", "a"]}});
    assert_eq!(strategic(&current, &add), json!({"metadata": {"finalizers": ["c", "a", "b"]}}));
    let remove = json!({"metadata": {"$deleteFromPrimitiveList/finalizers": ["a"]}});
    assert_eq!(strategic(&current, &remove), json!({"metadata": {"finalizers": ["b"]}}));
}

#[test]
fn lists_without_a_merge_key_are_replaced_and_nulls_delete() {
    let current = json!({"spec": {"tolerations": [{"key": "a"}], "nodeName": "n", "nodeSelector": {"a": "1", "b": "2"}}});
    let patch =
        json!({"spec": {"tolerations": [{"key": "b"}], "nodeName": null, "nodeSelector": {"a": null}}});
    assert_eq!(
        strategic(&current, &patch),
        json!({"spec": {"tolerations": [{"key": "b"}], "nodeSelector": {"b": "2"}}})
    );
}

#[test]
fn retained_keys_are_all_that_is_left_of_a_union() {
    let current = json!({"spec": {"strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1}}}});
    let patch = json!({"spec": {"strategy": {"$retainKeys": ["type"], "type": "Recreate"}}});
    let result = patched("deployments", PatchType::Strategic, &current, &patch).unwrap();
    assert_eq!(result, json!({"spec": {"strategy": {"type": "Recreate"}}}));
    let bad = json!({"spec": {"strategy": {"$retainKeys": ["type"], "rollingUpdate": {}}}});
    assert!(patched("deployments", PatchType::Strategic, &current, &bad).is_err());
}

#[test]
fn a_list_element_without_its_key_is_refused_in_gos_words() {
    let current = pod(json!([{"name": "a"}]));
    let error = patched("pods", PatchType::Strategic, &current, &pod(json!([{"image": "s:1"}]))).unwrap_err();
    assert_eq!(error.to_string(), "map: map[image:s:1] does not contain declared merge key: name");
}

#[test]
fn conditions_of_a_status_are_merged_by_type() {
    let current = json!({"status": {"conditions": [{"type": "Ready", "status": "False"}, {"type": "Initialized", "status": "True"}]}});
    let patch = json!({"status": {"$setElementOrder/conditions": [{"type": "Ready"}, {"type": "Initialized"}],
        "conditions": [{"type": "Ready", "status": "True"}]}, "metadata": {"uid": "u"}});
    let result = strategic(&current, &patch);
    assert_eq!(result["status"]["conditions"][0], json!({"type": "Ready", "status": "True"}));
    assert_eq!(result["status"]["conditions"].as_array().unwrap().len(), 2);
}

#[test]
fn a_json_patch_may_test_that_nothing_is_there() {
    let current = json!({"metadata": {"name": "a"}});
    let patch = json!([{"op": "test", "path": "/metadata/finalizers", "value": null},
        {"op": "add", "path": "/metadata/finalizers", "value": ["x"]}]);
    let result = patched("pods", PatchType::Json, &current, &patch).unwrap();
    assert_eq!(result["metadata"]["finalizers"], json!(["x"]));
    let wrong = json!([{"op": "test", "path": "/metadata/name", "value": "b"}]);
    let error = patched("pods", PatchType::Json, &current, &wrong).unwrap_err();
    assert_eq!(error.to_string(), "the server rejected our request due to an error in our request");
}

#[test]
fn no_patch_turns_an_object_into_something_else() {
    for patch in [json!([{"op": "replace", "path": "", "value": 3}]), json!([{"op": "remove", "path": ""}])] {
        assert!(patched("pods", PatchType::Json, &json!({"metadata": {}}), &patch).is_err());
    }
}

#[test]
fn a_body_of_the_wrong_shape_is_refused() {
    for (kind, body) in [
        (PatchType::Json, "{}"),
        (PatchType::Merge, "[]"),
        (PatchType::Strategic, "3"),
        (PatchType::Merge, "{"),
    ] {
        let registry = Registry::new();
        let pods = registry.resolve("", "v1", "pods").unwrap();
        let error = apply(kind, &pods, &json!({}), body.as_bytes()).unwrap_err();
        assert!(matches!(error, PatchError::Malformed(_)), "{kind:?} {body}: {error}");
    }
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i8>().prop_map(Value::from),
        "[a-c]{0,2}".prop_map(Value::from),
    ];
    let key = prop_oneof![
        Just("spec".to_owned()),
        Just("metadata".to_owned()),
        Just("containers".to_owned()),
        Just("finalizers".to_owned()),
        Just("name".to_owned()),
        Just("env".to_owned()),
        Just("labels".to_owned()),
        Just("$patch".to_owned()),
        Just("$retainKeys".to_owned()),
        Just("$setElementOrder/containers".to_owned()),
        Just("$deleteFromPrimitiveList/finalizers".to_owned()),
    ];
    leaf.prop_recursive(5, 40, 5, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::Array),
            prop::collection::vec((key.clone(), inner), 0..5)
                .prop_map(|pairs| Value::Object(pairs.into_iter().collect())),
        ]
    })
}

/// What is no object becomes a field of one: few of any documents are objects.
fn any_object() -> impl Strategy<Value = Value> {
    any_json().prop_map(|value| if value.is_object() { value } else { json!({ "spec": value }) })
}

thread_local! {
    static REGISTRY: Registry = Registry::new();
}

proptest! {
    #[test]
    fn no_patch_makes_the_server_panic(current in any_json(), patch in any_json(), kind in 0..3) {
        let kind = [PatchType::Json, PatchType::Merge, PatchType::Strategic][kind as usize];
        let pods = REGISTRY.with(|registry| registry.resolve("", "v1", "pods").unwrap());
        let _ = apply(kind, &pods, &current, patch.to_string().as_bytes());
    }

    #[test]
    fn an_empty_patch_changes_nothing(current in any_object()) {
        let pods = REGISTRY.with(|registry| registry.resolve("", "v1", "pods").unwrap());
        for kind in [PatchType::Merge, PatchType::Strategic] {
            prop_assert_eq!(&apply(kind, &pods, &current, b"{}").unwrap(), &current);
        }
    }

    #[test]
    fn the_same_merge_twice_is_the_merge_once(current in any_object(), patch in any_object()) {
        let pods = REGISTRY.with(|registry| registry.resolve("", "v1", "pods").unwrap());
        let body = patch.to_string();
        let once = apply(PatchType::Merge, &pods, &current, body.as_bytes()).unwrap();
        let twice = apply(PatchType::Merge, &pods, &once, body.as_bytes()).unwrap();
        prop_assert_eq!(once, twice);
    }
}
