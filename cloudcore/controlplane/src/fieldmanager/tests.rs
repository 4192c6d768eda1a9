use std::sync::{Arc, LazyLock};

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::registry::{Registry, Resource};

static REGISTRY: LazyLock<Registry> = LazyLock::new(Registry::new);

fn deployments() -> Arc<Resource> {
    REGISTRY.resolve("apps", "v1", "deployments").unwrap()
}

fn claim<'a>(resource: &'a Resource, manager: &'a str, ignored: &'a Set) -> Claim<'a> {
    Claim {
        shape: resource.shape(),
        manager,
        api_version: "apps/v1",
        subresource: "",
        ignored,
        now: "2026-01-02T03:04:05Z",
    }
}

fn applied(live: &Value, manager: &str, config: &Value, force: bool) -> Result<Value, ApplyError> {
    let resource = deployments();
    let ignored = resource.unreached("", config);
    apply(&claim(&resource, manager, &ignored), live, config, force)
}

fn updated(live: Option<&Value>, manager: &str, new: &Value) -> Value {
    let resource = deployments();
    let ignored = resource.unreached("", new);
    let mut new = new.clone();
    update(&claim(&resource, manager, &ignored), live, &mut new);
    new
}

/// What a manager owns, as text.
fn owned(object: &Value, manager: &str) -> String {
    let entries = object["metadata"]["managedFields"].as_array().cloned().unwrap_or_default();
    let own = entries.iter().filter(|entry| entry["manager"] == manager);
    own.map(|entry| entry["fieldsV1"].to_string()).collect::<Vec<_>>().join("+")
}

fn web(containers: &Value) -> Value {
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"},
        "spec": {"template": {"spec": {"containers": containers}}}})
}

#[test]
fn a_created_deployment_is_owned_as_kubernetes_records_it() {
    let mut web =
        web(&json!([{"name": "c", "image": "i", "ports": [{"containerPort": 80}], "resources": {}}]));
    web["metadata"]["labels"] = json!({"app": "web"});
    web["spec"]["selector"] = json!({"matchLabels": {"app": "web"}});
    web["spec"]["strategy"] = json!({"type": "Recreate"});
    web["status"] = json!({"replicas": 3});
    let created = updated(None, "kubectl-create", &web);
    assert_eq!(
        owned(&created, "kubectl-create"),
        r#"{"f:metadata":{"f:labels":{".":{},"f:app":{}}},"f:spec":{"f:selector":{},"f:strategy":{"f:type":{}},"f:template":{"f:spec":{"f:containers":{"k:{\"name\":\"c\"}":{".":{},"f:image":{},"f:name":{},"f:ports":{".":{},"k:{\"containerPort\":80,\"protocol\":\"TCP\"}":{".":{},"f:containerPort":{}}},"f:resources":{}}}}}}}"#
    );
    let entry = &created["metadata"]["managedFields"][0];
    let keys: Vec<&String> = entry.as_object().unwrap().keys().collect();
    assert_eq!(keys, ["manager", "operation", "apiVersion", "time", "fieldsType", "fieldsV1"]);
}

#[test]
fn what_an_update_changes_moves_to_its_manager_and_what_it_drops_is_nobodys() {
    let first = web(&json!([{"name": "c", "image": "i", "env": [{"name": "A", "value": "1"}]}]));
    let live = updated(None, "one", &first);
    let mut second = live.clone();
    second["spec"]["template"]["spec"]["containers"][0] = json!({"name": "c", "image": "j"});
    let live = updated(Some(&live), "two", &second);
    assert_eq!(
        owned(&live, "one"),
        r#"{"f:spec":{"f:template":{"f:spec":{"f:containers":{"k:{\"name\":\"c\"}":{".":{},"f:name":{}}}}}}}"#
    );
    assert_eq!(
        owned(&live, "two"),
        r#"{"f:spec":{"f:template":{"f:spec":{"f:containers":{"k:{\"name\":\"c\"}":{"f:image":{}}}}}}}"#
    );
    assert_eq!(updated(Some(&live), "three", &live), live);
}

