//! The REST port as it is unless its operator says otherwise: TLS and a token.

use anyhow::{Context, Result};
use bytes::Bytes;
use e2e::eventually;
use http_body_util::{BodyExt, Full};
use hyper_rustls::HttpsConnectorBuilder;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use rustls::{ClientConfig, RootCertStore};
use serde_json::json;

use crate::site::{LIMIT, Server, Site, call};

#[tokio::test(flavor = "multi_thread")]
async fn nobody_calls_a_node_without_the_token_and_programs_never_see_it() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let token_file = folder.path().join("router.token");
    let (site, program) = (Site::start(json!({ "tokenFile": token_file })).await?, Server::start().await?);
    site.stack.apply(&format!(
        r#"{{"apiVersion":"rules.kubeedge.io/v1","kind":"RuleEndpoint","metadata":{{"name":"program","namespace":"default"}},"spec":{{"ruleEndpointType":"servicebus","properties":{{"service_port":"{}"}}}}}}"#,
        program.address.port()
    ))?;
    site.rule(
        "call",
        json!({
            "source": "web", "sourceResource": { "path": "api" },
            "target": "program", "targetResource": { "path": "/" },
        }),
    )?;
    assert!(call("GET", &site.url("/edge1/default/api"), b"").await.is_err(), "plain HTTP is not spoken");

    let secrets: Api<Secret> = Api::namespaced(site.stack.client(), "kubeedge");
    let authority = secrets.get("casecret").await?.data.context("a CA")?.remove("cadata").context("a CA")?;
    let mut roots = RootCertStore::empty();
    roots.add(authority.0.into())?;
    let tls = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    let connector = HttpsConnectorBuilder::new().with_tls_config(tls).https_only().enable_http1().build();
    let client = Client::builder(TokioExecutor::new()).build(connector);
    let ask = async |token: Option<&str>| -> Result<(u16, String)> {
        let mut request =
            axum::http::Request::get(format!("https://127.0.0.1:{}/edge1/default/api", site.rest));
        if let Some(token) = token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let (head, body) = client.request(request.body(Full::<Bytes>::default())?).await?.into_parts();
        #[allow(clippy::disallowed_methods, reason = "a test's own requests")]
        let body = body.collect().await?.to_bytes();
        Ok((head.status.as_u16(), String::from_utf8_lossy(&body).into_owned()))
    };
    let (status, words) = ask(None).await?;
    assert!(status == 401 && words.contains(&*token_file.to_string_lossy()), "{status} {words}");
    assert_eq!(ask(Some("wrong")).await?.0, 401);
    assert!(program.seen().is_empty());

    let token = std::fs::read_to_string(&token_file)?;
    eventually("the call gets through", LIMIT, || async {
        let said = ask(Some(&token)).await.map_err(|error| error.to_string())?;
        if said.0 == 200 { Ok(()) } else { Err(format!("{said:?}")) }
    })
    .await?;
    let seen = program.seen();
    assert!(seen.iter().all(|seen| !seen.headers.contains_key("authorization")), "{seen:?}");
    Ok(())
}
