//! HTTP and HTTPS towards others: the client of targets that users name, and TLS with those who are not known yet.
//!
//! Owns: whom a client trusts, and which connections it keeps. May call: hyper, rustls. Called by: cloudcore's router and the mappers,
//! which post to targets; the control plane, which asks webhooks; edgecore and keadm, which ask servers that they cannot know.

#![forbid(unsafe_code)]

mod anyone;

use std::error::Error;
use std::io;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper_rustls::{ConfigBuilderExt, FixedServerNameResolver, HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::ServerName;
use tracing::warn;

pub use anyone::AnyCertificate;

/// Connections to one target that are kept for the next request, and for how long.
const IDLE: usize = 8;
const IDLE_FOR: Duration = Duration::from_secs(30);

/// Asks targets over HTTP and HTTPS. Keeps connections; cheap to clone.
pub type Client = legacy::Client<HttpsConnector<HttpConnector>, Full<Bytes>>;

/// A client that trusts the authorities of the system (or of `SSL_CERT_FILE`).
#[must_use]
pub fn client() -> Client {
    let builder = HttpsConnectorBuilder::new();
    let builder = builder.with_native_roots().unwrap_or_else(|error| {
        warn!("the system has no certificate authorities, so https targets cannot be reached: {error}");
        let nobody = ClientConfig::builder().with_root_certificates(RootCertStore::empty());
        HttpsConnectorBuilder::new().with_tls_config(nobody.with_no_client_auth())
    });
    pooled(builder.https_or_http().enable_http1().build())
}

/// A client for HTTPS alone, that trusts `roots` or, without them, the authorities of the system. The server has to be `name` where
/// that is not the host of the URL.
///
/// # Errors
/// When the system's authorities cannot be read.
pub fn strict(roots: Option<RootCertStore>, name: Option<ServerName<'static>>) -> io::Result<Client> {
    let tls = ClientConfig::builder();
    let tls = match roots {
        Some(roots) => tls.with_root_certificates(roots),
        None => tls.with_native_roots()?,
    };
    let mut builder = HttpsConnectorBuilder::new().with_tls_config(tls.with_no_client_auth()).https_only();
    if let Some(name) = name {
        builder = builder.with_server_name_resolver(FixedServerNameResolver::new(name));
    }
    Ok(pooled(builder.enable_http1().build()))
}

fn pooled(connector: HttpsConnector<HttpConnector>) -> Client {
    legacy::Client::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(IDLE_FOR)
        .pool_max_idle_per_host(IDLE)
        .build(connector)
}

/// An error and its causes, each once: hyper's errors hide theirs.
#[must_use]
pub fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut at = error.source();
    while let Some(cause) = at {
        let more = cause.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        at = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Because(&'static str, Option<Box<Self>>);

    impl std::fmt::Display for Because {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str(self.0)
        }
    }

    impl Error for Because {
        fn source(&self) -> Option<&(dyn Error + 'static)> {
            self.1.as_deref().map(|cause| cause as _)
        }
    }

    #[test]
    fn each_cause_is_told_once() {
        let refused = Because("connection refused", None);
        let again = Because("tcp connect error: connection refused", Some(Box::new(refused)));
        let error = Because("client error", Some(Box::new(again)));
        assert_eq!(chain(&error), "client error: tcp connect error: connection refused");
    }
}
