//! `/api/v1/namespaces/NS/pods/NAME/status` and its relatives.

use percent_encoding::percent_decode_str;

/// A path below `/api` or `/apis`, down to a resource.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::apiserver) struct ResourcePath {
    pub(in crate::apiserver) group: String,
    pub(in crate::apiserver) version: String,
    pub(in crate::apiserver) namespace: String,
    pub(in crate::apiserver) resource: String,
    pub(in crate::apiserver) name: Option<String>,
    pub(in crate::apiserver) subresource: Option<String>,
    /// The deprecated `/watch/` prefix.
    pub(in crate::apiserver) watch: bool,
}

impl ResourcePath {
    /// None when the path is not one of a resource.
    pub(in crate::apiserver) fn parse(path: &str) -> Option<Self> {
        let mut parts = Vec::new();
        for part in path.strip_prefix('/')?.split('/') {
            parts.push(percent_decode_str(part).decode_utf8().ok()?.into_owned());
        }
        if parts.last().is_some_and(String::is_empty) {
            parts.pop();
        }
        let mut parts = parts.into_iter().peekable();
        let mut found = Self::default();
        match parts.next()?.as_str() {
            "api" => {}
            "apis" => found.group = parts.next().filter(|group| !group.is_empty())?,
            _ => return None,
        }
        found.version = parts.next()?;
        if parts.next_if(|part| part == "watch").is_some() {
            found.watch = true;
        }
        let rest: Vec<String> = parts.collect();
        // A slash too many would otherwise turn a name into a collection.
        if rest.iter().any(String::is_empty) || rest.is_empty() {
            return None;
        }
        let mut rest = rest.into_iter();
        let first = rest.next()?;
        let rest: Vec<String> = rest.collect();
        let own = |at: usize| rest.get(at).cloned();
        if first == "namespaces" && !Self::is_namespace_itself(&rest) {
            found.namespace = own(0)?;
            found.resource = own(1)?;
            found.name = own(2);
            found.subresource = (rest.len() > 3).then(|| rest[3..].join("/"));
        } else {
            found.resource = first;
            found.name = own(0);
            found.subresource = (rest.len() > 1).then(|| rest[1..].join("/"));
            // A namespace is in itself, as far as rights go.
            if found.resource == "namespaces" {
                found.namespace = found.name.clone().unwrap_or_default();
            }
        }
        Some(found)
    }

    fn is_namespace_itself(rest: &[String]) -> bool {
        match rest {
            [] | [_] => true,
            [_, sub] => sub == "status" || sub == "finalize",
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Group, version, namespace, resource, name, subresource; with `-` for what is not there.
    fn parsed(path: &str) -> Option<String> {
        let found = ResourcePath::parse(path)?;
        let or = |text: &str| if text.is_empty() { "-".to_owned() } else { text.to_owned() };
        let parts = [
            or(&found.group),
            found.version,
            or(&found.namespace),
            found.resource,
            or(&found.name.unwrap_or_default()),
            or(&found.subresource.unwrap_or_default()),
        ];
        Some(parts.join(" "))
    }

    #[test]
    fn every_form_of_path_is_understood() {
        for (path, expected) in [
            ("/api/v1/pods", "- v1 - pods - -"),
            ("/api/v1/namespaces", "- v1 - namespaces - -"),
            ("/api/v1/namespaces/a", "- v1 a namespaces a -"),
            ("/api/v1/namespaces/a/finalize", "- v1 a namespaces a finalize"),
            ("/api/v1/namespaces/a/pods/", "- v1 a pods - -"),
            ("/apis/apps/v1/namespaces/a/deployments/d/scale", "apps v1 a deployments d scale"),
            ("/api/v1/nodes/n%2Fx/proxy/a/b", "- v1 - nodes n/x proxy/a/b"),
        ] {
            assert_eq!(parsed(path).as_deref(), Some(expected), "{path}");
        }
        assert!(ResourcePath::parse("/api/v1/watch/pods").unwrap().watch);
        for none in [
            "/",
            "/api",
            "/api/v1",
            "/apis",
            "/apis/apps",
            "/apis/apps/v1",
            "/api/v1/namespaces//pods",
            "/x/y/z",
        ] {
            assert_eq!(parsed(none), None, "{none}");
        }
    }

    proptest! {
        #[test]
        fn any_path_is_parsed_or_refused_without_a_panic(path in "/(api|apis)?[/a-z%0-9]{0,60}") {
            let _ = ResourcePath::parse(&path);
        }
    }
}
