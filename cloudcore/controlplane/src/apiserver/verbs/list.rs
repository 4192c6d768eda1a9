//! GET of a collection.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use bytes::{Bytes, BytesMut};
use http::StatusCode;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::selector;
use crate::apiserver::call::Call;
use crate::apiserver::http::{Query, Representation, json_bytes, json_value};
use crate::apiserver::show::{self, include, value};
use crate::apiserver::{Api, told};
use crate::status::{FieldError, Reason, Status};
use crate::store::{Key, ListQuery, Object, Page};
use crate::table::{self, partial_metadata};

/// How long a read waits for a revision that the store has not reached.
const PATIENCE: Duration = Duration::from_secs(3);
/// Large lists leave in pieces of about this size.
const PIECE: usize = 64 << 10;

/// In place of a revision: as things are when the next page is read.
const NOW: i64 = -1;

/// What a client may do whose token is too old. Its answer has another one.
const TOO_OLD: &str = "The provided continue parameter is too old to display a consistent list result. You can start a new list without the continue parameter, or use the continue token in this response to retrieve the remainder of the results. Continuing with the provided token results in an inconsistent list - objects that were created, modified, or deleted between the time the first chunk was returned and now may show up in the list.";

/// Where the next page begins, as Kubernetes writes it.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Continue {
    v: String,
    /// [`NOW`] where the history has forgotten the moment of the first page.
    rv: i64,
    start: String,
}

impl Continue {
    /// None for the revision is now.
    fn after(revision: Option<u64>, key: &Key) -> String {
        let token = Self {
            v: "meta.k8s.io/v1".to_owned(),
            rv: revision.and_then(|revision| i64::try_from(revision).ok()).unwrap_or(NOW),
            start: format!("{}/{}\0", key.namespace, key.name),
        };
        // Serialising plain text and numbers cannot fail; an empty token ends the list.
        BASE64.encode(serde_json::to_vec(&token).unwrap_or_default())
    }

    fn parse(text: &str) -> Result<(Option<u64>, Key), Status> {
        let wrong = |why: &str| Status::bad_request(format!("invalid continue token: {why}"));
        let json = BASE64.decode(text.trim_end_matches('=')).map_err(|error| wrong(&error.to_string()))?;
        let token: Self = serde_json::from_slice(&json).map_err(|error| wrong(&error.to_string()))?;
        if token.v != "meta.k8s.io/v1" {
            return Err(wrong("it is of another version"));
        }
        let start = token.start.strip_suffix('\0').unwrap_or(&token.start);
        let (namespace, name) = start.split_once('/').ok_or_else(|| wrong("it names no object"))?;
        let revision = match token.rv {
            NOW => None,
            revision => Some(u64::try_from(revision).map_err(|_| wrong("its revision is negative"))?),
        };
        Ok((revision, Key::new(namespace, name)))
    }
}

/// Reads all that a list takes from its query, and looks at nothing of it.
pub(in crate::apiserver) fn read_query(query: &Query) {
    for number in ["limit", "timeoutSeconds", "gracePeriodSeconds"] {
        let _ = query.number(number);
    }
    let _ = (query.dry_run("CreateOptions"), query.field_validation(), query.flag("watch"));
    for token in query.get("continue").into_iter().chain(query.get("limit")) {
        let _ = Continue::parse(token);
        let _ = Continue::parse(&BASE64.encode(token));
    }
}

/// The `resourceVersion` parameter: none when it is absent.
pub(super) fn asked_revision(call: &Call) -> Result<Option<u64>, Status> {
    let Some(text) = call.query.get("resourceVersion") else { return Ok(None) };
    let parsed = text.parse().map_err(|_| {
        let wrong = FieldError::invalid("resourceVersion", &json!(text), "strconv.ParseUint: invalid syntax");
        Status::bad_request(wrong.to_string())
    });
    parsed.map(Some)
}

/// Waits until the store has reached the revision that the client has seen elsewhere.
pub(super) async fn wait_for_revision(api: &Api, call: &Call) -> Result<(), Status> {
    let Some(revision) = asked_revision(call)? else { return Ok(()) };
    if api.store.reached(revision, PATIENCE).await {
        return Ok(());
    }
    let message = format!("Too large resource version: {revision}, current: {}", api.store.revision());
    Err(Status::new(Reason::Timeout, message)
        .with_cause("ResourceVersionTooLarge", "Too large resource version", "")
        .retry_after(1))
}

