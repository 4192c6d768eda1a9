//! The API over HTTP: verbs, watch, authentication, content negotiation. One [`Api`] serves TLS clients and, without a socket, the
//! `kube::Client` of this process; neither can tell the other from itself.
//!
//! May call: everything else of the crate. Called by: `plane` (which opens and serves it) and `housekeeping`.
//!
//! A request runs through [`serve`] (limits, who, what, whether; a [`trail`] of it for the audit log), then one file of `verbs` or `subresources`, which put objects
//! through the rules in [`objects`].

mod admission;
pub mod auth;
mod call;
mod contention;
mod deletion;
mod documents;
mod hooks;
mod http;
mod limits;
pub(crate) mod metadata;
pub(crate) mod objects;
mod openapi;
mod removal;
mod serve;
mod show;
mod snapshot;
mod subresources;
mod told;
mod trail;
mod verbs;
mod write;

pub(crate) use admission::{API_SERVICE, usage};
pub(crate) use call::Target;
pub(crate) use deletion::{CRD_FINALIZER, Deletion, Propagation};
pub(crate) use serve::Service;
pub(crate) use trail::Source;
pub(crate) use write::Write;

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tokio_util::sync::CancellationToken;

use crate::audit::AuditLog;
use crate::registry::Registry;
use crate::status::Status;
use crate::store::{Collection, ObjectId, Store, WriteError};

/// What the API is made of.
pub(crate) struct Parts {
    pub(crate) store: Store,
    pub(crate) registry: Registry,
    /// PKCS#8 of the key that signs service account tokens.
    pub(crate) token_key: Vec<u8>,
    /// PKCS#8 of keys that signed earlier; their tokens are still good.
    pub(crate) earlier_token_keys: Vec<Vec<u8>>,
    /// Text of `tokens.csv`.
    pub(crate) static_tokens: String,
    /// The CA that clients should trust, PEM.
    pub(crate) ca: String,
    /// Where every request is told.
    pub(crate) audit: Option<AuditLog>,
    /// Ends all watches.
    pub(crate) shutdown: CancellationToken,
}

/// The API. Shared by all connections.
pub(crate) struct Api {
    pub(crate) store: Store,
    pub(crate) registry: Registry,
    pub(crate) ca: String,
    audit: Option<Arc<AuditLog>>,
    tokens: auth::Tokens,
    limits: limits::Limits,
    shutdown: CancellationToken,
    /// One snapshot at a time: each takes as much space as the store.
    snapshots: Arc<tokio::sync::Semaphore>,
    /// CRDs are taken into the registry one at a time, each from its newest state.
    pub(crate) crds: tokio::sync::Mutex<()>,
    /// Objects that a quota counts are created one at a time.
    quotas: tokio::sync::Mutex<()>,
    /// Services get addresses and node ports one at a time.
    services: tokio::sync::Mutex<()>,
    /// Those who write to one object try again one at a time.
    contention: contention::Contention,
    /// Who is asked about writes.
    registrations: hooks::Registrations,
}

impl Api {
    /// None when a token key is not a P-256 key.
    pub(crate) fn new(parts: Parts) -> Option<Arc<Self>> {
        let Parts { store, registry, token_key, earlier_token_keys, static_tokens, ca, audit, shutdown } =
            parts;
        let objects = store.clone();
        let alive = move |token: &auth::Verified| is_alive(&objects, token);
        let tokens = auth::Tokens::new(&token_key, &earlier_token_keys, &static_tokens, Box::new(alive))?;
        Some(Arc::new(Self {
            store,
            registry,
            ca,
            audit: audit.map(Arc::new),
            tokens,
            limits: limits::Limits::default(),
            shutdown,
            snapshots: Arc::new(tokio::sync::Semaphore::new(1)),
            crds: tokio::sync::Mutex::default(),
            quotas: tokio::sync::Mutex::default(),
            services: tokio::sync::Mutex::default(),
            contention: contention::Contention::default(),
            registrations: hooks::Registrations::default(),
        }))
    }
}

impl Api {
    /// A token without an end for the service account of this name and uid, which the secret of this name is to hold.
    pub(crate) fn account_token(
        &self,
        namespace: &str,
        account: (&str, &str),
        secret: &str,
    ) -> Option<String> {
        let (name, uid) = account;
        let account = auth::Named { name: name.to_owned(), uid: uid.to_owned() };
        self.tokens.issue_legacy(namespace, &account, secret)
    }
}

/// Whether what a token speaks for is still there, and is the same.
fn is_alive(store: &Store, token: &auth::Verified) -> bool {
    let object = |plural: &str, namespace: &str, name: &str| {
        Some(store.get(&ObjectId::new(&Collection::new("", plural), namespace, name))?.value())
    };
    let there = |plural: &str, namespace: &str, named: &auth::Named| {
        object(plural, namespace, &named.name).is_some_and(|object| object["metadata"]["uid"] == *named.uid)
    };
    let namespace = token.namespace.as_str();
    there("serviceaccounts", namespace, &token.account)
        && match &token.bound {
            None => true,
            Some(auth::Bound::Pod(pod, _)) => there("pods", namespace, pod),
            Some(auth::Bound::Secret(secret)) => there("secrets", namespace, secret),
            Some(auth::Bound::Node(node)) => there("nodes", "", node),
            Some(auth::Bound::Legacy { secret, token }) => object("secrets", namespace, secret)
                .is_some_and(|secret| secret["data"]["token"] == STANDARD.encode(token)),
        }
}

/// Reads the query of a request as a list would: for fuzzing.
pub fn read_query(text: &str) {
    verbs::read_query(&http::Query::parse(text));
}

/// What a failed write means to a client.
fn write_failure(target: &Target, error: &WriteError) -> Status {
    let (group, plural, name) = (&target.resource.group, &target.resource.plural, &target.name);
    match error {
        WriteError::AlreadyExists => Status::already_exists(group, plural, name),
        WriteError::NotFound => Status::not_found(group, plural, name),
        WriteError::Conflict { .. } => Status::modified(group, plural, name),
        WriteError::Malformed => Status::bad_request(error.to_string()),
        WriteError::Disk(_) => Status::internal(error),
        WriteError::Closed => {
            Status::new(crate::status::Reason::ServiceUnavailable, "the server is shutting down")
                .retry_after(1)
        }
    }
}