#[test]
fn an_applier_that_no_longer_names_an_item_takes_it_away_unless_others_want_it() {
    let both = web(&json!([{"name": "a", "image": "i"}, {"name": "b", "image": "i"}]));
    let live = applied(&Value::Null, "one", &both, false).unwrap();
    let live = applied(&live, "two", &web(&json!([{"name": "b", "image": "i"}])), false).unwrap();
    let only_c = web(&json!([{"name": "c", "image": "i"}]));
    let live = applied(&live, "one", &only_c, false).unwrap();
    let names = |object: &Value| {
        let containers = object["spec"]["template"]["spec"]["containers"].as_array().cloned();
        containers
            .unwrap_or_default()
            .iter()
            .map(|one| one["name"].as_str().unwrap().to_owned())
            .collect::<String>()
    };
    assert_eq!(names(&live), "bc");
    let live = applied(&live, "two", &web(&json!([{"name": "x", "image": "i"}])), false).unwrap();
    assert_eq!(names(&live), "cx");
}

#[test]
fn conflicts_name_the_owner_and_the_field_and_force_takes_them() {
    let config = |replicas: i64, paused: bool| json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}, "spec": {"replicas": replicas, "paused": paused}});
    let live = updated(None, "kubectl-client-side-apply", &config(1, false));
    let refused = applied(&live, "me", &config(2, false), false).unwrap_err().status();
    assert_eq!(
        refused.message,
        "Apply failed with 1 conflict: conflict with \"kubectl-client-side-apply\" using apps/v1: .spec.replicas"
    );
    let cause = &refused.details.causes[0];
    assert_eq!(
        (cause.reason.as_str(), cause.field.as_str(), cause.message.as_str()),
        (
            "FieldManagerConflict",
            ".spec.replicas",
            "conflict with \"kubectl-client-side-apply\" using apps/v1"
        )
    );
    let refused = applied(&live, "me", &config(2, true), false).unwrap_err().status();
    assert_eq!(
        refused.message,
        "Apply failed with 2 conflicts: conflicts with \"kubectl-client-side-apply\" using apps/v1:\n- .spec.paused\n- .spec.replicas"
    );
    let taken = applied(&live, "me", &config(2, true), true).unwrap();
    assert_eq!(owned(&taken, "me"), r#"{"f:spec":{"f:paused":{},"f:replicas":{}}}"#);
    assert_eq!(owned(&taken, "kubectl-client-side-apply"), "");
    // The same value is shared.
    let shared = applied(&taken, "you", &config(2, true), false).unwrap();
    assert_eq!(owned(&shared, "me"), owned(&shared, "you"));
    let gone = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}});
    let left = applied(&shared, "me", &gone, false).unwrap();
    assert_eq!(left["spec"], json!({"replicas": 2, "paused": true}));
    let left = applied(&left, "you", &gone, false).unwrap();
    assert_eq!(left.get("spec"), None);
}

#[test]
fn an_object_that_nobody_tracked_belongs_to_those_before_the_first_apply() {
    let live = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web", "uid": "u"}, "spec": {"replicas": 1}});
    let config = |replicas: i64| json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}, "spec": {"replicas": replicas}});
    let refused = applied(&live, "me", &config(2), false).unwrap_err().status();
    assert!(refused.message.contains("conflict with \"before-first-apply\" using apps/v1: .spec.replicas"));
    assert_eq!(updated(Some(&live), "me", &config(2))["metadata"].get("managedFields"), None);
}

#[test]
fn the_oldest_of_more_than_ten_updates_are_put_together() {
    let mut live =
        json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web", "labels": {}}});
    live = updated(None, "m0", &live);
    for n in 0..14 {
        let mut new = live.clone();
        new["metadata"]["labels"][format!("l{n}")] = json!("x");
        live = updated(Some(&live), &format!("m{n}"), &new);
    }
    let entries = live["metadata"]["managedFields"].as_array().unwrap();
    assert_eq!(entries.len(), 10);
    assert_eq!(entries.iter().filter(|entry| entry["manager"] == "ancient-changes").count(), 1);
    let all = entries.iter().map(|entry| Set::parse(&entry["fieldsV1"]).unwrap());
    let all = all.fold(Set::default(), |all, one| all.union(&one));
    for n in 0..14 {
        assert!(!all.intersection(&Set::of_names(&["metadata", "labels", &format!("l{n}")])).is_empty());
    }
}

