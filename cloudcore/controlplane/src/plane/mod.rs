//! The control plane as cloudcore holds it: opened, asked for a client, run, shut down.
//!
//! Owns the order in which things come up: lock and load the store, keys, registry, what a cluster begins with, then the port. May
//! call everything of the crate. Called by cloudcore.

mod inprocess;
mod kubeconfig;
mod listener;
mod stall;
mod tls;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tasks::TaskSet;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::apiserver::{Api, Parts, Service};
use crate::audit::{AuditConfig, AuditError, AuditLog};
use crate::encryption::{EncryptionError, Rules};
use crate::housekeeping;
use crate::pki::{Pki, PkiError, SecretKeys};
use crate::registry::Registry;
use crate::status::Status;
use crate::store::{self, Cipher, Loaded};

/// How long open requests and tasks may take to end.
const GRACE: Duration = Duration::from_secs(5);

/// What a control plane is made from.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where the state is: `controlplane.db` and `pki`.
    pub data_dir: PathBuf,
    /// Where to listen.
    pub address: std::net::IpAddr,
    /// On which port; 0 takes a free one.
    pub port: u16,
    /// Names and addresses beside the usual ones under which clients may call the server.
    pub names: Vec<String>,
    /// Custom resource definitions that every cluster has.
    pub crds: Vec<Value>,
    /// Whether secrets are encrypted on disk.
    pub encrypt_secrets: bool,
    /// An `EncryptionConfiguration`, which says it in kube-apiserver's way, and of any resource.
    pub encryption: Option<PathBuf>,
    /// Where every request is written down; nowhere when there is none.
    pub audit: Option<AuditConfig>,
}

/// The control plane could not be opened or run.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The data directory.
    #[error("cannot use the data directory {path}: {source}; check its owner and permissions")]
    Directory {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The store.
    #[error(transparent)]
    Store(#[from] store::OpenError),
    /// Keys and certificates.
    #[error(transparent)]
    Pki(#[from] PkiError),
    /// TLS.
    #[error("cannot set up TLS for the API: {0}")]
    Tls(String),
    /// The encryption configuration.
    #[error(transparent)]
    Encryption(#[from] EncryptionError),
    /// The audit log.
    #[error(transparent)]
    Audit(#[from] AuditError),
    /// The port.
    #[error(
        "cannot listen on {address}: {source}; stop what uses the port, or set modules.controlPlane.port to another one"
    )]
    Listen {
        /// Where.
        address: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
    /// What every cluster begins with could not be written.
    #[error("cannot furnish the cluster: {0}")]
    Bootstrap(#[from] Status),
}

/// An open control plane. It listens already; [`ControlPlane::run`] answers.
pub struct ControlPlane {
    api: Arc<Api>,
    pki: Arc<Pki>,
    tasks: TaskSet,
    /// Ends after everything that it tells about.
    scribe: TaskSet,
    listener: TcpListener,
    address: SocketAddr,
    names: Vec<String>,
}

impl std::fmt::Debug for ControlPlane {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ControlPlane").field("address", &self.address).finish_non_exhaustive()
    }
}

impl ControlPlane {
    /// Opens the state, makes what is missing, and takes the port. [`ControlPlane::client`] works from here on.
    ///
    /// # Errors
    /// When the state is in use, damaged or unreadable, or the port is taken; the text says what to do.
    pub async fn open(config: Config) -> Result<Self, OpenError> {
        let Config { data_dir, address, port, names, crds, encrypt_secrets, encryption, audit } = config;
        let asked = SocketAddr::new(address, port);
        // The port first: two control planes on one machine should not get as far as the state.
        let taken = |source| OpenError::Listen { address: asked, source };
        let listener = TcpListener::bind(asked).await.map_err(taken)?;
        let address = listener.local_addr().map_err(taken)?;
        let made = tokio::fs::DirBuilder::new().recursive(true).mode(0o700).create(&data_dir).await;
        made.map_err(|source| OpenError::Directory { path: data_dir.clone(), source })?;
        let tasks = TaskSet::new("controlplane");
        let scribe = TaskSet::new("audit");
        let audit = match audit {
            Some(audit) => Some(AuditLog::open(audit, &scribe).await?),
            None => None,
        };
        let file = store::Config::new(data_dir.join(proto::backup::STORE_FILE));
        let pki = data_dir.join("pki");
        let keys = SecretKeys::load(&pki, encrypt_secrets)?;
        let mut cipher = Cipher::new(&keys.keys, encrypt_secrets, &keys.path);
        if let Some(path) = &encryption {
            cipher = cipher.ruled(Rules::read(path)?, path);
        }
        let loaded = Loaded::load(file, cipher).await?;
        let pki = Arc::new(Pki::open(&pki)?);
        // A new key is on disk before the first secret needs it, and never in the place of one that is missed.
        keys.save()?;
        let store = loaded.start(&tasks).await?;
        let parts = Parts {
            store,
            registry: Registry::new(),
            token_key: pki.token_key.clone(),
            earlier_token_keys: pki.earlier_token_keys.clone(),
            static_tokens: pki.static_tokens.clone(),
            ca: pki.authority.pem().to_owned(),
            audit,
            shutdown: tasks.token(),
        };
        let wrong_key =
            || OpenError::Tls("a key of service account tokens (pki/sa*.key) is not a P-256 key".to_owned());
        let api = Api::new(parts).ok_or_else(wrong_key)?;
        housekeeping::bootstrap(&api, housekeeping::advertised(address, &names).await, &crds).await?;
        housekeeping::start(&api, &pki, address.port(), &tasks);
        let names = tls::names(names, address);
        Ok(Self { api, pki, tasks, scribe, listener, address, names })
    }

    /// Where the server listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// A client without a socket, with all rights. Cheap; must be called within a tokio runtime.
    pub fn client(&self) -> kube::Client {
        inprocess::client(Service(Arc::clone(&self.api)))
    }

    /// The CA with which clients verify the server, PEM.
    pub fn ca(&self) -> &str {
        self.pki.authority.pem()
    }

    /// A kubeconfig with a new administrator's certificate, good for a year. `server` is the URL under which its user reaches the API.
    ///
    /// # Errors
    /// When the certificate cannot be made.
    pub fn admin_kubeconfig(&self, server: &str) -> Result<String, PkiError> {
        kubeconfig::admin(&self.pki.authority, server)
    }

    /// Serves until `token` is cancelled, then ends connections, watches and tasks, and closes the store.
    ///
    /// # Errors
    /// When TLS cannot be set up.
    pub async fn run(self, token: CancellationToken) -> Result<(), OpenError> {
        let Self { api, pki, tasks, scribe, listener, address, names } = self;
        let tls = tls::Tls::new(Arc::clone(&pki), names).map_err(OpenError::Tls)?;
        tasks.spawn("certificate", tasks::Restart::on_failure(), {
            let tls = tls.clone();
            move |token| tls::renew(tls.clone(), token)
        });
        tracing::info!(%address, "the control plane serves");
        let connections = tasks.child("connections");
        listener::serve(listener, tls, Service(Arc::clone(&api)), &connections, token).await;
        // Watches end first, or their connections would have to be cut.
        tasks.cancel();
        let report = connections.shutdown(GRACE).await;
        drop(api);
        let rest = tasks.shutdown(GRACE).await;
        let last = scribe.shutdown(GRACE).await;
        if !(report.is_clean() && rest.is_clean() && last.is_clean()) {
            tracing::warn!(?report, ?rest, ?last, "some tasks of the control plane had to be stopped");
        }
        Ok(())
    }
}
