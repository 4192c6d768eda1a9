//! Objects that a pod needs: from the store, else from the cloud.

use proto::answer;
use proto::message::{Content, Group, Message, Operation, Route, Source};
use proto::resource::{ObjectKey, ResourceKind};
use serde_json::Value;

use super::FetchError;
use super::handle::{Handle, StoredObject};

/// Config maps and secrets are pushed when they change, so a held one is current; volumes are only ever
/// asked for, so the cloud is asked first.
fn cloud_first(kind: &ResourceKind) -> bool {
    matches!(
        kind,
        ResourceKind::PersistentVolume | ResourceKind::PersistentVolumeClaim | ResourceKind::VolumeAttachment
    )
}

pub(super) async fn object(handle: &Handle, key: &ObjectKey) -> Result<StoredObject, FetchError> {
    let held = handle.get(key).await?;
    if let Some(held) = &held
        && !cloud_first(&key.kind)
    {
        return Ok(held.clone());
    }
    let route = Route::new(Source::Edged, Group::Meta, Operation::Query, key.clone().into());
    match ask(handle, Message::new(route, Content::null()), &key.to_string()).await {
        // The session has stored the answer, or said loudly why not.
        Ok(object) => read(key, object),
        Err(error @ (FetchError::NotFound(_) | FetchError::Forbidden(_))) => Err(error),
        Err(error) => held.ok_or(error),
    }
}

/// The answer's object, or why there is none. No failure of the cloud ever looks like an empty object.
pub(super) async fn ask(handle: &Handle, message: Message, what: &str) -> Result<Value, FetchError> {
    let answer = handle
        .hub
        .request(message, handle.settings.query_timeout)
        .await
        .map_err(|error| FetchError::request(what, error))?;
    answer::parse(&answer.content).map_err(|status| {
        let words = format!("{what}: {}", status.message);
        match status.reason.as_str() {
            "NotFound" => FetchError::NotFound(words),
            "AlreadyExists" => FetchError::Exists(words),
            "Forbidden" => FetchError::Forbidden(words),
            _ => FetchError::Unavailable { what: what.to_owned(), reason: status.message.clone() },
        }
    })
}

fn read(key: &ObjectKey, object: Value) -> Result<StoredObject, FetchError> {
    let field = |path: &str| object.pointer(path).and_then(Value::as_str).map(str::to_owned);
    let Some(uid) = field("/metadata/uid") else {
        let reason = "the answer is no Kubernetes object".to_owned();
        return Err(FetchError::Unavailable { what: key.to_string(), reason });
    };
    let resource_version = field("/metadata/resourceVersion").unwrap_or_default();
    Ok(StoredObject { key: key.clone(), uid, resource_version, object })
}
