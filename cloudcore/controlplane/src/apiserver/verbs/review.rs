//! POST of a question: who am I, may I, whose token is this. Answered, never stored.

use serde_json::{Value, json};

use crate::apiserver::Api;
use crate::apiserver::auth::{Attributes, Identity, allowed, rules};
use crate::apiserver::call::Call;

/// The question with its answer in `status`; none when `object` is not a question.
pub(super) fn answer(api: &Api, call: &Call, object: &Value) -> Option<Value> {
    let resource = &call.target.resource;
    let spec = &object["spec"];
    let status = match (resource.group.as_str(), resource.plural.as_str()) {
        ("authentication.k8s.io", "selfsubjectreviews") => json!({"userInfo": user(&call.who)}),
        ("authentication.k8s.io", "tokenreviews") => {
            match api.tokens.verify(spec["token"].as_str().unwrap_or_default()) {
                Some((user, uid, groups)) => {
                    json!({"authenticated": true, "user": {"username": user, "uid": uid, "groups": groups}})
                }
                None => json!({"authenticated": false, "error": "the token is not valid"}),
            }
        }
        ("authorization.k8s.io", "selfsubjectaccessreviews") => may(api, &call.who, spec),
        ("authorization.k8s.io", "subjectaccessreviews" | "localsubjectaccessreviews") => {
            may(api, &subject(spec), spec)
        }
        ("authorization.k8s.io", "selfsubjectrulesreviews") => {
            rules_of(api, &call.who, spec["namespace"].as_str().unwrap_or_default())
        }
        _ => return None,
    };
    let mut answered = object.clone();
    answered["status"] = status;
    answered["metadata"] = json!({});
    Some(answered)
}

fn user(who: &Identity) -> Value {
    json!({"username": who.user, "uid": who.uid, "groups": who.groups})
}

fn subject(spec: &Value) -> Identity {
    let groups = spec["groups"].as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned);
    Identity {
        user: spec["user"].as_str().unwrap_or_default().to_owned(),
        uid: String::new(),
        groups: groups.collect(),
    }
}

fn may(api: &Api, who: &Identity, spec: &Value) -> Value {
    let text = |part: &'static str, key: &str| spec[part][key].as_str().unwrap_or_default().to_owned();
    let allowed = if spec["nonResourceAttributes"].is_object() {
        let (verb, path) = (text("nonResourceAttributes", "verb"), text("nonResourceAttributes", "path"));
        allowed(&api.store, who, Attributes::Path { verb: &verb, path: &path })
    } else {
        let of = |key| text("resourceAttributes", key);
        let subresource = of("subresource");
        let mut resource = of("resource");
        if !subresource.is_empty() {
            resource = format!("{resource}/{subresource}");
        }
        let (verb, group, namespace, name) = (of("verb"), of("group"), of("namespace"), of("name"));
        let what = Attributes::Resource {
            verb: &verb,
            group: &group,
            resource: &resource,
            namespace: &namespace,
            name: &name,
        };
        allowed(&api.store, who, what)
    };
    json!({"allowed": allowed})
}

fn rules_of(api: &Api, who: &Identity, namespace: &str) -> Value {
    let all = json!(["*"]);
    let (mut resources, mut paths) = if who.is_master() {
        (
            vec![json!({"verbs": all, "apiGroups": all, "resources": all})],
            vec![json!({"verbs": all, "nonResourceURLs": all})],
        )
    } else {
        let open = json!([
            "/api",
            "/api/*",
            "/apis",
            "/apis/*",
            "/healthz",
            "/livez",
            "/openapi",
            "/openapi/*",
            "/readyz",
            "/version"
        ]);
        let own = [
            ("authentication.k8s.io", "selfsubjectreviews"),
            ("authorization.k8s.io", "selfsubjectaccessreviews"),
            ("authorization.k8s.io", "selfsubjectrulesreviews"),
        ];
        let own: Vec<Value> = own.iter().map(|(group, resource)| json!({"verbs": ["create"], "apiGroups": [group], "resources": [resource]})).collect();
        (own, vec![json!({"verbs": ["get"], "nonResourceURLs": open})])
    };
    // A rule is about resources or about paths, never about both.
    let (more_paths, more) =
        rules(&api.store, who, namespace).into_iter().partition::<Vec<Value>, _>(|rule| {
            rule["nonResourceURLs"].as_array().is_some_and(|urls| !urls.is_empty())
        });
    resources.extend(more);
    paths.extend(more_paths);
    json!({"resourceRules": resources, "nonResourceRules": paths, "incomplete": false})
}
