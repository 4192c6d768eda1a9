//! POST of a question: who am I, may I, whose token is this. Answered, never stored.

use serde_json::{Value, json};

use crate::apiserver::Api;
use crate::apiserver::auth::{Attributes, Identity, allowed, rules};
use crate::apiserver::call::Call;
use crate::apiserver::show::user_info;

/// The question with its answer in `status`; none when `object` is not a question.
pub(super) fn answer(api: &Api, call: &Call, object: &Value) -> Option<Value> {
    let resource = &call.target.resource;
    let spec = &object["spec"];
    let status = match (resource.group.as_str(), resource.plural.as_str()) {
        ("authentication.k8s.io", "selfsubjectreviews") => json!({"userInfo": user_info(&call.who)}),
        ("authentication.k8s.io", "tokenreviews") => {
            let listed = spec["audiences"].as_array().map(Vec::as_slice).unwrap_or_default();
            let audiences: Vec<String> = listed.iter().filter_map(Value::as_str).map(str::to_owned).collect();
            match api.tokens.verify(spec["token"].as_str().unwrap_or_default(), &audiences) {
                Some(seen) => {
                    json!({"authenticated": true, "user": user_info(&seen.who), "audiences": seen.audiences})
                }
                None => json!({"user": {}, "error": "[invalid bearer token]"}),
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

fn subject(spec: &Value) -> Identity {
    let groups = spec["groups"].as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned);
    Identity {
        user: spec["user"].as_str().unwrap_or_default().to_owned(),
        uid: spec["uid"].as_str().unwrap_or_default().to_owned(),
        groups: groups.collect(),
        ..Identity::default()
    }
}

/// The field selector of a question, in the notation of query parameters. Only equality means anything here.
fn selected_fields(selector: &Value) -> String {
    if let Some(raw) = selector["rawSelector"].as_str() {
        return raw.to_owned();
    }
    let requirements = selector["requirements"].as_array().map(Vec::as_slice).unwrap_or_default();
    let terms = requirements.iter().filter(|one| one["operator"] == "In");
    let term = |one: &Value| Some(format!("{}={}", one["key"].as_str()?, one["values"][0].as_str()?));
    terms.filter_map(term).collect::<Vec<_>>().join(",")
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
        let fields = selected_fields(&spec["resourceAttributes"]["fieldSelector"]);
        let what = Attributes::Resource {
            verb: &verb,
            group: &group,
            resource: &resource,
            namespace: &namespace,
            name: &name,
            fields: &fields,
        };
        allowed(&api.store, who, what)
    };
    json!({"allowed": allowed})
}

fn rules_of(api: &Api, who: &Identity, namespace: &str) -> Value {
    let all = json!(["*"]);
    let (mut resources, mut paths) = (Vec::new(), Vec::new());
    // What everybody else may do without a role is in the default roles, too.
    if who.is_master() {
        resources.push(json!({"verbs": all, "apiGroups": all, "resources": all}));
        paths.push(json!({"verbs": all, "nonResourceURLs": all}));
    }
    // A rule is about resources or about paths, never about both.
    for rule in rules(&api.store, who, namespace) {
        let about_paths = rule["nonResourceURLs"].as_array().is_some_and(|urls| !urls.is_empty());
        if about_paths { paths.push(rule) } else { resources.push(rule) }
    }
    json!({"resourceRules": resources, "nonResourceRules": paths, "incomplete": false})
}
