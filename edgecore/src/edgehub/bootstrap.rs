//! How this node gets its certificate: the CA checked against the token's hash, then a certificate for a fresh key.

use std::path::Path;

use bytes::Bytes;
use jiff::{SignedDuration, Timestamp};
use proto::pki::{self, Identity, JoinToken, NodeRequest, PkiError, TokenError, pem_certificate};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use tracing::{info, warn};

use super::failure::LinkError;
use super::tls::{self, TlsError};
use super::{Settings, http};

/// Clocks that differ by more than this make certificates and tokens fail.
const SKEW: SignedDuration = SignedDuration::from_mins(5);
/// Larger files hold no certificate and no token.
const FILE_LIMIT: u64 = 64 << 10;

/// The CA that this node trusts and the certificate that proves its name.
#[derive(Debug, Clone)]
pub(super) struct Credentials {
    pub(super) ca: CertificateDer<'static>,
    pub(super) identity: Identity,
}

/// Why this node has no certificate.
#[derive(Debug, thiserror::Error)]
pub enum BootstrapError {
    /// Neither certificate nor token.
    #[error(
        "this node has no certificate ({reason}) and no join token: get one with `keadm gettoken` on the cloud host and write it to {file}, or set edgeHub.token"
    )]
    NoToken {
        /// What is wrong with the certificate.
        reason: String,
        /// Where a token may be put.
        file: String,
    },
    /// The token is of no use.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// Tokens and certificates cannot be judged with this clock.
    #[error(
        "this machine's clock is {minutes} minutes {direction} the cloud's: set the clock (or start an NTP client), then it goes on by itself"
    )]
    ClockSkew {
        /// By how much.
        minutes: i64,
        /// `behind` or `ahead of`.
        direction: &'static str,
    },
    /// The cloud does not take the token.
    #[error("the cloud does not accept the join token: {0}")]
    TokenRefused(String),
    /// The name belongs to another.
    #[error("the cloud does not let this node be {node}: {reason}")]
    NameTaken {
        /// The name.
        node: String,
        /// The cloud's words.
        reason: String,
    },
    /// The certificate service cannot be reached or does something else.
    #[error("{0}")]
    Link(#[from] LinkError),
    /// Keys, certificates and their files.
    #[error(transparent)]
    Pki(#[from] PkiError),
    /// The certificates do not fit TLS.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

/// What the files hold, if it proves this node and has not expired; else why not.
pub(super) fn load(settings: &Settings) -> Result<Credentials, String> {
    let Some(identity) =
        Identity::load(&settings.cert_file, &settings.key_file).map_err(|error| error.to_string())?
    else {
        return Err(format!("{} does not exist", settings.cert_file.display()));
    };
    let proven = pki::peer_node(&identity.certificate).map_err(|error| error.to_string())?;
    if proven != settings.node {
        return Err(format!("{} is for {proven}, not for {}", settings.cert_file.display(), settings.node));
    }
    let validity = identity.validity().map_err(|error| error.to_string())?;
    if Timestamp::now() > validity.not_after {
        return Err(format!("{} expired at {}", settings.cert_file.display(), validity.not_after));
    }
    let ca =
        read(&settings.ca_file).ok_or_else(|| format!("{} cannot be read", settings.ca_file.display()))?;
    let ca = CertificateDer::from_pem_slice(ca.as_bytes())
        .map_err(|error| format!("{} is no certificate: {error}", settings.ca_file.display()))?;
    Ok(Credentials { ca, identity })
}

/// Gets a certificate with the token, if there is one. `reason` says why the files do not do.
pub(super) async fn join(settings: &Settings, reason: String) -> Result<Credentials, BootstrapError> {
    let Some(token) = token(settings) else {
        let file = settings.bootstrap_file.display().to_string();
        return Err(BootstrapError::NoToken { reason, file });
    };
    info!(node = %settings.node, server = %settings.https, "no usable certificate ({reason}): asking for one with the join token");
    let token: JoinToken = token.parse()?;
    let answer = http::get(
        &settings.https,
        tls::trusting_anyone()?,
        "/ca.crt",
        &[],
        Bytes::new(),
        settings.handshake_timeout,
    )
    .await?;
    expect_ok(settings, &answer)?;
    token.check_ca(&answer.body)?;
    let ca = CertificateDer::from(answer.body.to_vec());
    let skew = answer.skew.unwrap_or_default();
    check_time(&token, skew)?;

    let request = NodeRequest::new(&settings.node)?;
    let bearer = format!("Bearer {}", token.bearer());
    let headers = [("nodename", settings.node.as_str()), ("authorization", bearer.as_str())];
    let csr = Bytes::from(request.csr.clone());
    let answer = http::get(
        &settings.https,
        tls::trusting(&ca, None)?,
        "/edge.crt",
        &headers,
        csr,
        settings.handshake_timeout,
    )
    .await
    .map_err(|error| blame_clock(error, skew))?;
    match answer.status {
        401 => {
            let hint = "get a new one with `keadm gettoken` on the cloud host";
            return Err(BootstrapError::TokenRefused(advised(&answer.body, hint)));
        }
        409 => {
            let node = settings.node.to_string();
            let hint = "choose another name in edged.hostnameOverride, or remove the old node with kubectl";
            return Err(BootstrapError::NameTaken { node, reason: advised(&answer.body, hint) });
        }
        _ => expect_ok(settings, &answer)?,
    }
    let identity = request.accept(&answer.body, &settings.node)?;
    pki::write_public(&settings.ca_file, pem_certificate(&ca).as_bytes())?;
    identity.store(&settings.cert_file, &settings.key_file)?;
    forget_token(settings);
    info!(node = %settings.node, certificate = %settings.cert_file.display(), "joined: the cloud issued this node's certificate");
    Ok(Credentials { ca, identity })
}

/// A new certificate, proven with the current one.
pub(super) async fn renew(settings: &Settings, current: &Credentials) -> Result<Credentials, BootstrapError> {
    let request = NodeRequest::new(&settings.node)?;
    let headers = [("nodename", settings.node.as_str())];
    let csr = Bytes::from(request.csr.clone());
    let tls = tls::trusting(&current.ca, Some(&current.identity))?;
    let answer =
        http::get(&settings.https, tls, "/edge.crt", &headers, csr, settings.handshake_timeout).await?;
    expect_ok(settings, &answer)?;
    let identity = request.accept(&answer.body, &settings.node)?;
    identity.store(&settings.cert_file, &settings.key_file)?;
    Ok(Credentials { ca: current.ca.clone(), identity })
}

/// Whether there is a token to join with.
pub(super) fn has_token(settings: &Settings) -> bool {
    token(settings).is_some()
}

/// The bootstrap file's token, else the configuration's.
fn token(settings: &Settings) -> Option<String> {
    let file = read(&settings.bootstrap_file).map(|text| text.trim().to_owned());
    let used = |token: &String| !token.is_empty();
    // Read anew at each attempt: somebody may put a fresh token there while we fail.
    file.filter(used).or_else(|| Some(settings.token.trim().to_owned()).filter(used))
}

fn read(path: &Path) -> Option<String> {
    let length = std::fs::metadata(path).ok()?.len();
    (length <= FILE_LIMIT).then(|| std::fs::read_to_string(path).ok()).flatten()
}

/// By the cloud's clock, where it is known: ours may be the one that is wrong.
fn check_time(token: &JoinToken, skew: SignedDuration) -> Result<(), BootstrapError> {
    let ends = Timestamp::from_second(token.claims()?.exp).unwrap_or(Timestamp::MAX);
    let there = Timestamp::now().saturating_add(skew).unwrap_or(Timestamp::MAX);
    if ends <= there {
        return Err(TokenError::Expired(ends).into());
    }
    Ok(())
}

/// A certificate that does not hold "now" means a wrong clock when the cloud's differs.
fn blame_clock(error: LinkError, skew: SignedDuration) -> BootstrapError {
    if matches!(error, LinkError::Clock { .. }) && skew.abs() > SKEW {
        let direction = if skew.is_positive() { "behind" } else { "ahead of" };
        return BootstrapError::ClockSkew { minutes: skew.abs().as_mins(), direction };
    }
    error.into()
}

fn expect_ok(settings: &Settings, answer: &http::Answer) -> Result<(), LinkError> {
    if answer.status == 200 {
        return Ok(());
    }
    Err(LinkError::Refused {
        at: settings.https.to_string(),
        status: answer.status,
        reason: text(&answer.body),
    })
}

fn text(body: &[u8]) -> String {
    String::from_utf8_lossy(body).trim().chars().take(300).collect()
}

/// The cloud's words; Skerry's say what to do, KubeEdge's do not.
fn advised(body: &[u8], hint: &str) -> String {
    let words = text(body);
    if words.contains("keadm") { words } else { format!("{words}; {hint}") }
}

/// A token must not lie around once it has done its work. Failing at that does not undo the join.
fn forget_token(settings: &Settings) {
    match std::fs::remove_file(&settings.bootstrap_file) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            warn!(file = %settings.bootstrap_file.display(), "cannot remove the used join token: {error}");
        }
        _ => {}
    }
    let token = settings.token.trim();
    let Some(path) = settings.config_file.as_ref().filter(|_| !token.is_empty()) else { return };
    if let Err(error) = blank(path, token) {
        warn!(file = %path.display(), "cannot remove the used join token from the configuration: {error}");
    }
}

