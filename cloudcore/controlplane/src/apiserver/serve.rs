//! From an HTTP request to the file that answers it.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::body::Body;
use axum::response::Response;
use http::request::Parts;
use http::{Method, Request};

use super::auth::{Attributes, Identity, Peer, allowed, denial, selected};
use super::call::{Call, Target};
use super::http::{Accept, Query, ResourcePath, text, with_warnings};
use super::trail::Trail;
use super::{Api, documents, limits, snapshot, subresources, verbs};
use crate::status::{Reason, Status};

/// The API as a tower service. The transport puts a [`Peer`] into the request's extensions; without one the caller is anonymous.
#[derive(Clone)]
pub(crate) struct Service(pub(crate) Arc<Api>);

impl tower::Service<Request<Body>> for Service {
    type Response = Response;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let api = Arc::clone(&self.0);
        Box::pin(async move { Ok(answer(api, request).await) })
    }
}

async fn answer(api: Arc<Api>, request: Request<Body>) -> Response {
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let (parts, body) = request.into_parts();
    let mut trail = Trail::begin(&api, &parts);
    let answer = handle(api, parts, body, &mut trail).await;
    let response = trail.end(answer).await;
    tracing::debug!(%method, path, status = response.status().as_u16(), "request");
    response
}

async fn handle(api: Arc<Api>, parts: Parts, body: Body, trail: &mut Trail) -> Result<Response, Status> {
    let peer = parts.extensions.get::<Peer>().cloned().unwrap_or(Peer::Tls(None));
    let who = Identity::of(&peer, &parts.headers, &api.tokens, |who, what| allowed(&api.store, who, what))?;
    let query = Query::parse(parts.uri.query().unwrap_or_default());
    let path = parts.uri.path();
    let mut check = |asks: Attributes<'_>, version: &str| {
        let may = allowed(&api.store, &who, asks);
        trail.decided(&api, &who, asks, version, may);
        if may { Ok(()) } else { Err(denial(&who, asks)) }
    };
    let Some(place) = ResourcePath::parse(path).filter(|_| !documents::owns(path)) else {
        let verb = parts.method.as_str().to_ascii_lowercase();
        check(Attributes::Path { verb: &verb, path }, "")?;
        if path == proto::backup::SNAPSHOT_PATH {
            return snapshot::answer(&api, &parts.method).await;
        }
        return documents::answer(&api, &parts, &query);
    };
    let is_collection = place.name.is_none();
    let watch = is_collection && (place.watch || query.flag("watch"));
    let verb = verb_of(&parts.method, is_collection, watch)?;
    let with_subresource;
    let resource_name = match &place.subresource {
        Some(subresource) => {
            with_subresource = format!("{}/{subresource}", place.resource);
            &with_subresource
        }
        None => &place.resource,
    };
    let fields = query.get("fieldSelector").unwrap_or_default();
    let asks = Attributes::Resource {
        verb,
        group: &place.group,
        resource: resource_name,
        namespace: &place.namespace,
        // A list of one object is a question about that object.
        name: place.name.as_deref().or(selected(fields, "metadata.name")).unwrap_or_default(),
        fields,
    };
    check(asks, &place.version)?;
    let snapshot = api.registry.snapshot();
    let Some(resource) = snapshot.resolve(&place.group, &place.version, &place.resource).cloned() else {
        let served =
            snapshot.resources.iter().any(|one| one.group == place.group && one.version == place.version);
        return if served { Err(Status::no_such_resource()) } else { Ok(nothing_here()) };
    };
    // Objects in a namespace are never at the top, though lists of them are; the others are never below a namespace.
    let whole = place.namespace.is_empty();
    let misplaced =
        if resource.namespaced { whole && !is_collection } else { !whole && resource.plural != "namespaces" };
    if misplaced {
        return Err(Status::no_such_resource());
    }
    let everywhere = whole && resource.namespaced && matches!(verb, "create" | "deletecollection");
    if place.subresource.is_none() && (everywhere || !resource.verbs.contains(&verb)) {
        return Err(Status::method_not_allowed());
    }
    let accept = Accept::negotiate(&parts.headers, &query)?;
    let who = Arc::new(who);
    let target =
        Target::new(resource, &place.namespace, place.name.as_deref().unwrap_or_default()).asked_by(&who);
    let mut call = Call { target, query, accept, headers: parts.headers, who };
    let deprecated: Vec<String> =
        call.target.resource.deprecation().map(ToOwned::to_owned).into_iter().collect();
    if verb == "watch" {
        return verbs::watch(&api, call).await.map(|response| with_warnings(response, &deprecated));
    }
    let place_in_line = api.limits.request(&call.who.user).await?;
    call.target.turn = place_in_line.turn.clone();
    let body = trail.body(body).await?;
    let work = async {
        if let Some(subresource) = &place.subresource {
            return subresources::serve(&api, &call, subresource, verb, body).await;
        }
        match verb {
            "get" => verbs::get(&api, &call).await,
            "list" => verbs::list(&api, &call).await,
            "create" => verbs::create(&api, &call, body).await,
            "update" => verbs::update(&api, &call, body).await,
            "patch" => verbs::patch(&api, &call, body).await,
            "delete" => verbs::delete(&api, &call, body).await,
            _ => verbs::delete_collection(&api, &call, body).await,
        }
    };
    let done = tokio::time::timeout(limits::DEADLINE, work).await;
    drop(place_in_line);
    trail.noted(call.target.notes.take());
    done.unwrap_or_else(|_| {
        Err(Status::new(Reason::Timeout, "the server could not finish the request in time"))
    })
    .map(|response| with_warnings(response, &deprecated))
}

fn verb_of(method: &Method, is_collection: bool, watch: bool) -> Result<&'static str, Status> {
    Ok(match (method.as_str(), is_collection) {
        ("GET" | "HEAD", true) if watch => "watch",
        ("GET" | "HEAD", true) => "list",
        ("GET" | "HEAD", false) => "get",
        ("POST", _) => "create",
        ("PUT", false) => "update",
        ("PATCH", false) => "patch",
        ("DELETE", false) => "delete",
        ("DELETE", true) => "deletecollection",
        _ => return Err(Status::method_not_allowed()),
    })
}

/// Kubernetes' answer to a path that leads nowhere.
pub(super) fn nothing_here() -> Response {
    text(http::StatusCode::NOT_FOUND, "404 page not found\n")
}
