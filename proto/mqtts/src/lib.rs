//! TLS for MQTT clients: a socket in this process that leads to a broker over TLS.
//!
//! The client that we use has TLS only with crates that nobody maintains any more. It can speak over a unix socket, so it gets
//! one, in a directory that nobody else may enter, and what goes through it goes on over TLS.
//!
//! Owns: the socket, and connections to the broker. May call: rustls. Called by: edgecore, which is a client of an external broker,
//! and the mappers.

#![forbid(unsafe_code)]

mod trust;

use std::convert::Infallible;
use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustls_pki_types::ServerName;
use tasks::{Restart, TaskSet};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpStream, UnixListener, UnixStream};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

pub use trust::{Trust, TrustError};

/// How long a connection with its handshake may take.
const WITHIN: Duration = Duration::from_secs(10);
/// Connections at a time; a client has one, and another that is ending.
const MOST: usize = 4;

/// A broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broker {
    /// Its name, which its certificate must be for, or its address.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// Whom to trust, and who we are.
    pub trust: Trust,
}

/// The way to a broker. It ends when this is dropped.
pub struct Tunnel {
    directory: PathBuf,
    failure: Arc<Mutex<Option<String>>>,
    _tasks: TaskSet,
}

/// The way cannot be opened.
#[derive(Debug, thiserror::Error)]
#[error("{} cannot be made, which the way to the MQTT broker over TLS needs: {cause}", path.display())]
pub struct TunnelError {
    path: PathBuf,
    cause: io::Error,
}

/// Whether an address asks for TLS, by its scheme; `None` when it is none of MQTT over TCP or TLS.
#[must_use]
pub fn is_tls(scheme: &str) -> Option<bool> {
    match scheme {
        "tcp" | "mqtt" => Some(false),
        "ssl" | "tls" | "tcps" | "mqtts" => Some(true),
        _ => None,
    }
}

// === impl Tunnel ===

impl Tunnel {
    /// Opens the way. The socket is in `directory`, which is made, and taken over from a process that was killed.
    ///
    /// # Errors
    /// When the directory or the socket cannot be made.
    pub fn open(directory: &Path, broker: Broker) -> Result<Self, TunnelError> {
        let path = directory.join(SOCKET);
        let failed = |cause| TunnelError { path: path.clone(), cause };
        match fs::remove_dir_all(directory) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
            _ => {}
        }
        DirBuilder::new().mode(0o700).create(directory).map_err(failed)?;
        let listener = Arc::new(UnixListener::bind(&path).map_err(failed)?);
        let failure = Arc::new(Mutex::new(None));
        let tasks = TaskSet::new("mqtt-tls");
        let connections = Arc::new(tasks.child("connections"));
        let (broker, said) = (Arc::new(broker), Arc::clone(&failure));
        tasks.spawn("accept", Restart::on_failure(), move |stop| {
            let (listener, connections) = (Arc::clone(&listener), Arc::clone(&connections));
            let (broker, said) = (Arc::clone(&broker), Arc::clone(&said));
            async move {
                loop {
                    let client = tokio::select! {
                        () = stop.cancelled() => return Ok::<(), Infallible>(()),
                        accepted = listener.accept() => accepted,
                    };
                    let Ok((client, _)) = client else {
                        // Out of file descriptors, mostly: others must close first.
                        tokio::time::sleep(Duration::from_millis(100)).await;
                        continue;
                    };
                    if connections.running() >= MOST {
                        continue;
                    }
                    let (broker, said) = (Arc::clone(&broker), Arc::clone(&said));
                    connections.spawn_once("connection", move |stop| async move {
                        tokio::select! {
                            () = stop.cancelled() => {}
                            () = lead(client, &broker, &said) => {}
                        }
                    });
                }
            }
        });
        Ok(Self { directory: directory.to_owned(), failure, _tasks: tasks })
    }

    /// Opens the way with a directory of its own, below that for temporary files or, where there is none (in a container that has
    /// nothing but a program), in memory.
    ///
    /// # Errors
    /// When the directory or the socket cannot be made.
    pub fn open_temporary(broker: Broker) -> Result<Self, TunnelError> {
        static MADE: AtomicU64 = AtomicU64::new(0);
        let name = format!("mqtt-tls-{}-{}", std::process::id(), MADE.fetch_add(1, Ordering::Relaxed));
        let below = Some(std::env::temp_dir()).filter(|path| path.is_dir());
        Self::open(&below.unwrap_or_else(|| PathBuf::from("/dev/shm")).join(name), broker)
    }

    /// Where the client finds the broker.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.directory.join(SOCKET)
    }

    /// Why the last connection came to nothing or broke, if TLS or the network were it; the client only sees it closed.
    #[must_use]
    pub fn failure(&self) -> Option<String> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Tunnel {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.directory);
    }
}

const SOCKET: &str = "broker.sock";

/// The failure is said before the client sees its end.
async fn lead(mut client: UnixStream, broker: &Broker, said: &Mutex<Option<String>>) {
    let say = |what: Option<String>| *said.lock().unwrap_or_else(PoisonError::into_inner) = what;
    let late = || Err(format!("no answer within {} s", WITHIN.as_secs()));
    let Broker { host, port, .. } = broker;
    match timeout(WITHIN, connect(broker)).await.unwrap_or_else(|_| late()) {
        Err(why) => say(Some(format!("{host}:{port}: {why}"))),
        Ok(mut stream) => {
            say(None);
            // Brokers that want a certificate of ours say so only here.
            if let Err(error) = copy_bidirectional(&mut client, &mut stream).await {
                say(Some(format!("{host}:{port}: {}", broker.trust.explain(&error, host))));
            }
        }
    }
}

async fn connect(broker: &Broker) -> Result<TlsStream<TcpStream>, String> {
    let Broker { host, port, trust } = broker;
    // Read anew each time: files of certificates are exchanged while we run.
    let config = trust.config().map_err(|error| error.to_string())?;
    let name = ServerName::try_from(host.clone())
        .map_err(|_| "the host is neither a name nor an address; correct it".to_owned())?;
    let stream = TcpStream::connect((host.as_str(), *port)).await.map_err(|error| error.to_string())?;
    // An answer must not wait for a full segment.
    let _ = stream.set_nodelay(true);
    let connected = TlsConnector::from(Arc::new(config)).connect(name, stream).await;
    connected.map_err(|error| trust.explain(&error, host))
}
