//! URLs (`url`, `isURL`, `getHost`, ...) and addresses (`isIP`, `ip`, `isCIDR`, `cidr`, `containsIP`, ...).

use std::any::Any;
use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use cel::common::types::{CelBool, CelInt, CelString, Type};
use cel::common::value::{CowVal, StaticVal, Val};
use cel::{Env, ExecutionError, Value as Cel};

use super::{Registered, made};

/// Gives a Rust type a name in the language.
macro_rules! opaque {
    ($rust:ident($inner:ty), $cel:ident, $name:literal) => {
        static $cel: std::sync::LazyLock<Type> = std::sync::LazyLock::new(|| Type::new_opaque_type($name));

        #[derive(Clone, Debug, PartialEq)]
        struct $rust($inner);

        impl Val for $rust {
            fn get_type(&self) -> &Type {
                &$cel
            }

            fn cel_type() -> &'static Type {
                &$cel
            }

            fn equals(&self, other: &dyn Val) -> bool {
                other.downcast_ref::<$rust>().is_some_and(|other| other == self)
            }

            fn clone_as_boxed<'v>(&self) -> Box<dyn Val + 'v> {
                Box::new(self.clone())
            }

            fn as_any(&self) -> Option<&dyn Any> {
                Some(self)
            }
        }

        impl StaticVal for $rust {}
    };
}

opaque!(Url(url::Url), URL, "kubernetes.URL");
opaque!(Ip(IpAddr), IP, "net.IP");
opaque!(Cidr((IpAddr, u8)), CIDR, "net.CIDR");

