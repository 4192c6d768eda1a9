//! Requests whose answers are counted and not parsed, so that the client costs as little as it can.

use anyhow::{Context, Result, ensure};
use http::{Request, Response, header};
use http_body_util::BodyExt;
use kube::client::{Body, Client};
use serde_json::Value;

pub(super) const JSON: &str = "application/json";
pub(super) const TABLE: &str = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json";

/// Sends one request; the answer's body is still to be read.
pub(super) async fn send(
    client: &Client,
    method: &str,
    path: &str,
    accept: &str,
    body: Option<&Value>,
) -> Result<Response<Body>> {
    let request = Request::builder().method(method).uri(path).header(header::ACCEPT, accept);
    let request = request.header(header::CONTENT_TYPE, JSON);
    let bytes = body.map(Value::to_string).unwrap_or_default().into_bytes();
    let response = client.send(request.body(bytes.into())?).await?;
    ensure!(response.status().is_success(), "{method} {path}: {}", response.status());
    Ok(response)
}

/// The whole answer.
pub(super) async fn fetch(
    client: &Client,
    method: &str,
    path: &str,
    accept: &str,
    body: Option<&Value>,
) -> Result<Vec<u8>> {
    let mut answer = send(client, method, path, accept, body).await?.into_body();
    let mut bytes = Vec::new();
    while let Some(frame) = answer.frame().await {
        if let Ok(data) = frame?.into_data() {
            bytes.extend_from_slice(&data);
        }
    }
    Ok(bytes)
}

/// The text behind the first `"key":"` of a document.
pub(super) fn text_of<'a>(document: &'a [u8], key: &str) -> Option<&'a str> {
    let text = std::str::from_utf8(document).ok()?;
    let (_, rest) = text.split_once(&format!("\"{key}\":\""))?;
    Some(rest.split_once('"')?.0)
}

/// The revision of an object or of a list.
pub(super) fn revision(document: &[u8]) -> Result<String> {
    Ok(text_of(document, "resourceVersion").context("the object has a revision")?.to_owned())
}
