//! One call of the REST port.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use proto::message::{Content, Group, Message, Operation, Route, Source};
use proto::pki::NodeName;
use proto::resource::Resource;
use proto::rules::{HttpRequest, HttpResponse, PublishBytes, To, Topic, is_passed_on};
use proto::session::Dialect;
use tokio::sync::OwnedSemaphorePermit;

use super::super::table::Rule;
use super::Door;

/// KubeEdge's bound of a body.
const BODY_LIMIT: usize = 12 << 20;
/// So much of a body that is too long is read all the same, and for so long.
const SWALLOWED: usize = 64 << 20;
const SWALLOW_WITHIN: Duration = Duration::from_secs(10);
/// How often, and after which pauses, a session that takes nothing just now is tried.
const TRIES: usize = 200;
const BETWEEN_TRIES: Duration = Duration::from_millis(5);

type Refused = (StatusCode, String);

/// What a call is about.
struct Target {
    node: NodeName,
    rule: Arc<Rule>,
    /// What follows the rule's path, and the query, each with what parts it.
    more: String,
}

pub(super) async fn call(door: &Door, request: Request) -> Response {
    if let Some(reason) = door.router.unready() {
        return (StatusCode::SERVICE_UNAVAILABLE, reason).into_response();
    }
    let Some(target) = target(door, request.uri()) else {
        return (StatusCode::NOT_FOUND, "Request error").into_response();
    };
    let tally = &target.rule.lasting.tally;
    let metrics = &door.router.shared.metrics;
    match pass_on(door, &target, request).await {
        Ok(response) => {
            metrics.rule_messages_delivered.inc();
            tally.success();
            response
        }
        Err((status, reason)) => {
            metrics.rule_messages_failed.inc();
            tally.failure(&reason);
            (status, reason).into_response()
        }
    }
}

/// `/<node>/<namespace>/<path>[/<more>][?<query>]`
fn target(door: &Door, uri: &Uri) -> Option<Target> {
    let segments: Vec<&str> = uri.path().split('/').filter(|segment| !segment.is_empty()).collect();
    let [node, namespace, path @ ..] = segments.as_slice() else { return None };
    let node = node.parse().ok()?;
    let (rule, more) = door.router.shared.table().rest(namespace, path)?;
    let mut text = String::new();
    for segment in more {
        text.push('/');
        text.push_str(segment);
    }
    if let Some(query) = uri.query() {
        text.push('?');
        text.push_str(query);
    }
    Some(Target { node, rule, more: text })
}

async fn pass_on(door: &Door, target: &Target, request: Request) -> Result<Response, Refused> {
    let shared = &door.router.shared;
    let node = &target.node;
    let (_, dialect) = shared.sessions.connected(node).ok_or_else(|| no_session(node))?;
    let (head, body) = request.into_parts();
    let (body, _room) = read(door, &head.headers, body).await?;
    match &target.rule.way.to {
        To::EventBus { topic } => {
            let message = publish(topic, &target.more, &body, dialect)?;
            tell(door, node, message).await?;
            Ok((StatusCode::OK, "message delivered").into_response())
        }
        To::ServiceBus { port, path } => {
            let call = HttpRequest {
                header: passed_on(&head.headers, door.token.is_some()),
                body: body.into(),
                method: head.method.as_str().to_owned(),
                url: String::new(),
            };
            let resource = format!("{port}:{}{}", path.strip_suffix('/').unwrap_or(path), target.more);
            let content = Content::json(&call)
                .map_err(|error| (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))?;
            let route = Route::new(
                Source::RouterServiceBus,
                Group::User,
                Operation::from(call.method.as_str()),
                Resource::Other(resource.into()),
            );
            let message = Message::new(route, content);
            let mut waiting = shared.calls.wait(node, &message.header.id);
            tell(door, node, message).await?;
            match tokio::time::timeout(shared.timeout, waiting.answer()).await {
                Ok(Ok(answer)) => respond(answer),
                Ok(Err(reason)) => Err((StatusCode::BAD_GATEWAY, reason)),
                Err(_) => Err((
                    StatusCode::GATEWAY_TIMEOUT,
                    format!(
                        "wait to get response time out: node {node} did not answer within {} s (modules.router.restTimeout); is modules.serviceBus.enable true on it?",
                        shared.timeout.as_secs()
                    ),
                )),
            }
        }
        To::Rest { .. } => Err((StatusCode::INTERNAL_SERVER_ERROR, "invalid response".into())),
    }
}

/// Hands the message to the node's session; waits a little while others are before it.
async fn tell(door: &Door, node: &NodeName, message: Message) -> Result<(), Refused> {
    let sessions = &door.router.shared.sessions;
    for _ in 0..TRIES {
        if sessions.tell(node, message.clone()).is_some() {
            return Ok(());
        }
        sessions.connected(node).ok_or_else(|| no_session(node))?;
        tokio::time::sleep(BETWEEN_TRIES).await;
    }
    Err((StatusCode::SERVICE_UNAVAILABLE, format!("too many messages wait for node {node}: try again")))
}