/// Blanks the token's value and leaves everything else, comments too, as it is.
fn blank(path: &Path, token: &str) -> std::io::Result<()> {
    let text = std::fs::read_to_string(path)?;
    let lines = text.split_inclusive('\n').map(|line| {
        let is_token = line.trim_start().to_ascii_lowercase().starts_with("token:") && line.contains(token);
        if !is_token {
            return line.to_owned();
        }
        let key = line.split_inclusive(':').next().unwrap_or("token:");
        format!("{key} \"\"{}", if line.ends_with('\n') { "\n" } else { "" })
    });
    let blanked: String = lines.collect();
    if blanked == text {
        return Ok(());
    }
    let permissions = std::fs::metadata(path)?.permissions();
    let temporary = path.with_extension("yaml.new");
    std::fs::write(&temporary, blanked)?;
    std::fs::set_permissions(&temporary, permissions)?;
    std::fs::rename(&temporary, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_tokens_line_changes_when_it_is_removed() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("edgecore.yaml");
        std::fs::write(&path, "modules:\n  edgeHub: # the link\n    token: abc.def\n    heartbeat: 15\n")
            .unwrap();
        blank(&path, "abc.def").unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(text, "modules:\n  edgeHub: # the link\n    token: \"\"\n    heartbeat: 15\n");
    }
}
