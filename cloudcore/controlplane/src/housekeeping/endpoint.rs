//! Where the API itself answers: the endpoints of the service `kubernetes`, newly written at every start.
//!
//! Source: Kubernetes v1.36 `pkg/controlplane/reconcilers/endpointsadapter.go`.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use serde_json::{Value, json};
use tokio::net::UdpSocket;

use super::bootstrap::create;
use super::place;
use crate::apiserver::objects::Part;
use crate::apiserver::{Api, Write};
use crate::status::Status;

/// Any address that is not of this machine; nothing is sent to it (RFC 5737).
const ELSEWHERE: &str = "192.0.2.1:9";

/// The address at which others reach a server that listens at `address`: that one, or if it is none in particular, the first of `names`
/// that is an address, or the one with which this machine talks to others.
pub(crate) async fn advertised(address: SocketAddr, names: &[String]) -> SocketAddr {
    let named =
        || names.iter().filter_map(|name| name.parse::<IpAddr>().ok()).find(|name| !name.is_loopback());
    let ip = match address.ip() {
        bound if !bound.is_unspecified() => bound,
        _ => match named() {
            Some(named) => named,
            None => outgoing().await.unwrap_or(Ipv4Addr::LOCALHOST.into()),
        },
    };
    SocketAddr::new(ip, address.port())
}

async fn outgoing() -> Option<IpAddr> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).await.ok()?;
    socket.connect(ELSEWHERE).await.ok()?;
    socket.local_addr().ok().map(|address| address.ip()).filter(|ip| !ip.is_unspecified())
}

/// Says in the endpoints of `kubernetes` that the API is at `address`.
pub(super) async fn publish(api: &Api, address: SocketAddr) -> Result<(), Status> {
    let ip = address.ip().to_string();
    let family = if address.is_ipv6() { "IPv6" } else { "IPv4" };
    let ports = json!([{"name": "https", "port": address.port(), "protocol": "TCP"}]);
    let endpoints = json!({
        "apiVersion": "v1", "kind": "Endpoints",
        "metadata": {"name": "kubernetes", "labels": {"endpointslice.kubernetes.io/skip-mirror": "true"}},
        "subsets": [{"addresses": [{"ip": ip}], "ports": ports}],
    });
    let slice = json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
        "metadata": {"name": "kubernetes", "labels": {"kubernetes.io/service-name": "kubernetes"}},
        "addressType": family,
        "endpoints": [{"addresses": [ip], "conditions": {"ready": true}}],
        "ports": ports,
    });
    for (group, plural, object) in
        [("", "endpoints", endpoints), ("discovery.k8s.io", "endpointslices", slice)]
    {
        write(api, (group, "v1", plural), object).await?;
    }
    Ok(())
}

async fn write(api: &Api, kind: (&str, &str, &str), object: Value) -> Result<(), Status> {
    create(api, kind, "default", "kubernetes", object.clone()).await?;
    let (group, version, plural) = kind;
    let Some(target) = place(api, group, version, plural, "default", "kubernetes") else { return Ok(()) };
    let right = |old: &Value| {
        let mut new = old.clone();
        for field in ["subsets", "addressType", "endpoints", "ports"] {
            if let Some(value) = object.get(field) {
                new[field] = value.clone();
            }
        }
        Ok(new)
    };
    api.modify(&target, Part::Whole, &Write::by_server(), right).await.map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_server_that_listens_everywhere_names_the_first_address_that_it_was_given() {
        let everywhere: SocketAddr = "0.0.0.0:6443".parse().unwrap();
        let names = ["edge.example", "127.0.0.1", "198.51.100.7"].map(str::to_owned);
        assert_eq!(advertised(everywhere, &names).await.to_string(), "198.51.100.7:6443");
        let bound: SocketAddr = "127.0.0.1:6443".parse().unwrap();
        assert_eq!(advertised(bound, &names).await, bound);
        assert!(!advertised(everywhere, &[]).await.ip().is_unspecified());
    }
}
