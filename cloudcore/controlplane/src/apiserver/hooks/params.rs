//! The objects that a policy takes its parameters from.
//!
//! Source: Kubernetes v1.36 `apiserver/pkg/admission/plugin/policy/generic` (`CollectParams`).

use std::sync::Arc;

use serde_json::Value;

use super::policy::{Binding, Policy};
use crate::apiserver::show::value;
use crate::apiserver::{Api, Target};
use crate::registry::Resource;
use crate::store::ListQuery;

/// More objects than this are not taken as parameters of one request: each is one evaluation.
const MOST: usize = 1000;

/// The kind of the policy's parameters, if it takes any; in Kubernetes' words why it is not there.
pub(super) fn kind_of(api: &Api, policy: &Policy) -> Result<Option<Arc<Resource>>, String> {
    let Some((api_version, kind)) = &policy.params else { return Ok(None) };
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    let resource = api.registry.resolve_kind(group, version, kind);
    resource.map(Some).ok_or_else(|| {
        format!("failed to find resource referenced by paramKind: '{group}/{version}, Kind={kind}'")
    })
}

/// With what to evaluate the policy for a request in `namespace`: once without parameters, or once with each.
pub(super) fn collect(
    api: &Api,
    kind: Option<&Arc<Resource>>,
    binding: &Binding,
    namespace: &str,
) -> Result<Vec<Option<Value>>, String> {
    let (Some(kind), Some(reference)) = (kind, &binding.params) else { return Ok(vec![None]) };
    let within = match (kind.namespaced, reference.namespace.as_str(), namespace) {
        (true, "", "") => {
            return Err(
                "cannot use namespaced paramRef in policy binding that matches cluster-scoped resources"
                    .to_owned(),
            );
        }
        (true, "", namespace) | (true, namespace, _) => namespace,
        (false, "", _) => "",
        (false, ..) => {
            return Err("paramRef.namespace must not be provided for a cluster-scoped `paramKind`".to_owned());
        }
    };
    let target = Target::new(Arc::clone(kind), within, &reference.name);
    let found: Vec<Value> = match &reference.selector {
        Some(selector) => {
            let query = ListQuery {
                collection: &target.collection,
                namespace: Some(within).filter(|_| kind.namespaced),
                at: None,
                after: None,
                limit: 0,
            };
            let page = api.store.list(&query, |object| selector.matches(&object.index));
            // The newest state is always there.
            let objects = page.map(|page| page.objects).unwrap_or_default();
            if objects.len() > MOST {
                let count = objects.len();
                return Err(format!(
                    "paramRef.selector selects {count} objects, more than {MOST}: select fewer"
                ));
            }
            objects.iter().map(|(_, object)| value(kind, object)).collect()
        }
        None => api.store.get(&target.id()).iter().map(|object| value(kind, object)).collect(),
    };
    if found.is_empty() && reference.required {
        return Err("no params found for policy binding with `Deny` parameterNotFoundAction".to_owned());
    }
    Ok(found.into_iter().map(Some).collect())
}