pub(super) fn library(env: &mut Env) -> Registered {
    for known in [&URL, &IP, &CIDR] {
        env.add_type((**known).to_owned())?;
    }
    cel::add_overload!(env, fn url: (CelString<'_>) -> Result<Url>)?;
    cel::add_overload!(env, fn is_url: (CelString<'_>) -> CelBool, name = "isURL")?;
    cel::add_member_overload!(env, fn get_scheme: (Url) -> CelString<'static>)?;
    cel::add_member_overload!(env, fn get_host: (Url) -> CelString<'static>)?;
    cel::add_member_overload!(env, fn get_hostname: (Url) -> CelString<'static>)?;
    cel::add_member_overload!(env, fn get_port: (Url) -> CelString<'static>)?;
    cel::add_member_overload!(env, fn get_escaped_path: (Url) -> CelString<'static>)?;
    env.add_member_overload("getQuery", "url.getQuery()", (*URL).to_owned(), vec![], get_query)?;
    cel::add_overload!(env, fn ip: (CelString<'_>) -> Result<Ip>)?;
    cel::add_overload!(env, fn is_canonical: (CelString<'_>) -> Result<CelBool>, name = "ip.isCanonical")?;
    cel::add_member_overload!(env, fn is_global_unicast: (Ip) -> CelBool)?;
    cel::add_member_overload!(env, fn is_link_local_unicast: (Ip) -> CelBool)?;
    cel::add_member_overload!(env, fn is_link_local_multicast: (Ip) -> CelBool)?;
    cel::add_overload!(env, fn is_ip: (CelString<'_>) -> CelBool, name = "isIP")?;
    cel::add_member_overload!(env, fn family: (Ip) -> CelInt)?;
    cel::add_member_overload!(env, fn is_loopback: (Ip) -> CelBool)?;
    cel::add_member_overload!(env, fn is_unspecified: (Ip) -> CelBool)?;
    cel::add_overload!(env, fn cidr: (CelString<'_>) -> Result<Cidr>)?;
    cel::add_overload!(env, fn is_cidr: (CelString<'_>) -> CelBool, name = "isCIDR")?;
    cel::add_member_overload!(env, fn prefix_length: (Cidr) -> CelInt)?;
    cel::add_member_overload!(env, fn masked: (Cidr) -> Cidr)?;
    cel::add_member_overload!(env, fn address: (Cidr) -> Ip, name = "ip")?;
    cel::add_member_overload!(env, fn contains_cidr: (Cidr, Cidr) -> CelBool, name = "containsCIDR")?;
    cel::add_member_overload!(env, fn contains_cidr_text: (Cidr, CelString<'_>) -> Result<CelBool>, name = "containsCIDR")?;
    cel::add_member_overload!(env, fn contains_ip: (Cidr, Ip) -> CelBool, name = "containsIP")?;
    cel::add_member_overload!(env, fn contains_text: (Cidr, CelString<'_>) -> Result<CelBool>, name = "containsIP")?;
    Ok(())
}

fn parse_url(text: &str) -> Result<url::Url, ExecutionError> {
    url::Url::parse(text).map_err(|error| {
        ExecutionError::function_error(
            "url",
            format!("URL parse error during conversion from string: {error}"),
        )
    })
}

fn url(text: &CelString<'_>) -> Result<Url, ExecutionError> {
    parse_url(text.inner()).map(Url)
}

fn is_url(text: &CelString<'_>) -> CelBool {
    CelBool::from(parse_url(text.inner()).is_ok())
}

fn get_scheme(url: &Url) -> CelString<'static> {
    CelString::from(url.0.scheme().to_owned())
}

fn get_host(url: &Url) -> CelString<'static> {
    let host = url.0.host_str().unwrap_or_default();
    CelString::from(url.0.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}")))
}

fn get_hostname(url: &Url) -> CelString<'static> {
    CelString::from(url.0.host_str().unwrap_or_default().trim_matches(['[', ']']).to_owned())
}

fn get_port(url: &Url) -> CelString<'static> {
    CelString::from(url.0.port().map(|port| port.to_string()).unwrap_or_default())
}

fn get_escaped_path(url: &Url) -> CelString<'static> {
    CelString::from(url.0.path().to_owned())
}

fn get_query<'b, 'v>(arguments: Vec<CowVal<'b, 'v>>) -> Result<CowVal<'b, 'v>, ExecutionError> {
    let url = arguments.first().and_then(|url| url.as_ref().downcast_ref::<Url>());
    let url = url.ok_or(ExecutionError::MissingArgumentOrTarget)?;
    let mut query: HashMap<String, Vec<String>> = HashMap::new();
    for (key, value) in url.0.query_pairs() {
        query.entry(key.into_owned()).or_default().push(value.into_owned());
    }
    made(Cel::from(query))
}

fn parse_ip(text: &str) -> Result<IpAddr, ExecutionError> {
    text.parse().map_err(|_| {
        ExecutionError::function_error(
            "ip",
            format!("IP Address {text:?} parse error during conversion from string"),
        )
    })
}

fn ip(text: &CelString<'_>) -> Result<Ip, ExecutionError> {
    parse_ip(text.inner()).map(Ip)
}

fn is_ip(text: &CelString<'_>) -> CelBool {
    CelBool::from(parse_ip(text.inner()).is_ok())
}

fn is_canonical(text: &CelString<'_>) -> Result<CelBool, ExecutionError> {
    Ok(CelBool::from(parse_ip(text.inner())?.to_string() == text.inner()))
}

/// As Go's `net/netip` has it: what is not one of the others.
fn is_global_unicast(ip: &Ip) -> CelBool {
    let is_broadcast = ip.0 == IpAddr::V4(Ipv4Addr::BROADCAST);
    let is_special = is_broadcast || ip.0.is_unspecified() || ip.0.is_loopback() || ip.0.is_multicast();
    CelBool::from(!is_special && !is_link_local(ip.0))
}

fn is_link_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.is_link_local(),
        IpAddr::V6(address) => address.is_unicast_link_local(),
    }
}

fn is_link_local_unicast(ip: &Ip) -> CelBool {
    CelBool::from(is_link_local(ip.0))
}

fn is_link_local_multicast(ip: &Ip) -> CelBool {
    CelBool::from(match ip.0 {
        IpAddr::V4(address) => address.octets().starts_with(&[224, 0, 0]),
        IpAddr::V6(address) => address.segments()[0] & 0xff0f == 0xff02,
    })
}

fn family(ip: &Ip) -> CelInt {
    CelInt::from(if ip.0.is_ipv4() { 4 } else { 6 })
}

fn is_loopback(ip: &Ip) -> CelBool {
    CelBool::from(ip.0.is_loopback())
}

fn is_unspecified(ip: &Ip) -> CelBool {
    CelBool::from(ip.0.is_unspecified())
}

fn parse_cidr(text: &str) -> Option<(IpAddr, u8)> {
    let (address, length) = text.split_once('/')?;
    let address: IpAddr = address.parse().ok()?;
    let length: u8 = length.parse().ok()?;
    (length <= if address.is_ipv4() { 32 } else { 128 }).then_some((address, length))
}

fn cidr(text: &CelString<'_>) -> Result<Cidr, ExecutionError> {
    let text = text.inner();
    parse_cidr(text).map(Cidr).ok_or_else(|| {
        ExecutionError::function_error(
            "cidr",
            format!("network address parse error during conversion from string: {text:?}"),
        )
    })
}

fn is_cidr(text: &CelString<'_>) -> CelBool {
    CelBool::from(parse_cidr(text.inner()).is_some())
}

fn prefix_length(cidr: &Cidr) -> CelInt {
    CelInt::from(i64::from(cidr.0.1))
}

/// The bits of an address from the left, and how many an address of its kind has.
fn bits(address: IpAddr) -> (u128, u32) {
    match address {
        IpAddr::V4(address) => (u128::from(u32::from(address)) << 96, 32),
        IpAddr::V6(address) => (u128::from(address), 128),
    }
}

fn mask(length: u8) -> u128 {
    u128::MAX.checked_shl(128_u32.saturating_sub(u32::from(length))).unwrap_or(0)
}

fn masked(cidr: &Cidr) -> Cidr {
    let (address, length) = cidr.0;
    let (network, width) = bits(address);
    let network = network & mask(length);
    let address = if width == 32 {
        u32::try_from(network >> 96).map_or(address, |network| IpAddr::V4(Ipv4Addr::from(network)))
    } else {
        IpAddr::V6(Ipv6Addr::from(network))
    };
    Cidr((address, length))
}

fn address(cidr: &Cidr) -> Ip {
    Ip(cidr.0.0)
}

fn contains_ip(cidr: &Cidr, ip: &Ip) -> CelBool {
    let ((network, width), (address, other)) = (bits(cidr.0.0), bits(ip.0));
    let mask = mask(cidr.0.1);
    CelBool::from(width == other && network & mask == address & mask)
}

fn contains_cidr(cidr: &Cidr, other: &Cidr) -> CelBool {
    CelBool::from(*contains_ip(cidr, &Ip(other.0.0)).inner() && other.0.1 >= cidr.0.1)
}

fn contains_cidr_text(this: &Cidr, text: &CelString<'_>) -> Result<CelBool, ExecutionError> {
    Ok(contains_cidr(this, &cidr(text)?))
}

fn contains_text(cidr: &Cidr, text: &CelString<'_>) -> Result<CelBool, ExecutionError> {
    Ok(contains_ip(cidr, &ip(text)?))
}
