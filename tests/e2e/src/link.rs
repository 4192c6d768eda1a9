use std::{net::SocketAddr, sync::Arc};

use anyhow::Result;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::watch,
};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

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

/// A TCP relay on loopback that stands for the network between an edge node and its cloud.
#[derive(Debug)]
pub struct Link {
    address: SocketAddr,
    fault: watch::Sender<Fault>,
    _accept: AbortOnDropHandle<()>,
}

impl Link {
    /// Listens on a free port of loopback and relays to `target`.
    ///
    /// # Errors
    /// When no port can be bound.
    pub async fn to(target: SocketAddr) -> Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        let (fault, seen) = watch::channel(Fault::None);
        let accept = AbortOnDropHandle::new(accept(listener, target, seen));
        Ok(Self { address, fault, _accept: accept })
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

/// The relay belongs to the [`Link`] that holds its handle; its connections end with it.
#[allow(clippy::disallowed_methods)]
fn accept(
    listener: TcpListener,
    target: SocketAddr,
    fault: watch::Receiver<Fault>,
) -> tokio::task::JoinHandle<()> {
    tokio::spawn(async move {
        let end = CancellationToken::new();
        let _guard = end.clone().drop_guard();
        let end = Arc::new(end);
        while let Ok((inbound, _)) = listener.accept().await {
            if *fault.borrow() == Fault::Refuse {
                drop(inbound);
                continue;
            }
            let (fault, end) = (fault.clone(), Arc::clone(&end));
            tokio::spawn(async move {
                tokio::select! {
                    () = end.cancelled() => {}
                    _ = relay(inbound, target, fault) => {}
                }
            });
        }
    })
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