#[test]
fn entries_that_a_client_sends_replace_the_old_ones_and_malformed_ones_do_not() {
    let live = updated(None, "one", &web(&json!([{"name": "c", "image": "i"}])));
    let with = |entries: Value| {
        let mut new = live.clone();
        new["metadata"]["managedFields"] = entries;
        let mut live = live.clone();
        live["metadata"]["uid"] = json!("u");
        new["metadata"]["uid"] = json!("u");
        updated(Some(&live), "two", &new)["metadata"].get("managedFields").cloned()
    };
    let own = live["metadata"]["managedFields"].clone();
    let moved = json!([{"manager": "x", "operation": "Apply", "apiVersion": "apps/v1", "time": "2026-01-01T00:00:00Z", "fieldsType": "FieldsV1", "fieldsV1": {"f:spec": {"f:replicas": {}}}}]);
    assert_eq!(with(moved.clone()), Some(moved));
    assert_eq!(with(json!([{"manager": "x", "operation": "Own"}])), Some(own.clone()));
    assert_eq!(
        with(
            json!([{"manager": "x", "operation": "Apply", "apiVersion": "v1", "fieldsType": "FieldsV1", "fieldsV1": {"nonsense": {}}}])
        ),
        Some(own)
    );
    assert_eq!(with(json!([])), None);
    assert_eq!(with(json!([{}])), None);
}

#[test]
fn lists_of_unknown_things_are_owned_whole_and_duplicates_as_one() {
    let shape = Shape::Untyped;
    let set = fields_of(shape, &json!({"a": [1, {"b": 2}], "c": {"d": null}, "e": {}}));
    assert_eq!(set.print(), json!({"f:a": {}, "f:c": {".": {}, "f:d": {}}, "f:e": {}}));
    let twice =
        web(&json!([{"name": "c", "env": [{"name": "A", "value": "1"}, {"name": "A", "value": "2"}]}]));
    let resource = deployments();
    assert_eq!(
        problems(resource.shape(), &twice),
        [".spec.template.spec.containers[name=\"c\"].env: duplicate entries for key [name=\"A\"]"]
    );
    let typo = web(&json!([{"name": "c", "imagee": "x"}]));
    assert_eq!(
        problems(resource.shape(), &typo),
        [".spec.template.spec.containers[name=\"c\"].imagee: field not declared in schema"]
    );
    let live = updated(None, "one", &twice);
    assert!(owned(&live, "one").contains(r#""f:env":{".":{},"k:{\"name\":\"A\"}":{}}"#), "{live}");
}

fn element() -> impl Strategy<Value = Element> {
    prop_oneof![
        "[a-c]".prop_map(|name| Element::field(&name)),
        "[a-b]".prop_map(|name| Element::key(vec![("name".into(), json!(name))])),
        (0..3).prop_map(|n| Element::Value(Box::new(json!(n)))),
        (0..3u64).prop_map(Element::Index),
    ]
}

fn set() -> impl Strategy<Value = Set> {
    let leaf = Just(Set::default());
    leaf.prop_recursive(4, 24, 4, |inner| {
        let node = (element(), any::<bool>(), inner).prop_map(|(element, member, below)| set::Node {
            element,
            member,
            below,
        });
        prop::collection::vec(node, 0..4).prop_map(Set::from_nodes)
    })
}

fn any_json() -> impl Strategy<Value = Value> {
    let plain = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (-2..3i64).prop_map(Value::from),
        "[a-c.:]{0,2}".prop_map(Value::from),
    ];
    plain.prop_recursive(4, 32, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec(("[a-d]|name|spec|f:a|\\.", inner), 0..4)
                .prop_map(|entries| Value::Object(entries.into_iter().collect())),
        ]
    })
}

/// Deployments from few names, so that they meet.
fn config() -> impl Strategy<Value = Value> {
    let labels = prop::collection::btree_map("[a-c]", "[xy]", 0..3);
    let env = prop::collection::btree_map("[A-C]", "[xy]", 0..3);
    let containers = prop::collection::btree_map("[a-c]", ("[ij]", env), 0..3);
    (labels, containers, prop::option::of(0..3i64)).prop_map(|(labels, containers, replicas)| {
        let containers: Vec<Value> = containers
            .into_iter()
            .map(|(name, (image, env))| {
                let env: Vec<Value> =
                    env.into_iter().map(|(name, value)| json!({"name": name, "value": value})).collect();
                json!({"name": name, "image": image, "env": env})
            })
            .collect();
        let mut all = web(&json!(containers));
        if !labels.is_empty() {
            all["metadata"]["labels"] = json!(labels);
        }
        if let Some(replicas) = replicas {
            all["spec"]["replicas"] = json!(replicas);
        }
        all
    })
}