/// The body, and the room that it takes while the call lasts.
async fn read(
    door: &Door,
    headers: &HeaderMap,
    body: Body,
) -> Result<(Bytes, OwnedSemaphorePermit), Refused> {
    let too_long =
        || (StatusCode::PAYLOAD_TOO_LARGE, format!("the body is longer than {} MiB", BODY_LIMIT >> 20));
    let announced =
        headers.get("content-length").and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
    // Without an announcement it may be as long as it may.
    let length = announced.unwrap_or(if headers.contains_key("transfer-encoding") { BODY_LIMIT } else { 0 });
    if length > BODY_LIMIT {
        swallow(body).await;
        return Err(too_long());
    }
    let kib = u32::try_from(length.div_ceil(1024)).unwrap_or(u32::MAX);
    let room = Arc::clone(&door.bodies).try_acquire_many_owned(kib).map_err(|_| {
        (StatusCode::SERVICE_UNAVAILABLE, "too many long bodies are under way: try again".to_owned())
    })?;
    #[allow(clippy::disallowed_methods, reason = "the body is limited")]
    let reading = Limited::new(body, BODY_LIMIT).collect();
    let read = tokio::time::timeout(door.router.shared.timeout, reading).await;
    match read {
        Ok(Ok(body)) => Ok((body.to_bytes(), room)),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(too_long()),
        Ok(Err(error)) => Err((StatusCode::BAD_REQUEST, format!("the body cannot be read: {error}"))),
        Err(_) => Err((StatusCode::REQUEST_TIMEOUT, "the body did not come in time".into())),
    }
}

/// Who is cut off while sending does not hear why: what is too long is read for a while and thrown away.
async fn swallow(mut body: Body) {
    let mut left = SWALLOWED;
    let reading = async {
        while let Some(Ok(frame)) = body.frame().await {
            left = left.saturating_sub(frame.data_ref().map_or(0, Bytes::len));
            if left == 0 {
                return;
            }
        }
    };
    let _ = tokio::time::timeout(SWALLOW_WITHIN, reading).await;
}

fn publish(topic: &Topic, more: &str, body: &Bytes, dialect: Dialect) -> Result<Message, Refused> {
    let bad = |reason: String| (StatusCode::BAD_REQUEST, reason);
    let topic = Topic::to_publish(&format!("{topic}{more}")).map_err(|error| bad(error.to_string()))?;
    let content = match (std::str::from_utf8(body), dialect) {
        (Ok(text), _) => Content::text(text),
        (Err(_), Dialect::SkerryV1) => {
            Content::json(&PublishBytes { base64: body.to_vec() }).map_err(|error| bad(error.to_string()))?
        }
        (Err(_), Dialect::KubeEdge) => {
            return Err(bad(
                "the body is no text (UTF-8), and this node runs KubeEdge, which publishes nothing else"
                    .into(),
            ));
        }
    };
    let resource = Resource::Other(topic.as_str().into());
    Ok(Message::new(Route::new(Source::RouterEventBus, Group::User, Operation::Publish, resource), content))
}

/// `guarded`: the token is for this port, not for programs on nodes.
fn passed_on(headers: &HeaderMap, guarded: bool) -> BTreeMap<String, Vec<String>> {
    let mut passed: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (name, value) in headers {
        let hidden = !is_passed_on(name.as_str()) || (guarded && name == "authorization");
        if let (false, Ok(value)) = (hidden, value.to_str()) {
            passed.entry(name.as_str().to_owned()).or_default().push(value.to_owned());
        }
    }
    passed
}

fn respond(answer: HttpResponse) -> Result<Response, Refused> {
    let status = StatusCode::from_u16(answer.status_code).ok().filter(|status| !status.is_informational());
    let status = status.ok_or_else(|| {
        (
            StatusCode::BAD_GATEWAY,
            format!("the node answered with status {}, which is none", answer.status_code),
        )
    })?;
    let mut response = (status, answer.body).into_response();
    response.headers_mut().remove("content-type");
    for (name, values) in answer.header {
        let Ok(name) = HeaderName::try_from(name) else { continue };
        if !is_passed_on(name.as_str()) {
            continue;
        }
        for value in values.into_iter().filter_map(|value| HeaderValue::try_from(value).ok()) {
            response.headers_mut().append(name.clone(), value);
        }
    }
    Ok(response)
}

fn no_session(node: &NodeName) -> Refused {
    (StatusCode::INTERNAL_SERVER_ERROR, format!("cloudcore doesn't have session for node:{node}"))
}
