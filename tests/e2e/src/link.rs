use std::net::SocketAddr;

use anyhow::Result;
use tokio::runtime::Runtime;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::watch,
};

/// What the link does to the bytes that cross it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Bytes pass.
    None,
    /// Open connections are reset and new ones are refused at once.
    Refuse,
    /// Connections stay open and new ones are accepted, but nothing arrives any more, as behind a dead router.
    Silence,
}

/// A TCP relay on loopback that stands for the network between an edge node and its cloud. It has a thread of its
/// own: a test that waits for a program must not stop the network.
#[derive(Debug)]
pub struct Link {
    address: SocketAddr,
    fault: watch::Sender<Fault>,
    runtime: Option<Runtime>,
}

impl Link {
    /// Listens on a free port of loopback and relays to `target`.
    ///
    /// # Errors
    /// When no port can be bound.
    pub fn to(target: SocketAddr) -> Result<Self> {
        let socket = std::net::TcpListener::bind(("127.0.0.1", 0))?;
        socket.set_nonblocking(true)?;
        let address = socket.local_addr()?;
        let (fault, seen) = watch::channel(Fault::None);
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        runtime.spawn(async move {
            // A socket that was bound a moment ago can be registered; if not, every connection shows it.
            if let Ok(listener) = TcpListener::from_std(socket) {
                accept(listener, target, seen).await;
            }
        });
        Ok(Self { address, fault, runtime: Some(runtime) })
    }

    /// Where to connect to.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Breaks or heals the link, for open connections too.
    pub fn set(&self, fault: Fault) {
        self.fault.send_replace(fault);
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// The relay's tasks belong to the link's runtime and end with it.
#[allow(clippy::disallowed_methods)]
async fn accept(listener: TcpListener, target: SocketAddr, fault: watch::Receiver<Fault>) {
    while let Ok((inbound, _)) = listener.accept().await {
        if *fault.borrow() != Fault::Refuse {
            tokio::spawn(relay(inbound, target, fault.clone()));
        }
    }
}

async fn relay(inbound: TcpStream, target: SocketAddr, fault: watch::Receiver<Fault>) -> Result<()> {
    inbound.set_nodelay(true)?;
    let outbound = TcpStream::connect(target).await?;
    outbound.set_nodelay(true)?;
    let (from_edge, to_edge) = inbound.into_split();
    let (from_cloud, to_cloud) = outbound.into_split();
    let mut refused = fault.clone();
    tokio::select! {
        done = pump(from_edge, to_cloud, fault.clone()) => done,
        done = pump(from_cloud, to_edge, fault) => done,
        _ = refused.wait_for(|fault| *fault == Fault::Refuse) => Ok(()),
    }
}

async fn pump(
    mut from: tokio::net::tcp::OwnedReadHalf,
    mut to: tokio::net::tcp::OwnedWriteHalf,
    mut fault: watch::Receiver<Fault>,
) -> Result<()> {
    let mut buffer = vec![0; 16 * 1024];
    loop {
        let read = from.read(&mut buffer).await?;
        fault.wait_for(|fault| *fault != Fault::Silence).await?;
        if read == 0 {
            return Ok(());
        }
        to.write_all(&buffer[..read]).await?;
    }
}
