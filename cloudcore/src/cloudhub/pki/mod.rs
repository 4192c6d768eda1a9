//! The identity of this cloud: CA, server certificate, join token.
//!
//! Owns: the three Secrets in namespace `kubeedge`, which are the one truth, so that an existing KubeEdge installation
//! is adopted and several cloudcores share one CA. Files named by the configuration are taken over when there is no
//! Secret yet. May call: the Kubernetes API. Called by: the wiring at start; the servers, for their TLS.

mod secrets;
mod server;

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use kube::Client;
use proto::config::CloudHub;
use proto::pki::{Authority, Identity, JoinToken, PkiError, ServerNames};
use rustls::ServerConfig;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::kubeapi::{Failure, is_passing};
use secrets::{Kept, Secrets};
use server::ServerCertificate;

/// How often the server certificate and the token are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(600);

/// This cloud's identity. Cheap to clone.
#[derive(Clone)]
pub struct Pki {
    authority: Arc<Authority>,
    server: Arc<ServerCertificate>,
    names: ServerNames,
    token_refresh: Duration,
    secrets: Secrets,
}

/// The identity could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// The API refused.
    #[error("Secret kubeedge/{secret} cannot be {action}: {}", status.message)]
    Api {
        /// Which Secret.
        secret: &'static str,
        /// `read` or `written`.
        action: &'static str,
        /// In the API's words.
        status: Failure,
    },
    /// A Secret or file holds what cannot be used.
    #[error(transparent)]
    Pki(#[from] PkiError),
    /// A Secret lacks a key.
    #[error(
        "Secret kubeedge/{secret} has no key {key}: restore it, or delete the Secret to have a new one made"
    )]
    MissingKey {
        /// Which Secret.
        secret: &'static str,
        /// Which key of its data.
        key: &'static str,
    },
    /// rustls refuses the certificates.
    #[error("TLS cannot be set up: {0}")]
    Tls(String),
}

// === impl SetupError ===

impl SetupError {
    /// Whether trying again can help: the API is not reachable yet.
    #[must_use]
    pub fn is_passing(&self) -> bool {
        matches!(self, Self::Api { status, .. } if is_passing(status))
    }
}

// === impl Pki ===

impl Pki {
    /// Reads the identity from the Secrets, or makes it.
    ///
    /// # Errors
    /// If the API cannot be reached (see [`SetupError::is_passing`]) or what is there cannot be used.
    pub async fn set_up(client: Client, config: &CloudHub) -> Result<Self, SetupError> {
        let secrets = Secrets::new(client);
        secrets.ensure_namespace().await?;
        let authority = Arc::new(authority(&secrets, config).await?);
        let names = ServerNames {
            dns: config.dns_names.iter().filter(|name| !name.is_empty()).cloned().collect(),
            ips: config.advertise_address.iter().copied().collect(),
        };
        let identity = server_identity(&secrets, &authority, &names, config).await?;
        let server = Arc::new(ServerCertificate::new(&identity)?);
        let token_refresh = Duration::from_secs(u64::from(config.token_refresh_duration.max(1)) * 3600);
        let pki = Self { authority, server, names, token_refresh, secrets };
        pki.refresh_token().await?;
        Ok(pki)
    }

    /// The CA.
    #[must_use]
    pub fn authority(&self) -> &Arc<Authority> {
        &self.authority
    }

    /// SHA-256 of the CA certificate, in hexadecimal: the first part of every join token.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        self.authority.fingerprint().iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// TLS for a listener. With `required`, a client without a certificate of this CA does not get in; otherwise it is
    /// asked for one, and one that it shows must be this CA's.
    ///
    /// # Errors
    /// If rustls refuses the CA.
    pub fn tls(&self, required: bool) -> Result<Arc<ServerConfig>, SetupError> {
        server::config(&self.authority, self.server.clone(), required)
    }

    /// Keeps token and server certificate fresh until cancelled.
    ///
    /// # Errors
    /// Never; failures are logged and tried again.
    pub async fn keep_fresh(&self, stop: CancellationToken) -> Result<(), Infallible> {
        loop {
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
            if let Err(error) = self.refresh_token().await {
                warn!("the join token could not be renewed, trying again: {error}");
            }
            if let Err(error) = self.renew_server().await {
                warn!("the server certificate could not be renewed, trying again: {error}");
            }
        }
    }

