use std::net::{IpAddr, Ipv4Addr, UdpSocket};

/// The address that other machines reach this one at: the source address of the default route, else the first
/// address of an interface that is not loopback, else loopback. Sends nothing.
pub(crate) fn primary_address() -> IpAddr {
    routed_address().or_else(interface_address).unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST))
}

fn routed_address() -> Option<IpAddr> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).ok()?;
    // Connecting a datagram socket only looks up the route; the address is one reserved for documentation.
    socket.connect((Ipv4Addr::new(192, 0, 2, 1), 9)).ok()?;
    let address = socket.local_addr().ok()?.ip();
    (!address.is_unspecified() && !address.is_loopback()).then_some(address)
}

fn interface_address() -> Option<IpAddr> {
    nix::ifaddrs::getifaddrs().ok()?.find_map(|interface| {
        let address = interface.address?.as_sockaddr_in()?.ip();
        (!address.is_loopback() && !address.is_link_local()).then_some(IpAddr::V4(address))
    })
}

/// The host's name, lower-cased as Kubernetes wants node names.
pub(crate) fn host_name() -> Option<String> {
    let name = nix::unistd::gethostname().ok()?.into_string().ok()?;
    let name = name.trim().to_lowercase();
    (!name.is_empty()).then_some(name)
}