/// At which revision to read; none is now.
fn exact_revision(call: &Call) -> Result<Option<u64>, Status> {
    let invalid = |detail: &str| {
        let wrong = FieldError::forbidden("resourceVersionMatch", detail);
        Err(Status::invalid("meta.k8s.io", "ListOptions", "", &[wrong]))
    };
    let revision = asked_revision(call)?;
    match (call.query.get("resourceVersionMatch"), revision) {
        (None, _) => Ok(None),
        (Some(_), None) => invalid("resourceVersionMatch is forbidden unless resourceVersion is provided"),
        (Some("NotOlderThan"), _) => Ok(None),
        (Some("Exact"), Some(0)) => {
            invalid("resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"")
        }
        (Some("Exact"), revision) => Ok(revision),
        (Some(other), _) => {
            let wrong = FieldError::not_supported(
                "resourceVersionMatch",
                &json!(other),
                &["Exact", "NotOlderThan", ""],
            );
            Err(Status::invalid("meta.k8s.io", "ListOptions", "", &[wrong]))
        }
    }
}

pub(in crate::apiserver) async fn list(api: &Api, call: &Call) -> Result<Response, Status> {
    let selector = selector(call)?;
    if let Some(objects) = told::objects(api, &call.target.resource) {
        let objects = told::selected(objects, &call.target.collection, &selector);
        return Ok(show::all(call, &objects, api.store.revision()));
    }
    let limit = call.query.number("limit")?.map_or(0, |limit| usize::try_from(limit).unwrap_or(0));
    let (at, after) = match call.query.get("continue") {
        Some(token) => {
            let (revision, key) = Continue::parse(token)?;
            (revision, Some(key))
        }
        None => {
            wait_for_revision(api, call).await?;
            (exact_revision(call)?, None)
        }
    };
    let query = ListQuery {
        collection: &call.target.collection,
        namespace: call.within(),
        at,
        after: after.as_ref(),
        limit,
    };
    let page = api
        .store
        .list(&query, |object| selector.matches_document(&object.index, || object.value()))
        .map_err(|gone| {
        let Some(after) = &after else { return Status::expired(gone.to_string()) };
        let mut status = Status::expired(TOO_OLD);
        status.details.go_on = Continue::after(None, after);
        status
    })?;
    let mut metadata = json!({"resourceVersion": page.revision.to_string()});
    if let (true, Some((key, _))) = (page.remaining > 0, page.objects.last()) {
        metadata["continue"] = json!(Continue::after(Some(page.revision), key));
        if selector.is_empty() {
            metadata["remainingItemCount"] = json!(page.remaining);
        }
    }
    Ok(render(call, &page, metadata))
}

fn render(call: &Call, page: &Page, metadata: Value) -> Response {
    let resource = Arc::clone(&call.target.resource);
    let (include, now) = (include(call), Timestamp::now());
    let objects: Vec<Arc<Object>> = page.objects.iter().map(|(_, object)| Arc::clone(object)).collect();
    let representation = call.accept.representation;
    // A list without items, which are its last field, and what an object becomes in it.
    let (mut list, field) = match representation {
        Representation::Table => (table::render(&resource, [], metadata, include, true, now), "rows"),
        Representation::Metadata => (
            json!({"kind": "PartialObjectMetadataList", "apiVersion": "meta.k8s.io/v1", "metadata": metadata, "items": []}),
            "items",
        ),
        Representation::Object | Representation::Discovery(_) => (
            json!({"kind": resource.list_kind, "apiVersion": resource.api_version(), "metadata": metadata, "items": []}),
            "items",
        ),
    };
    let item = move |object: &Object| match representation {
        Representation::Table => table::row(&resource, &value(&resource, object), include, now),
        Representation::Metadata => partial_metadata(&value(&resource, object)),
        Representation::Object | Representation::Discovery(_) => value(&resource, object),
    };
    if call.accept.yaml || call.accept.pretty {
        list[field] = objects.iter().map(|object| item(object)).collect();
        return json_value(StatusCode::OK, &list, call.accept);
    }
    let resource = Arc::clone(&call.target.resource);
    let bytes = move |object: &Object| match representation {
        Representation::Object | Representation::Discovery(_) => show::json(&resource, object),
        Representation::Metadata => show::metadata(&resource, object),
        Representation::Table => show::table_row(&resource, object, include, now),
    };
    json_bytes(StatusCode::OK, pieces(&list, objects, bytes))
}

/// The list in pieces, so that it is not twice in memory, and others get their turn between them. The last field of `empty` is the
/// empty array that the items go into.
fn pieces(
    empty: &Value,
    objects: Vec<Arc<Object>>,
    bytes: impl Fn(&Object) -> Bytes + Send + 'static,
) -> Body {
    let empty = empty.to_string();
    let mut opening = BytesMut::from(empty.strip_suffix("]}").unwrap_or(&empty).as_bytes());
    let mut objects = objects.into_iter().peekable();
    let mut first = true;
    let mut done = false;
    let pieces = std::iter::from_fn(move || {
        if done {
            return None;
        }
        let mut piece = std::mem::take(&mut opening);
        while piece.len() < PIECE
            && let Some(object) = objects.next()
        {
            if !std::mem::take(&mut first) {
                piece.extend_from_slice(b",");
            }
            piece.extend_from_slice(&bytes(&object));
        }
        if objects.peek().is_none() {
            piece.extend_from_slice(b"]}\n");
            done = true;
        }
        Some(Ok::<Bytes, std::convert::Infallible>(piece.freeze()))
    });
    Body::from_stream(futures::stream::iter(pieces))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_token_leads_back_to_where_the_page_ended() {
        let key = Key::new("default", "w1");
        for revision in [Some(1532), None] {
            assert_eq!(Continue::parse(&Continue::after(revision, &key)).unwrap(), (revision, key.clone()));
        }
        assert!(Continue::parse("garbage!").unwrap_err().message.starts_with("invalid continue token: "));
    }

    proptest! {
        #[test]
        fn any_token_is_parsed_or_refused_without_a_panic(text in "[A-Za-z0-9_=-]{0,60}", json in "\\PC{0,40}") {
            let _ = Continue::parse(&text);
            let _ = Continue::parse(&BASE64.encode(json));
        }

        #[test]
        fn any_query_of_a_list_is_read_or_refused_without_a_panic(value in "\\PC{0,60}", key in "continue|limit|dryRun|fieldValidation|watch") {
            read_query(&Query::parse(&format!("{key}={value}")));
        }
    }
}
