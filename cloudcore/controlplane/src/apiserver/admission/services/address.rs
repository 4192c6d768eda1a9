//! Cluster addresses.

use std::net::{IpAddr, Ipv4Addr};

use serde_json::{Value, json};

use super::{Api, has_address, invalid};
use crate::schema::Json;
use crate::status::{FieldError, Status};
use crate::store::{Collection, ListQuery};

/// Services get their addresses from [`RANGE`], but for the first, which is the API's.
pub(crate) const API_SERVICE: &str = "10.96.0.1";
const RANGE: &str = "10.96.0.0/16";
/// How often an address is drawn that turns out to be taken.
const DRAWS: usize = 64;

/// Gives a service its address, or checks the one that it asks for.
pub(super) fn allocate(api: &Api, service: &mut Value) -> Result<(), Status> {
    if !has_address(service) {
        return Ok(());
    }
    let asked = [service.text("/spec/clusterIP"), service.text("/spec/clusterIPs/0")];
    let asked = asked.into_iter().find(|asked| !asked.is_empty()).unwrap_or_default().to_owned();
    let refuse = |why: &str| {
        let detail = format!("failed to allocate IP {asked}: {why}");
        Err(invalid(service, FieldError::invalid("spec.clusterIPs", &json!([asked]), &detail)))
    };
    let address = match (asked.as_str(), asked.parse::<IpAddr>()) {
        ("None", _) => asked,
        ("", _) => {
            // The first block is left to those who ask for an address of it.
            let random = || format!("10.96.{}.{}", fastrand::u8(1..), fastrand::u8(1..255));
            let free = std::iter::repeat_with(random).take(DRAWS).find(|address| !is_taken(api, address));
            free.ok_or_else(|| Status::internal("failed to allocate a serviceIP: range is full"))?
        }
        (_, Err(_)) => {
            let detail = "must be empty, 'None', or a valid IP address";
            return Err(invalid(service, FieldError::invalid("spec.clusterIP", &json!(asked), detail)));
        }
        (_, Ok(address)) if !is_in_range(address) => {
            return refuse(&format!(
                "the provided IP ({address}) is not in the valid range. The range of valid IPs is {RANGE}"
            ));
        }
        _ if is_taken(api, &asked) => return refuse("provided IP is already allocated"),
        _ => asked,
    };
    let Some(spec) = service["spec"].as_object_mut() else { return Ok(()) };
    spec.insert("clusterIP".to_owned(), json!(address));
    spec.insert("clusterIPs".to_owned(), json!([address]));
    Ok(())
}

/// The first and the last of the range are nobody's.
fn is_in_range(address: IpAddr) -> bool {
    let IpAddr::V4(address) = address else { return false };
    matches!(address.octets(), [10, 96, _, _])
        && address != Ipv4Addr::new(10, 96, 0, 0)
        && address != Ipv4Addr::new(10, 96, 255, 255)
}

fn is_taken(api: &Api, address: &str) -> bool {
    let services = Collection::new("", "services");
    let query = ListQuery { collection: &services, namespace: None, at: None, after: None, limit: 0 };
    let selector = crate::selector::FieldSelector::parse(&format!("spec.clusterIP={address}"), "services");
    let Ok(selector) = selector else { return true };
    api.store
        .list(&query, |object| selector.matches(&object.index))
        .is_ok_and(|page| !page.objects.is_empty())
}
