//! What a message of the cloud does to the store. Pure: no I/O.

use proto::message::{Message, Operation};
use proto::resource::{ObjectKey, Resource, ResourceKind};
use serde::Deserialize;

/// What a message asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Change {
    /// Store this version of the object, unless a newer one is held.
    Put(Version),
    /// Remove the object. With a uid, only that incarnation.
    Remove { key: ObjectKey, uid: Option<String> },
}

/// One version of one object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Version {
    pub(super) key: ObjectKey,
    pub(super) uid: String,
    pub(super) resource_version: String,
    /// RFC 3339 in UTC as Kubernetes writes it: text order is time order.
    pub(super) created: String,
}

#[derive(Deserialize, Default)]
struct Head {
    #[serde(default)]
    metadata: Metadata,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase")]
struct Metadata {
    #[serde(default)]
    name: String,
    #[serde(default)]
    uid: String,
    #[serde(default)]
    resource_version: String,
    #[serde(default)]
    creation_timestamp: Option<String>,
}

/// Reads a push, or an answer that carries an object to keep. The error says why it will never be stored.
pub(super) fn read(message: &Message) -> Result<Change, String> {
    let Resource::Object(key) = &message.route.resource else {
        return Err(format!("{} names no single object", message.route.resource));
    };
    let put = match message.route.operation {
        Operation::Insert | Operation::Update => true,
        Operation::Response if message.header.parent.is_some() => true,
        Operation::Delete => false,
        ref other => return Err(format!("operation {other:?} cannot be pushed to an edge node")),
    };
    if !put && message.content.is_null() {
        return removal(key, None);
    }
    // serde would also read a struct from an array.
    if !message.content.get().trim_start().starts_with('{') {
        return Err(format!("the content of {key} is not an object"));
    }
    let head: Head = message.content.parse().map_err(|error| format!("{key}: {error}"))?;
    let Metadata { name, uid, resource_version, creation_timestamp } = head.metadata;
    if !name.is_empty() && name != key.name {
        return Err(format!("the object under {key} is named {name:?}"));
    }
    if !put {
        return removal(key, Some(uid).filter(|uid| !uid.is_empty()));
    }
    if uid.is_empty() {
        return Err(format!("{key} has no metadata.uid"));
    }
    let resource_version = if resource_version.is_empty() {
        message.header.resource_version.clone().unwrap_or_default()
    } else {
        resource_version
    };
    Ok(Change::Put(Version {
        key: key.clone(),
        uid,
        resource_version,
        created: creation_timestamp.unwrap_or_default(),
    }))
}

/// A pod without uid is not removed: KubeEdge's edge takes "no uid" for "every uid".
fn removal(key: &ObjectKey, uid: Option<String>) -> Result<Change, String> {
    if uid.is_none() && key.kind == ResourceKind::Pod {
        return Err(format!("the removal of {key} names no metadata.uid"));
    }
    Ok(Change::Remove { key: key.clone(), uid })
}

/// Whether a version that arrives replaces the one held. The same version does: it repairs, and costs nothing.
pub(super) fn supersedes(new: &Version, held: &Version) -> bool {
    let older = match (new.resource_version.parse::<u64>(), held.resource_version.parse::<u64>()) {
        (Ok(new), Ok(held)) => new < held,
        // Versions are opaque by contract; what cannot be compared is taken in the order it comes.
        _ => false,
    };
    if new.uid == held.uid {
        return !older;
    }
    // Another incarnation: versions count per cluster, so a re-made cluster starts lower; the birthday decides.
    !older || new.created > held.created
}

#[cfg(test)]
mod tests {
    use super::*;
    use proto::message::{Content, Group, Route, Source};

    fn push(operation: Operation, resource: &str, content: &str) -> Message {
        let route = Route::new(Source::EdgeController, Group::Resource, operation, resource.into());
        Message::new(route, Content::from_json_text(content.into()).unwrap())
    }

    fn version(uid: &str, resource_version: &str, created: &str) -> Version {
        let key = ObjectKey::namespaced("default", ResourceKind::Pod, "web");
        Version { key, uid: uid.into(), resource_version: resource_version.into(), created: created.into() }
    }

    #[test]
    fn an_insert_and_an_update_are_both_a_put() {
        let content = r#"{"metadata":{"name":"web","uid":"u1","resourceVersion":"7"}}"#;
        for operation in [Operation::Insert, Operation::Update] {
            let change = read(&push(operation, "default/pod/web", content)).unwrap();
            assert_eq!(change, Change::Put(version("u1", "7", "")));
        }
    }

    #[test]
    fn what_is_no_object_is_refused_with_its_reason() {
        for (operation, resource, content, reason) in [
            (Operation::Update, "default/pod", "[]", "names no single object"),
            (Operation::Update, "default/pod/web", r#""OK""#, "is not an object"),
            (Operation::Update, "default/pod/web", r#"[{"uid":"u"}]"#, "is not an object"),
            (Operation::Update, "default/pod/web", "{}", "no metadata.uid"),
            (
                Operation::Update,
                "default/pod/web",
                r#"{"metadata":{"name":"other","uid":"u"}}"#,
                "named \"other\"",
            ),
            (Operation::Update, "default/pod/web", r#"{"metadata":7}"#, "metadata"),
            (Operation::Response, "default/pod/web", r#"{"metadata":{"uid":"u"}}"#, "cannot be pushed"),
            (Operation::Patch, "default/pod/web", "{}", "cannot be pushed"),
            (Operation::Delete, "default/pod/web", r#"{"metadata":{"uid":""}}"#, "names no metadata.uid"),
        ] {
            let error = read(&push(operation, resource, content)).unwrap_err();
            assert!(error.contains(reason), "{error:?} does not say {reason:?}");
        }
    }

    #[test]
    fn a_late_older_version_never_replaces_a_newer_one() {
        let held = version("u1", "100", "2026-01-01T00:00:00Z");
        assert!(!supersedes(&version("u1", "99", "2026-01-01T00:00:00Z"), &held));
        assert!(supersedes(&version("u1", "100", "2026-01-01T00:00:00Z"), &held));
        assert!(supersedes(&version("u1", "101", "2026-01-01T00:00:00Z"), &held));
    }

    #[test]
    fn a_reborn_object_replaces_its_predecessor_even_in_a_remade_cluster() {
        let held = version("u1", "100", "2026-01-01T00:00:00Z");
        assert!(supersedes(&version("u2", "101", "2026-01-02T00:00:00Z"), &held));
        assert!(supersedes(&version("u2", "5", "2026-01-02T00:00:00Z"), &held));
        assert!(!supersedes(&version("u0", "5", "2025-12-01T00:00:00Z"), &held));
    }
}