proptest! {
    #[test]
    fn sets_obey_the_laws_of_sets(a in set(), b in set(), c in set()) {
        prop_assert_eq!(a.union(&b), b.union(&a));
        prop_assert_eq!(a.union(&b).union(&c), a.union(&b.union(&c)));
        prop_assert_eq!(a.intersection(&b), b.intersection(&a));
        prop_assert_eq!(a.intersection(&b.union(&c)), a.intersection(&b).union(&a.intersection(&c)));
        prop_assert_eq!(a.difference(&b).intersection(&b), Set::default());
        prop_assert_eq!(a.difference(&b).union(&a.intersection(&b)), a.clone());
        prop_assert_eq!(a.union(&a), a.clone());
        prop_assert!(a.difference(&a).is_empty());
        prop_assert_eq!(a.without_trees(&b).difference(&a), Set::default());
        prop_assert_eq!(a.without_trees(&b).intersection(&b), Set::default());
    }

    #[test]
    fn what_is_printed_is_parsed_back(a in set()) {
        prop_assert_eq!(Set::parse(&a.print()), Ok(a));
    }

    #[test]
    fn any_fields_are_parsed_or_refused_without_a_panic(fields in any_json()) {
        if let Ok(set) = Set::parse(&fields) {
            prop_assert_eq!(Set::parse(&set.print()), Ok(set));
        }
    }

    #[test]
    fn an_object_differs_from_nothing_in_all_its_fields(object in any_json()) {
        let all = compare(Shape::Untyped, &json!({}), &object);
        if object.is_object() {
            prop_assert!(fields_of(Shape::Untyped, &object).difference(&all.added).is_empty());
        }
        prop_assert!(compare(Shape::Untyped, &object, &object).is_empty());
    }

    #[test]
    fn applying_again_changes_nothing(live in config(), config in config()) {
        let live = updated(None, "other", &live);
        let once = applied(&live, "me", &config, true).unwrap();
        let twice = applied(&once, "me", &config, false).unwrap();
        prop_assert!(is_same(&once, &twice), "{once}\n{twice}");
    }

    #[test]
    fn an_applied_configuration_is_there_and_owned(live in config(), config in config()) {
        let live = updated(None, "other", &live);
        let object = applied(&live, "me", &config, true).unwrap();
        let resource = deployments();
        let differs = compare(resource.shape(), &config, &object);
        prop_assert!(differs.modified.is_empty(), "{:?}", differs);
        let wanted = fields_of(resource.shape(), &config).difference(&UNOWNED);
        let entries = object["metadata"]["managedFields"].as_array().cloned().unwrap_or_default();
        let mine = entries.iter().find(|entry| entry["operation"] == "Apply");
        let mine = mine.map(|entry| Set::parse(&entry["fieldsV1"]).unwrap()).unwrap_or_default();
        prop_assert_eq!(mine, wanted);
    }

    #[test]
    fn a_smaller_configuration_takes_away_what_was_owned_alone(first in config(), second in config(), other in config()) {
        let shape_of = deployments();
        let shape = shape_of.shape();
        let live = applied(&Value::Null, "other", &other, true).unwrap();
        let both = applied(&live, "me", &first, true).unwrap();
        let last = applied(&both, "me", &second, true).unwrap();
        let left = fields_of(shape, &last).difference(&UNOWNED);
        // Nothing is there that nobody owns, and nothing that is owned is missing.
        let entries = last["metadata"]["managedFields"].as_array().cloned().unwrap_or_default();
        let owned = entries.iter().map(|entry| Set::parse(&entry["fieldsV1"]).unwrap());
        let owned = owned.fold(Set::default(), |all, one| all.union(&one));
        prop_assert!(owned.difference(&left).is_empty(), "missing {:?}", owned.difference(&left).print());
        prop_assert!(left.difference(&owned).is_empty(), "nobody's {:?}", left.difference(&owned).print());
    }

    #[test]
    fn no_object_and_no_entries_make_it_panic(live in any_json(), config in any_json(), entries in any_json()) {
        let mut live = json!({"metadata": {"name": "x", "managedFields": entries}, "spec": live});
        let config = json!({"metadata": {"name": "x"}, "spec": config, "status": 3});
        for resource in ["deployments", "replicasets"] {
            let resource = REGISTRY.resolve("apps", "v1", resource).unwrap();
            for subresource in ["", "status"] {
                let ignored = resource.unreached(subresource, &config);
                let claim = Claim { subresource, ..claim(&resource, "kubectl", &ignored) };
                problems(claim.shape, &config);
                let _ = apply(&claim, &live, &config, false).map_err(|error| error.status());
                let _ = apply(&claim, &live, &config, true);
                update(&claim, Some(&config), &mut live);
            }
        }
    }
}
