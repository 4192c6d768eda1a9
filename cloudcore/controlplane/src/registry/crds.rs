//! CRDs come and go: whether their names are free, what is served for them, and the status that says so.

use std::sync::{Arc, PoisonError};

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{Registry, Resource, Snapshot, custom};
use crate::schema::Json;

impl Registry {
    /// Takes a CRD as it is now and serves its versions if its names are free. Returns the status that it should have, which is
    /// the one it has if nothing changed.
    pub fn install_crd(&self, crd: &Value, now: Timestamp) -> Value {
        let conflict = self.replace(|served| {
            let mut others: Vec<Arc<Resource>> =
                served.iter().filter(|one| !belongs(one, crd)).cloned().collect();
            let conflict = conflict(&others, crd);
            if conflict.is_none() {
                others.extend(custom::resources(crd, &self.types).into_iter().map(Arc::new));
                sort(&mut others);
            }
            (others, conflict)
        });
        status(crd, conflict.as_ref(), now)
    }

    /// Stops serving the CRD of this name (`PLURAL.GROUP`).
    pub fn remove_crd(&self, name: &str) {
        let (plural, group) = name.split_once('.').unwrap_or((name, ""));
        self.replace(|served| {
            let gone = |one: &Arc<Resource>| one.is_custom() && one.plural == plural && one.group == group;
            (served.iter().filter(|one| !gone(one)).cloned().collect(), ())
        });
    }

    fn replace<T>(&self, change: impl FnOnce(&[Arc<Resource>]) -> (Vec<Arc<Resource>>, T)) -> T {
        let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
        let (resources, outcome) = change(&current.resources);
        *current = Arc::new(Snapshot { generation: current.generation + 1, resources });
        outcome
    }
}

fn belongs(resource: &Resource, crd: &Value) -> bool {
    resource.is_custom()
        && resource.group == crd.text("/spec/group")
        && resource.plural == crd.text("/spec/names/plural")
}

/// Custom groups after the built-in ones, by name; their order must not depend on who came first.
fn sort(resources: &mut [Arc<Resource>]) {
    let built_in = resources.iter().position(|one| one.is_custom()).unwrap_or(resources.len());
    if let Some(custom) = resources.get_mut(built_in..) {
        custom.sort_by(|a, b| (&a.group, &a.plural, &a.version).cmp(&(&b.group, &b.plural, &b.version)));
    }
}

/// A name of the CRD that another resource of the group has already.
struct Conflict {
    reason: &'static str,
    message: String,
}

fn conflict(others: &[Arc<Resource>], crd: &Value) -> Option<Conflict> {
    let group = crd.text("/spec/group");
    let same_group = || others.iter().filter(|one| one.group == group);
    let taken = |name: &str| {
        same_group().any(|one| {
            one.plural == name || one.singular == name || one.short_names.iter().any(|short| short == name)
        })
    };
    let kind_taken = |kind: &str| same_group().any(|one| one.kind == kind || one.list_kind == kind);
    let names = |field: &str| crd.text(&format!("/spec/names/{field}"));
    let found =
        |reason, name: &str| Some(Conflict { reason, message: format!("{name:?} is already in use") });
    if taken(names("plural")) {
        return found("PluralConflict", names("plural"));
    }
    if taken(names("singular")) {
        return found("SingularConflict", names("singular"));
    }
    let short =
        crd.list("/spec/names/shortNames").iter().filter_map(Value::as_str).find(|short| taken(short));
    if let Some(short) = short {
        return found("ShortNamesConflict", short);
    }
    if kind_taken(names("kind")) {
        return found("KindConflict", names("kind"));
    }
    if kind_taken(names("listKind")) {
        return found("ListKindConflict", names("listKind"));
    }
    None
}

fn status(crd: &Value, conflict: Option<&Conflict>, now: Timestamp) -> Value {
    let mut status =
        crd.get("status").filter(|status| status.is_object()).cloned().unwrap_or_else(|| json!({}));
    let (accepted, established) = match conflict {
        None => (
            ("True", "NoConflicts", "no conflicts found".to_owned()),
            ("True", "InitialNamesAccepted", "the initial names have been accepted".to_owned()),
        ),
        Some(conflict) => (
            ("False", conflict.reason, conflict.message.clone()),
            ("False", "NotAccepted", "not all names are accepted".to_owned()),
        ),
    };
    set_condition(&mut status, "NamesAccepted", accepted, now);
    set_condition(&mut status, "Established", established, now);
    if conflict.is_none() {
        status["acceptedNames"] = crd.pointer("/spec/names").cloned().unwrap_or_default();
    }
    status.default_to("acceptedNames", json!({"kind": "", "plural": ""}));
    let storage = crd.list("/spec/versions").iter().find(|version| version.flag("/storage"));
    status.default_to("storedVersions", Vec::<Value>::new());
    if let (Some(version), Some(stored)) = (
        storage.and_then(|version| version.get("name")),
        status.get_mut("storedVersions").and_then(Value::as_array_mut),
    ) && !stored.contains(version)
    {
        stored.push(version.clone());
    }
    status
}

