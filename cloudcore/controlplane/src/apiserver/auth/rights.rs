//! What callers may do whatever roles there are: masters everything, everyone authenticated may look at what is served, anyone at
//! health. [`super::rbac`] adds to it.

use super::Identity;
use crate::status::{Reason, Status, qualified};

/// What a request wants to do.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Attributes<'a> {
    /// A path that is not a resource.
    Path { verb: &'a str, path: &'a str },
    Resource {
        verb: &'a str,
        group: &'a str,
        /// With its subresource, as in `pods/log`.
        resource: &'a str,
        namespace: &'a str,
        name: &'a str,
        /// The field selector, as it was sent.
        fields: &'a str,
    },
}

/// The value that a field selector asks of `field`.
pub(crate) fn selected<'a>(fields: &'a str, field: &str) -> Option<&'a str> {
    fields.split(',').find_map(|term| {
        let value = term.strip_prefix(field)?.strip_prefix('=')?;
        Some(value.strip_prefix('=').unwrap_or(value)).filter(|value| !value.is_empty())
    })
}

const OPEN: &[&str] = &["/healthz", "/livez", "/readyz", "/version"];
const DISCOVERY: &[&str] = &["/api", "/apis", "/openapi"];

fn under(path: &str, roots: &[&str]) -> bool {
    let below =
        |root: &str| path.strip_prefix(root).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    roots.iter().any(|root| below(root))
}

/// Whether the caller may without any role.
pub(super) fn always_allowed(who: &Identity, what: Attributes<'_>) -> bool {
    match what {
        _ if who.is_master() => true,
        Attributes::Path { path, .. } if under(path, OPEN) => true,
        Attributes::Path { path, .. } => {
            (path == "/" || under(path, DISCOVERY)) && who.in_group("system:authenticated")
        }
        // Asking about oneself.
        Attributes::Resource { verb: "create", group, resource, .. } => {
            who.in_group("system:authenticated")
                && matches!(
                    (group, resource),
                    ("authentication.k8s.io", "selfsubjectreviews")
                        | ("authorization.k8s.io", "selfsubjectaccessreviews" | "selfsubjectrulesreviews")
                )
        }
        Attributes::Resource { .. } => false,
    }
}

/// Why not, in Kubernetes' words.
pub(crate) fn denial(who: &Identity, what: Attributes<'_>) -> Status {
    let user = &who.user;
    match what {
        Attributes::Path { verb, path } => Status::new(
            Reason::Forbidden,
            format!("forbidden: User \"{user}\" cannot {verb} path \"{path}\""),
        ),
        Attributes::Resource { verb, group, resource, namespace, name, .. } => {
            let place = if namespace.is_empty() {
                "at the cluster scope".to_owned()
            } else {
                format!("in the namespace \"{namespace}\"")
            };
            let why = format!(
                "User \"{user}\" cannot {verb} resource \"{resource}\" in API group \"{group}\" {place}"
            );
            let plural = resource.split('/').next().unwrap_or(resource);
            let mut status = Status::forbidden(group, plural, name, &why);
            if name.is_empty() {
                status.message = format!("{} is forbidden: {why}", qualified(plural, group));
            }
            status
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strangers_see_health_and_nothing_else() {
        let nobody = Identity::anonymous();
        for path in ["/healthz", "/livez/ping", "/readyz", "/version"] {
            assert!(always_allowed(&nobody, Attributes::Path { verb: "get", path }), "{path}");
        }
        for path in ["/", "/api", "/apis/apps/v1", "/openapi/v3", "/metrics", "/healthzz"] {
            assert!(!always_allowed(&nobody, Attributes::Path { verb: "get", path }), "{path}");
        }
        let list = Attributes::Resource {
            verb: "list",
            group: "",
            resource: "pods",
            namespace: "default",
            name: "",
            fields: "",
        };
        assert!(!always_allowed(&nobody, list));
        assert_eq!(
            denial(&nobody, list).message,
            "pods is forbidden: User \"system:anonymous\" cannot list resource \"pods\" in API group \"\" in the namespace \"default\""
        );
    }
}
