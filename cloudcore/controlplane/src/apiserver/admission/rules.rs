//! Rules and their endpoints: what KubeEdge's webhook refuses, in its words, is refused here. It denies every update; here a
//! change is checked like a new rule.

use proto::rules::{Endpoint, GROUP, Reason, RuleSpec, Way};
use serde_json::Value;

use super::{Api, Target, all, forbidden, one};
use crate::schema::Json;
use crate::status::Status;

/// A rule must mean something, and be the only one for its messages.
pub(super) fn check(api: &Api, target: &Target, old: Option<&Value>, new: &Value) -> Result<(), Status> {
    if target.resource.group != GROUP || old.is_some_and(|old| old.get("spec") == new.get("spec")) {
        return Ok(());
    }
    let checked = match target.resource.plural.as_str() {
        "rules" => rule(api, &target.namespace, new),
        "ruleendpoints" => read(new).map_or(Ok(()), |endpoint: Endpoint| endpoint.check()),
        _ => Ok(()),
    };
    checked.map_err(|why| forbidden(target, new, &why))
}

fn rule(api: &Api, namespace: &str, rule: &Value) -> Result<(), Reason> {
    let Some(spec) = read(rule) else { return Ok(()) };
    let way = way(api, namespace, &spec)?;
    let name = rule.text("/metadata/name");
    for (key, other) in all(api, GROUP, "rules", Some(namespace)) {
        // One that means nothing any more takes no messages.
        let Some(Ok(there)) = read(&other).map(|spec| self::way(api, namespace, &spec)) else { continue };
        if &*key.name != name
            && let Some(why) = way.from.clash(&there.from, namespace, &key.name)
        {
            return Err(why);
        }
    }
    Ok(())
}

fn way(api: &Api, namespace: &str, spec: &RuleSpec) -> Result<Way, Reason> {
    let end = |side: &str, name: &str| {
        let found = one(api, GROUP, "ruleendpoints", namespace, name).and_then(|found| read(&found));
        found.ok_or_else(|| format!("{side} ruleEndpoint {namespace}/{name} has not been created"))
    };
    Way::of(spec, &end("source", &spec.source)?, &end("target", &spec.target)?)
}

/// What does not fit the schema is refused by the schema, which says more.
fn read<T: serde::de::DeserializeOwned>(object: &Value) -> Option<T> {
    serde_json::from_value(object.get("spec")?.clone()).ok()
}