fn set_condition(
    status: &mut Value,
    kind: &str,
    (word, reason, message): (&str, &str, String),
    now: Timestamp,
) {
    status.default_to("conditions", Vec::<Value>::new());
    let Some(conditions) = status.get_mut("conditions").and_then(Value::as_array_mut) else { return };
    let at = conditions.iter().position(|one| one.text("/type") == kind);
    let before = at.and_then(|at| conditions.get(at));
    // When it became so, not when it was looked at.
    let since = before
        .filter(|one| one.text("/status") == word)
        .map(|one| one.text("/lastTransitionTime").to_owned());
    let since = since.unwrap_or_else(|| now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string());
    let condition = json!({"type": kind, "status": word, "lastTransitionTime": since, "reason": reason, "message": message});
    match at.and_then(|at| conditions.get_mut(at)) {
        Some(slot) => *slot = condition,
        None => conditions.push(condition),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn crd(plural: &str, kind: &str) -> Value {
        json!({"metadata": {"name": format!("{plural}.example.com")}, "spec": {"group": "example.com", "scope": "Namespaced",
            "names": {"plural": plural, "singular": kind.to_lowercase(), "kind": kind, "listKind": format!("{kind}List"), "shortNames": ["w"]},
            "versions": [{"name": "v1", "served": true, "storage": true, "subresources": {"status": {}},
                "schema": {"openAPIV3Schema": {"type": "object", "properties": {
                    "spec": {"type": "object", "properties": {"n": {"type": "integer", "default": 3}}}, "status": {"type": "object", "properties": {"m": {"type": "integer"}}}}}}}]}})
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn a_new_definition_is_served_and_established_and_asking_again_changes_nothing() {
        let registry = Registry::new();
        let before = registry.snapshot().generation;
        let mut widgets = crd("widgets", "Widget");
        let status = registry.install_crd(&widgets, at(0));
        assert_eq!(status["conditions"][1]["type"], "Established");
        assert_eq!(status["conditions"][1]["status"], "True");
        assert_eq!(status["storedVersions"], json!(["v1"]));
        assert!(registry.snapshot().generation > before);
        let resource = registry.resolve("example.com", "v1", "widgets").unwrap();
        assert!(resource.is_custom() && resource.subresource("status").is_some());
        widgets["status"] = status.clone();
        assert_eq!(registry.install_crd(&widgets, at(60)), status);
        registry.remove_crd("widgets.example.com");
        assert!(registry.resolve("example.com", "v1", "widgets").is_none());
    }

    #[test]
    fn taken_names_are_not_served_and_the_status_says_which() {
        let registry = Registry::new();
        registry.install_crd(&crd("widgets", "Widget"), at(0));
        let status = registry.install_crd(&crd("wodgets", "Widget"), at(0));
        assert_eq!(status["conditions"][0]["reason"], "SingularConflict");
        assert_eq!(status["conditions"][0]["message"], "\"widget\" is already in use");
        assert_eq!(status["conditions"][1]["reason"], "NotAccepted");
        assert!(registry.resolve("example.com", "v1", "wodgets").is_none());
    }

    #[test]
    fn status_and_spec_of_a_custom_object_are_written_apart() {
        let registry = Registry::new();
        registry.install_crd(&crd("widgets", "Widget"), at(0));
        let widgets = registry.resolve("example.com", "v1", "widgets").unwrap();
        let mut object = json!({"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": "a", "oops": 1}, "spec": {"x": 1}, "status": {"m": 1}});
        assert_eq!(widgets.decode(&mut object).unwrap(), ["metadata.oops", "spec.x"]);
        widgets.prepare_create(&mut object);
        widgets.default(&mut object);
        assert_eq!(object["spec"], json!({"n": 3}));
        assert!(object.get("status").is_none());
        assert_eq!(object["metadata"]["generation"], 1);

        let mut new = object.clone();
        new["spec"]["n"] = json!(4);
        new["status"] = json!({"m": 1});
        widgets.prepare_update(&object, &mut new);
        assert!(new.get("status").is_none());
        assert_eq!(new["metadata"]["generation"], 2);

        let mut status = object.clone();
        status["spec"]["n"] = json!(9);
        status["status"] = json!({"m": 5});
        widgets.prepare_status_update(&object, &mut status);
        assert_eq!(
            (&status["spec"]["n"], &status["status"]["m"], &status["metadata"]["generation"]),
            (&json!(3), &json!(5), &json!(1))
        );
        let mut bad = status.clone();
        bad["status"]["m"] = json!("x");
        assert_eq!(widgets.validate_status_update(&object, &bad).len(), 2);
    }
}
