//! Cluster roles that are made of others: whoever labels a role `aggregate-to-edit` adds to what `edit` may.

use serde_json::{Value, json};

use super::{all, place};
use crate::apiserver::objects::Part;
use crate::apiserver::{Api, Write};
use crate::selector::{Index, LabelSelector};
use crate::status::{Reason, Status};

/// Fills in the rules of roles that have an `aggregationRule`.
pub(super) async fn pass(api: &Api) {
    let Some(roles) = place(api, "rbac.authorization.k8s.io", "v1", "clusterroles", "", "") else { return };
    // A role that gathers may be gathered itself; each round settles one more storey, and a circle ends by itself.
    for _ in 0..4 {
        let known = all(api, &roles, None);
        let mut changed = false;
        for (key, role) in &known {
            let Some(rules) = gathered(role, known.iter().map(|(_, role)| role)) else { continue };
            if role["rules"].as_array().is_some_and(|now| *now == rules) {
                continue;
            }
            changed = true;
            if let Err(status) = write(api, &roles.named(&key.name), &rules).await {
                tracing::warn!(role = &*key.name, "cannot aggregate a cluster role yet: {status}");
            }
        }
        if !changed {
            return;
        }
    }
}

async fn write(api: &Api, role: &crate::apiserver::Target, rules: &[Value]) -> Result<(), Status> {
    let filled = |old: &Value| {
        let mut new = old.clone();
        new["rules"] = json!(rules);
        Ok(new)
    };
    match api.modify(role, Part::Main, &Write::by_server(), filled).await {
        Err(status) if status.reason != Reason::NotFound => Err(status),
        _ => Ok(()),
    }
}

/// The rules of all roles that the role's selectors pick, each once; none when it gathers nothing.
fn gathered<'a>(role: &Value, all: impl Iterator<Item = &'a Value> + Clone) -> Option<Vec<Value>> {
    let selectors = role["aggregationRule"]["clusterRoleSelectors"].as_array()?;
    let mut rules: Vec<Value> = Vec::new();
    for selector in selectors {
        let Ok(selector) = LabelSelector::parse(&LabelSelector::notation(selector)) else { continue };
        for other in all.clone() {
            let own = other["metadata"]["name"] == role["metadata"]["name"];
            if own || !selector.matches(&Index::of("clusterroles.rbac.authorization.k8s.io", other)) {
                continue;
            }
            for rule in other["rules"].as_array().into_iter().flatten() {
                if !rules.contains(rule) {
                    rules.push(rule.clone());
                }
            }
        }
    }
    Some(rules)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_role_gathers_each_rule_of_the_roles_that_it_picks_once() {
        let role = |name: &str, labels: Value, rules: Value| json!({"metadata": {"name": name, "labels": labels}, "rules": rules});
        let label = json!({"to": "sum"});
        let mut sum = role("sum", label.clone(), json!(["own"]));
        sum["aggregationRule"] = json!({"clusterRoleSelectors": [{"matchLabels": label}]});
        let all = [
            role("a", label.clone(), json!(["x", "y"])),
            role("b", label, json!(["y", "z"])),
            role("c", json!({}), json!(["no"])),
            sum,
        ];
        assert_eq!(gathered(&all[3], all.iter()), Some(vec![json!("x"), json!("y"), json!("z")]));
        assert_eq!(gathered(&all[0], all.iter()), None);
    }
}
