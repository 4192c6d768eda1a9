use std::path::Path;

use proto::config::HostPort;
use proto::pki::{Identity, NodeName, NodeRequest, PkiError, peer_node, validity, write_public};
use rustls::pki_types::{CertificateDer, pem::PemObject};

use super::Token;
use crate::{
    cloud::{self, ConnectError, Trusted},
    layout::Layout,
    problem::Problem,
};

/// Asks cloudcore for this node's certificate, as KubeEdge's join does: the CA is known by its hash, the token
/// proves that somebody let this node in, and the answer must be for exactly the key and the name asked for.
pub(super) async fn request(
    https: &HostPort,
    ca: &CertificateDer<'static>,
    token: &Token,
    node: &NodeName,
) -> Result<Identity, Problem> {
    let what = format!("cloudcore does not issue a certificate for {node}");
    let asked = NodeRequest::new(node).map_err(|error| {
        Problem::new("a key for this node cannot be made").cause(error).next("report this")
    })?;
    let unreachable = |error: ConnectError| {
        Problem::new(what.clone())
            .cause(error)
            .next("run the command again; the checks before this one were fine")
    };
    let cloud = Trusted::new(https, ca, None).map_err(unreachable)?;
    let headers =
        vec![("authorization", format!("Bearer {}", token.bearer())), ("nodename", node.to_string())];
    let answer = cloud.get("/edge.crt", headers, asked.csr.clone()).await.map_err(unreachable)?;
    let text = String::from_utf8_lossy(&answer.body).trim().to_owned();
    match answer.status {
        200 => {}
        401 | 403 => {
            return Err(Problem::new(what)
                .cause(format!("it refuses the token: {text}"))
                .next(format!("run `keadm gettoken --node {node}` on cloudcore's host and use that token")));
        }
        status => {
            return Err(Problem::new(what)
                .cause(format!("it answers with status {status}: {text}"))
                .next("look into cloudcore's log"));
        }
    }
    asked
        .accept(&answer.body, node)
        .map_err(|error| Problem::new(what).cause(error).next("look into cloudcore's log"))
}

/// Writes the CA, the certificate and the key where edgecore reads them.
pub(super) fn store(
    layout: &Layout,
    ca: &CertificateDer<'static>,
    identity: &Identity,
) -> Result<(), Problem> {
    let pem = proto::pki::pem_certificate(ca);
    write_public(&layout.ca_certificate(), pem.as_bytes())
        .and_then(|()| identity.store(&layout.edge_certificate(), &layout.edge_key()))
        .map_err(|error| {
            Problem::new("the certificate cannot be stored")
                .cause(error)
                .next("free some disk space or repair the file system, then run the command again")
        })
}

/// cloudcore as the joined node sees it.
pub(super) fn trusted(layout: &Layout, https: &HostPort) -> Result<Trusted, Problem> {
    let broken = |path: &Path, error: &dyn std::fmt::Display| {
        Problem::new(format!("{} cannot be used", path.display()))
            .cause(error)
            .next("keadm reset edge, then join again")
    };
    let (ca, certificate) = (layout.ca_certificate(), layout.edge_certificate());
    let roots = CertificateDer::from_pem_file(&ca).map_err(|error| broken(&ca, &error))?;
    let identity = Identity::load(&certificate, &layout.edge_key())
        .and_then(|found| found.ok_or(PkiError::Mismatch { what: certificate.display().to_string() }))
        .map_err(|error| broken(&certificate, &error))?;
    let identity = cloud::Identity { certificate: identity.certificate, key: identity.key.rustls() };
    Trusted::new(https, &roots, Some(identity)).map_err(|error| broken(&certificate, &error))
}

/// What an earlier join left on this host.
#[derive(Debug)]
pub(super) struct Earlier {
    identity: Result<(NodeName, bool), PkiError>,
    has_config: bool,
}

/// The earlier join, if there is a certificate of one.
pub(super) fn earlier(layout: &Layout) -> Option<Earlier> {
    let found = Identity::load(&layout.edge_certificate(), &layout.edge_key()).transpose()?;
    let identity = found.and_then(|identity| {
        let node = peer_node(&identity.certificate)?;
        Ok((node, validity(&identity.certificate)?.expired(jiff::Timestamp::now())))
    });
    Some(Earlier { identity, has_config: layout.config("edgecore").exists() })
}

impl Earlier {
    /// Why this host cannot simply be started again as `node`.
    pub(super) fn problem(&self, node: &NodeName) -> Option<Problem> {
        let cause = match &self.identity {
            Err(error) => error.to_string(),
            Ok((own, _)) if own != node => format!("it has the certificate of node {own}"),
            Ok((_, true)) => "its certificate has expired".to_owned(),
            Ok(_) if !self.has_config => "it has a certificate, but edgecore.yaml is missing".to_owned(),
            Ok(_) => return None,
        };
        Some(
            Problem::new("this host has joined before")
                .cause(cause)
                .next("keadm reset edge, then join again"),
        )
    }
}
