use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use x509_parser::{certificate::X509Certificate, prelude::FromDer};

use super::Token;
use crate::{
    cloud::{Address, ConnectError, Identity, Trusted},
    document,
    layout::Layout,
    problem::Problem,
};

/// A certificate that cloudcore issued, and its key.
#[derive(Debug)]
pub(super) struct Issued {
    certificate_pem: String,
    key_pem: String,
}

/// Asks cloudcore for this node's certificate, as `wire.md` §1.6 describes.
pub(super) async fn request(
    https: &Address,
    ca: &CertificateDer<'static>,
    token: &Token,
    node: &str,
) -> Result<Issued, Problem> {
    let what = format!("cloudcore does not issue a certificate for {node}");
    let (csr, key_pem) = key_and_csr(node).map_err(|error| {
        Problem::new("a key for this node cannot be made").cause(error).next("report this")
    })?;
    let unreachable = |error: ConnectError| {
        Problem::new(what.clone())
            .cause(error)
            .next("run the command again; the checks before this one were fine")
    };
    let cloud = Trusted::new(https, ca, None).map_err(unreachable)?;
    let headers = vec![("authorization", format!("Bearer {}", token.jwt())), ("nodename", node.to_owned())];
    let answer = cloud.get("/edge.crt", headers, csr).await.map_err(unreachable)?;
    let text = String::from_utf8_lossy(&answer.body).trim().to_owned();
    match answer.status {
        200 => {}
        401 | 403 => {
            return Err(Problem::new(what)
                .cause(format!("it refuses the token: {text}"))
                .next(format!("run `keadm gettoken` on cloudcore's host (or `keadm gettoken --node {node}`) and use that token")));
        }
        status => {
            return Err(Problem::new(what)
                .cause(format!("it answers with status {status}: {text}"))
                .next("look into cloudcore's log"));
        }
    }
    if X509Certificate::from_der(&answer.body).is_err() {
        return Err(Problem::new(what)
            .cause("what it sends is no certificate")
            .next("look into cloudcore's log"));
    }
    Ok(Issued { certificate_pem: pem("CERTIFICATE", &answer.body), key_pem })
}

/// Writes the CA, the certificate and the key where edgecore reads them.
pub(super) fn store(layout: &Layout, ca: &CertificateDer<'static>, issued: &Issued) -> Result<(), Problem> {
    document::write(&layout.ca_certificate(), pem("CERTIFICATE", ca).as_bytes(), 0o644)?;
    document::write(&layout.edge_key(), issued.key_pem.as_bytes(), 0o600)?;
    document::write(&layout.edge_certificate(), issued.certificate_pem.as_bytes(), 0o644)
}

/// cloudcore as the joined node sees it.
pub(super) fn trusted(layout: &Layout, https: &Address) -> Result<Trusted, Problem> {
    let broken = |path: &std::path::Path, error: &dyn std::fmt::Display| {
        Problem::new(format!("{} cannot be used", path.display()))
            .cause(error)
            .next("keadm reset edge, then join again")
    };
    let (ca, certificate, key) = (layout.ca_certificate(), layout.edge_certificate(), layout.edge_key());
    let roots = CertificateDer::from_pem_file(&ca).map_err(|error| broken(&ca, &error))?;
    let identity = Identity {
        certificate: CertificateDer::from_pem_file(&certificate)
            .map_err(|error| broken(&certificate, &error))?,
        key: PrivateKeyDer::from_pem_file(&key).map_err(|error| broken(&key, &error))?,
    };
    Trusted::new(https, &roots, Some(identity)).map_err(|error| broken(&certificate, &error))
}

/// What an earlier join left on this host.
#[derive(Debug)]
pub(super) struct Earlier {
    /// From the certificate; `None` when it cannot be read.
    node: Option<String>,
    expires: Option<i64>,
    has_config: bool,
}

/// The earlier join, if there is a certificate of one.
pub(super) fn earlier(layout: &Layout) -> Option<Earlier> {
    let path = layout.edge_certificate();
    if !path.exists() {
        return None;
    }
    let der = CertificateDer::from_pem_file(&path).ok();
    let parsed = der.as_deref().and_then(|der| Some(X509Certificate::from_der(der).ok()?.1));
    let node = parsed.as_ref().and_then(|certificate| {
        let name = certificate.subject().iter_common_name().next()?.as_str().ok()?;
        Some(name.strip_prefix("system:node:")?.to_owned())
    });
    let expires = parsed.as_ref().map(|certificate| certificate.validity().not_after.timestamp());
    Some(Earlier { node, expires, has_config: layout.config("edgecore").exists() })
}

impl Earlier {
    /// Why this host cannot simply be started again as `node`.
    pub(super) fn problem(&self, node: &str) -> Option<Problem> {
        let cause = match (&self.node, self.expires) {
            (None, _) => "its certificate cannot be read".to_owned(),
            (Some(own), _) if own != node => format!("it has the certificate of node {own}"),
            (_, Some(expires)) if expires <= jiff::Timestamp::now().as_second() => {
                "its certificate has expired".to_owned()
            }
            _ if !self.has_config => "it has a certificate, but edgecore.yaml is missing".to_owned(),
            _ => return None,
        };
        Some(
            Problem::new("this host has joined before")
                .cause(cause)
                .next("keadm reset edge, then join again"),
        )
    }
}
fn key_and_csr(_: &str) -> Result<(Vec<u8>, String), String> {
    Err(String::new())
}
fn pem(_: &str, _: &[u8]) -> String {
    String::new()
}
