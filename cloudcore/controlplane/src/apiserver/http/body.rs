//! Request bodies: capped, decoded by their content type.

use std::time::Duration;

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use http::{HeaderMap, header};
use http_body_util::BodyExt;
use serde_json::Value;

use crate::registry::Resource;
use crate::schema::protobuf::ProtobufError;
use crate::status::{Reason, Status};

/// As in Kubernetes.
const MAX: usize = 3 << 20;
/// How much of a body that is too large is taken off the wire.
const IGNORED: usize = 16 << 20;
/// A client that sends slower than this holds its slot for nothing.
const PATIENCE: Duration = Duration::from_secs(30);
const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";
const ACCEPTED: &[&str] = &["application/json", "application/yaml", PROTOBUF];
/// Custom resources have no protobuf form.
const ACCEPTED_CUSTOM: &[&str] = &["application/json", "application/yaml"];

/// The content types of PATCH.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::apiserver) enum PatchBody {
    Json,
    Merge,
    Strategic,
    Apply,
}

/// Reads a whole body.
pub(in crate::apiserver) async fn read(body: Body) -> Result<Bytes, Status> {
    match tokio::time::timeout(PATIENCE, collect(body)).await {
        Ok(collected) => collected,
        Err(_) => Err(Status::new(Reason::Timeout, "the body of the request did not arrive in time")),
    }
}

async fn collect(mut body: Body) -> Result<Bytes, Status> {
    let mut collected = BytesMut::new();
    let mut length = 0;
    while let Some(frame) = body.frame().await {
        let broken = |error| Status::bad_request(format!("cannot read the body of the request: {error}"));
        let Ok(data) = frame.map_err(broken)?.into_data() else { continue };
        length += data.len();
        // What is too much is let through to nowhere for a while: a client that still sends would not see the answer.
        if length <= MAX {
            collected.extend_from_slice(&data);
        } else if length > IGNORED {
            break;
        }
    }
    if length > MAX {
        let message = format!("Request entity too large: limit is {MAX}");
        return Err(Status::new(Reason::RequestEntityTooLarge, message));
    }
    Ok(collected.freeze())
}

/// The content type without its parameters; JSON when there is none.
pub(in crate::apiserver) fn media_type(headers: &HeaderMap) -> &str {
    let value = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    match value.split(';').next().map(str::trim) {
        None | Some("") => "application/json",
        Some(kind) => kind,
    }
}

/// The document in a body. `kind` says in errors what was expected; `resource` is what the URL is about.
pub(in crate::apiserver) fn decode(
    headers: &HeaderMap,
    body: &[u8],
    kind: &str,
    resource: &Resource,
) -> Result<Value, Status> {
    let accepted = if resource.is_custom() { ACCEPTED_CUSTOM } else { ACCEPTED };
    let unreadable = |error: String| {
        Status::bad_request(format!(
            "the object provided is unrecognized (must be of type {kind}): couldn't get version/kind; json parse error: {error}"
        ))
    };
    let value = match media_type(headers) {
        "application/json" => serde_json::from_slice(body).map_err(|error| unreadable(error.to_string()))?,
        "application/yaml" => parse_yaml(body).map_err(unreadable)?,
        // Whatever is in it; but options and other bodies of built-in types may come so.
        PROTOBUF if resource.is_custom() && kind == resource.kind => {
            return Err(Status::unsupported_media_type(accepted));
        }
        PROTOBUF => resource.decode_protobuf(body).map_err(|error| match error {
            ProtobufError::UnknownKind { .. } => Status::unsupported_media_type(accepted),
            error => Status::bad_request(format!(
                "the object provided is unrecognized (must be of type {kind}): {error}"
            )),
        })?,
        _ => return Err(Status::unsupported_media_type(accepted)),
    };
    match value {
        Value::Object(_) => Ok(value),
        _ => Err(unreadable("the body is not an object".to_owned())),
    }
}

/// YAML is a superset of JSON, with bounds on aliases and depth.
pub(in crate::apiserver) fn parse_yaml(body: &[u8]) -> Result<Value, String> {
    let text = std::str::from_utf8(body).map_err(|error| error.to_string())?;
    serde_saphyr::from_str(text).map_err(|error| error.to_string())
}

impl PatchBody {
    pub(in crate::apiserver) fn of(headers: &HeaderMap) -> Option<Self> {
        match media_type(headers) {
            "application/json-patch+json" => Some(Self::Json),
            "application/merge-patch+json" => Some(Self::Merge),
            "application/strategic-merge-patch+json" => Some(Self::Strategic),
            "application/apply-patch+yaml" => Some(Self::Apply),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn pods() -> std::sync::Arc<Resource> {
        thread_local! {
            static PODS: std::sync::Arc<Resource> = crate::registry::Registry::new().resolve("", "v1", "pods").unwrap();
        }
        PODS.with(std::sync::Arc::clone)
    }

    fn typed(kind: &str) -> HeaderMap {
        HeaderMap::from_iter([(header::CONTENT_TYPE, kind.parse().unwrap())])
    }

    #[test]
    fn json_and_yaml_are_read_and_others_refused_with_what_would_do() {
        assert_eq!(decode(&HeaderMap::new(), b"{\"a\":1}", "Pod", &pods()).unwrap(), json!({"a": 1}));
        assert_eq!(decode(&typed("application/yaml"), b"a: 1\n", "Pod", &pods()).unwrap(), json!({"a": 1}));
        let refused = decode(&typed("text/plain"), b"x", "Pod", &pods()).unwrap_err();
        assert_eq!(
            (refused.reason, refused.message.contains("application/json")),
            (Reason::UnsupportedMediaType, true)
        );
        assert_eq!(decode(&HeaderMap::new(), b"[]", "Pod", &pods()).unwrap_err().reason, Reason::BadRequest);
    }

    #[test]
    fn protobuf_is_read_as_the_kind_that_it_says() {
        let body = b"k8s\0\x0a\x09\x0a\x02v1\x12\x03Pod\x12\x05\x0a\x03\x0a\x01p";
        let pod = decode(&typed("application/vnd.kubernetes.protobuf"), body, "Pod", &pods()).unwrap();
        assert_eq!(pod, json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}}));
        let cut =
            decode(&typed("application/vnd.kubernetes.protobuf"), &body[..12], "Pod", &pods()).unwrap_err();
        assert_eq!(cut.reason, Reason::BadRequest);
    }

    #[test]
    fn a_bottomless_document_is_refused() {
        let deep = "[".repeat(100_000);
        assert!(decode(&HeaderMap::new(), deep.as_bytes(), "Pod", &pods()).is_err());
        assert!(decode(&typed("application/yaml"), deep.as_bytes(), "Pod", &pods()).is_err());
    }

    #[tokio::test]
    async fn a_body_over_the_limit_is_not_read_to_its_end() {
        let chunks =
            futures::stream::repeat(Ok::<_, std::convert::Infallible>(Bytes::from_static(&[b' '; 65536])));
        assert_eq!(read(Body::from_stream(chunks)).await.unwrap_err().reason, Reason::RequestEntityTooLarge);
    }

    proptest! {
        #[test]
        fn any_bytes_are_decoded_or_refused_without_a_panic(body in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = decode(&HeaderMap::new(), &body, "Pod", &pods());
            let _ = decode(&typed("application/yaml"), &body, "Pod", &pods());
        }
    }
}