    /// Mints a token if there is none that outlives the next refresh.
    async fn refresh_token(&self) -> Result<(), SetupError> {
        let now = Timestamp::now();
        let current = self.secrets.read(Kept::Token).await?;
        let current = current.and_then(|data| String::from_utf8(data.get("tokendata")?.clone()).ok());
        let current = current.and_then(|text| text.parse::<JoinToken>().ok());
        let lasts = |token: &JoinToken| {
            let refresh = i64::try_from(self.token_refresh.as_secs()).unwrap_or(i64::MAX);
            let fresh = token
                .claims()
                .is_ok_and(|claims| claims.exp - now.as_second() > refresh && claims.node.is_none());
            fresh && token.check_ca(self.authority.certificate()).is_ok()
        };
        if current.as_ref().is_some_and(lasts) {
            return Ok(());
        }
        let token = self.authority.mint_token(self.token_refresh * 2, None, now);
        self.secrets.write(Kept::Token, [("tokendata", token.to_string().into_bytes())].into()).await?;
        info!(
            "a new join token is in Secret kubeedge/tokensecret; it is valid for {} h",
            self.token_refresh.as_secs() / 1800
        );
        Ok(())
    }

    async fn renew_server(&self) -> Result<(), SetupError> {
        let now = Timestamp::now();
        if self.authority.serves(&self.server.identity(), &self.names, now) {
            return Ok(());
        }
        let identity = self.authority.issue_server(&self.names, now)?;
        self.secrets.write(Kept::Server, server_data(&identity)).await?;
        self.server.replace(&identity)?;
        info!("the server certificate was renewed");
        Ok(())
    }
}

/// Secret, then files, then a new one. Whoever writes the Secret first wins, so two cloudcores that start together end
/// up with one CA.
async fn authority(secrets: &Secrets, config: &CloudHub) -> Result<Authority, SetupError> {
    let from_files = Identity::load(&config.tls_ca_file, &config.tls_ca_key_file)?;
    if let Some(data) = secrets.read(Kept::Authority).await? {
        let authority = authority_of(&data)?;
        if from_files.is_some_and(|files| files.certificate != *authority.certificate()) {
            warn!(
                "{} is another CA than Secret kubeedge/casecret: the Secret counts",
                config.tls_ca_file.display()
            );
        }
        return Ok(authority);
    }
    let made = match from_files {
        Some(files) => Authority::from_parts(files.certificate.to_vec(), &files.key.sec1_der())?,
        None => Authority::generate(Timestamp::now())?,
    };
    let data = [("cadata", made.certificate().to_vec()), ("cakeydata", made.key().sec1_der())].into();
    if secrets.create(Kept::Authority, data).await? {
        return Ok(made);
    }
    let data = secrets.read(Kept::Authority).await?.unwrap_or_default();
    authority_of(&data)
}

fn authority_of(data: &secrets::Data) -> Result<Authority, SetupError> {
    let field = |key| data.get(key).ok_or(SetupError::MissingKey { secret: "casecret", key });
    Ok(Authority::from_parts(field("cadata")?.clone(), field("cakeydata")?)?)
}

/// The server's certificate: kept if it serves all names, made anew otherwise. The CA stays.
async fn server_identity(
    secrets: &Secrets,
    authority: &Authority,
    names: &ServerNames,
    config: &CloudHub,
) -> Result<Identity, SetupError> {
    let now = Timestamp::now();
    if let Some(files) = Identity::load(&config.tls_cert_file, &config.tls_private_key_file)?
        && authority.serves(&files, names, now)
    {
        return Ok(files);
    }
    let kept = secrets.read(Kept::Server).await?;
    let kept =
        kept.and_then(|data| server::identity_of(data.get("cloudcoredata")?, data.get("cloudcorekeydata")?));
    if let Some(identity) = kept.filter(|identity| authority.serves(identity, names, now)) {
        return Ok(identity);
    }
    let identity = authority.issue_server(names, now)?;
    secrets.write(Kept::Server, server_data(&identity)).await?;
    info!("a server certificate for the configured addresses and names was issued");
    Ok(identity)
}

fn server_data(identity: &Identity) -> std::collections::BTreeMap<&'static str, Vec<u8>> {
    [("cloudcoredata", identity.certificate.to_vec()), ("cloudcorekeydata", identity.key.sec1_der())].into()
}
