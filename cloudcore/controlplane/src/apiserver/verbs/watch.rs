//! GET of a collection with `watch=true`.
//!
//! The answer is a stream of lines that pulls from the store's history: what the client does not read is not produced. A client
//! that is too slow for the history gets 410 and lists again. The stream ends with its connection; nothing runs besides it.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use bytes::{BufMut, Bytes, BytesMut};
use http::StatusCode;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::list::asked_revision;
use super::selector;
use crate::apiserver::Api;
use crate::apiserver::call::Call;
use crate::apiserver::http::{Representation, json_bytes};
use crate::apiserver::limits::Place;
use crate::apiserver::show::{self, row, value};
use crate::selector::Selector;
use crate::status::{FieldError, Status};
use crate::store::{Compacted, Event, EventKind, ListQuery, Object, Watcher};
use crate::table::partial_metadata;

/// Between bookmarks.
const BOOKMARKS: Duration = Duration::from_secs(60);
/// The last bookmark comes this long before the end.
const FAREWELL: Duration = Duration::from_secs(2);
/// What is there at the beginning leaves in pieces of about this size.
const PIECE: usize = 64 << 10;
/// Without a timeout of its own a watch lasts between one and two of these.
const LIFE_SECONDS: u64 = 1800;

pub(in crate::apiserver) async fn watch(api: &Api, call: Call) -> Result<Response, Status> {
    let place = api.limits.watch(&call.who.user)?;
    let selector = selector(&call)?;
    let begin = initial_events(&call)?;
    let revision = asked_revision(&call)?.unwrap_or(0);
    let seconds = match call.query.number("timeoutSeconds")? {
        Some(seconds) if seconds > 0 => u64::try_from(seconds).unwrap_or(LIFE_SECONDS),
        _ => LIFE_SECONDS + fastrand::u64(..LIFE_SECONDS),
    };
    let bookmarks = call.query.flag("allowWatchBookmarks");
    let mut initial = Initial { objects: Vec::new().into_iter(), end: None };
    let out = Out { call, selector, columns_sent: false };
    let start = match begin {
        Begin::All { bookmark } => {
            let query = ListQuery {
                collection: &out.call.target.collection,
                namespace: out.call.within(),
                at: None,
                after: None,
                limit: 0,
            };
            let page = api
                .store
                .list(&query, |object| out.selector.matches_document(&object.index, || object.value()));
            let page = page.map_err(|gone| Status::expired(gone.to_string()))?;
            let objects: Vec<_> = page.objects.into_iter().map(|(_, object)| object).collect();
            initial = Initial { objects: objects.into_iter(), end: bookmark.then_some(page.revision) };
            page.revision
        }
        Begin::Now if revision == 0 => api.store.revision(),
        Begin::Now => revision,
    };
    let watcher = api.store.watch(&out.call.target.collection, start);
    let now = Instant::now();
    let end = now + Duration::from_secs(seconds.min(7 * 24 * 3600));
    let stream = Stream {
        out,
        watcher,
        initial,
        end,
        farewell: farewell(now, end),
        bookmark: bookmarks.then(|| next_bookmark(now, farewell(now, end))),
        shutdown: api.shutdown.clone(),
        over: false,
        _place: place,
    };
    let lines = futures::stream::unfold(stream, |mut stream| async move {
        let piece = stream.next().await?;
        Some((Ok::<Bytes, std::convert::Infallible>(piece), stream))
    });
    Ok(json_bytes(StatusCode::OK, Body::from_stream(lines)))
}

/// Where a watch begins.
enum Begin {
    /// Everything that is there, then perhaps the bookmark that says so.
    All { bookmark: bool },
    /// With what changes from here on.
    Now,
}

fn initial_events(call: &Call) -> Result<Begin, Status> {
    let invalid = |wrong: FieldError| Err(Status::invalid("meta.k8s.io", "ListOptions", "", &[wrong]));
    let exact = call.query.get("resourceVersionMatch");
    match (call.query.get("sendInitialEvents"), exact) {
        (Some(_), None | Some("Exact")) => invalid(FieldError::forbidden(
            "resourceVersionMatch",
            "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan",
        )),
        (Some(_), Some("NotOlderThan")) if call.query.flag("sendInitialEvents") => {
            if !call.query.flag("allowWatchBookmarks") {
                return invalid(FieldError::forbidden(
                    "allowWatchBookmarks",
                    "sendInitialEvents requires setting allowWatchBookmarks to true",
                ));
            }
            Ok(Begin::All { bookmark: true })
        }
        (Some(_), _) => Ok(Begin::Now),
        (None, Some(_)) => invalid(FieldError::forbidden(
            "resourceVersionMatch",
            "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided",
        )),
        (None, None) => match asked_revision(call)? {
            None | Some(0) => Ok(Begin::All { bookmark: false }),
            Some(_) => Ok(Begin::Now),
        },
    }
}

/// When the last bookmark comes.
fn farewell(now: Instant, end: Instant) -> Instant {
    end - FAREWELL.min(end.saturating_duration_since(now) / 2)
}

fn next_bookmark(now: Instant, farewell: Instant) -> Instant {
    let regular = now + BOOKMARKS;
    if regular < farewell || now >= farewell { regular } else { farewell }
}

/// What is there at the beginning and was not written yet.
struct Initial {
    objects: std::vec::IntoIter<Arc<Object>>,
    /// The revision of the bookmark that says that this was all.
    end: Option<u64>,
}

struct Stream {
    out: Out,
    watcher: Watcher,
    initial: Initial,
    end: Instant,
    farewell: Instant,
    bookmark: Option<Instant>,
    shutdown: CancellationToken,
    over: bool,
    _place: Place,
}

impl Stream {
    /// The next lines; none at the end.
    async fn next(&mut self) -> Option<Bytes> {
        let mut lines = BytesMut::new();
        while lines.len() < PIECE
            && let Some(object) = self.initial.objects.next()
        {
            self.out.object(&mut lines, "ADDED", &object);
        }
        if self.initial.objects.len() == 0
            && let Some(revision) = self.initial.end.take()
        {
            self.out.bookmark(&mut lines, revision, true);
        }
        while lines.is_empty() && !self.over {
            let bookmark = self.bookmark.unwrap_or(self.end);
            tokio::select! {
                biased;
                () = self.shutdown.cancelled() => return None,
                () = sleep_until(self.end) => return None,
                () = sleep_until(bookmark), if self.bookmark.is_some() => {
                    self.bookmark = Some(next_bookmark(Instant::now(), self.farewell));
                    // What happened until now comes before the bookmark that covers it.
                    let batch = self.watcher.look();
                    let complete = batch.as_ref().map(|batch| batch.complete).ok();
                    self.take(&mut lines, batch.map(|batch| batch.events));
                    if let Some(complete) = complete {
                        self.out.bookmark(&mut lines, complete, false);
                    }
                }
                batch = self.watcher.next() => self.take(&mut lines, batch.map(|batch| batch.events)),
            }
        }
        (!lines.is_empty()).then(|| lines.freeze())
    }

    fn take(&mut self, lines: &mut BytesMut, events: Result<Vec<Event>, Compacted>) {
        match events {
            Ok(events) => events.iter().for_each(|event| self.out.event(lines, event)),
            Err(gone) => {
                self.over = true;
                put(lines, "ERROR", Status::expired(gone.to_string()).to_value().to_string().as_bytes());
            }
        }
    }
}

/// Writes events as the client wants to see them.
struct Out {
    call: Call,
    selector: Selector,
    columns_sent: bool,
}

fn put(lines: &mut BytesMut, kind: &str, object: &[u8]) {
    lines.reserve(object.len() + 32);
    lines.put_slice(b"{\"type\":\"");
    lines.put_slice(kind.as_bytes());
    lines.put_slice(b"\",\"object\":");
    lines.put_slice(object);
    lines.put_slice(b"}\n");
}

impl Out {
    fn matches(&self, object: &Object) -> bool {
        self.call.within().is_none_or(|namespace| *object.index.namespace == *namespace)
            && self.selector.matches_document(&object.index, || object.value())
    }

    fn event(&mut self, lines: &mut BytesMut, event: &Event) {
        let was = event.previous.as_ref().is_some_and(|previous| self.matches(previous));
        let is = event.kind != EventKind::Deleted && self.matches(&event.object);
        match (was, is) {
            (false, false) => {}
            (false, true) => self.object(lines, "ADDED", &event.object),
            (true, true) => self.object(lines, "MODIFIED", &event.object),
            // For this client it is gone: as it last saw it, at the revision of the change.
            (true, false) if event.kind == EventKind::Deleted => self.object(lines, "DELETED", &event.object),
            (true, false) => {
                let Some(previous) = &event.previous else { return };
                let mut last = value(&self.call.target.resource, previous);
                last["metadata"]["resourceVersion"] = json!(event.revision().to_string());
                self.value(lines, "DELETED", &last);
            }
        }
    }

    fn object(&mut self, lines: &mut BytesMut, kind: &str, object: &Arc<Object>) {
        let resource = &self.call.target.resource;
        match self.call.accept.representation {
            Representation::Object | Representation::Discovery(_) => {
                put(lines, kind, &show::json(resource, object))
            }
            Representation::Metadata => put(lines, kind, &show::metadata(resource, object)),
            Representation::Table => self.value(lines, kind, &value(resource, object)),
        }
    }

    fn value(&mut self, lines: &mut BytesMut, kind: &str, object: &Value) {
        let shown = match self.call.accept.representation {
            Representation::Object | Representation::Discovery(_) => object.to_string(),
            Representation::Metadata => partial_metadata(object).to_string(),
            Representation::Table => {
                row(&self.call, object, !std::mem::replace(&mut self.columns_sent, true)).to_string()
            }
        };
        put(lines, kind, shown.as_bytes());
    }

    fn bookmark(&mut self, lines: &mut BytesMut, revision: u64, initial_end: bool) {
        let resource = &self.call.target.resource;
        let mut metadata = json!({"resourceVersion": revision.to_string()});
        if initial_end {
            metadata["annotations"] = json!({"k8s.io/initial-events-end": "true"});
        }
        let mut mark =
            json!({"kind": resource.kind, "apiVersion": resource.api_version(), "metadata": metadata});
        match self.call.accept.representation {
            Representation::Table => {
                let columns: Value = Value::Null;
                mark = json!({"kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": {"resourceVersion": revision.to_string()}, "columnDefinitions": columns, "rows": []});
                if initial_end {
                    mark["rows"] = json!([{"cells": [], "object": {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": metadata}}]);
                }
            }
            Representation::Metadata => mark = partial_metadata(&mark),
            Representation::Object | Representation::Discovery(_) => {}
        }
        put(lines, "BOOKMARK", mark.to_string().as_bytes());
    }
}
