//! Addresses of services.

use serde_json::{Value, json};

use super::{Api, Target};
use crate::status::{FieldError, Status};
use crate::store::{Collection, ListQuery};

/// Services get their addresses from 10.96.0.0/16, but for the first, which is the API's.
pub(crate) const API_SERVICE: &str = "10.96.0.1";

/// A manifest that leaves the address out does not mean to change it.
pub(super) fn keep_address(old: &Value, new: &mut Value) {
    for key in ["clusterIP", "clusterIPs"] {
        if new["spec"].get(key).is_none_or(Value::is_null) && new["spec"]["type"] != "ExternalName" {
            new["spec"][key] = old["spec"][key].clone();
        }
    }
}

/// Gives a new service its address, or checks the one that it asks for.
pub(super) fn cluster_ip(api: &Api, target: &Target, service: &mut Value) -> Result<(), Status> {
    let Some(spec) = service["spec"].as_object_mut() else { return Ok(()) };
    if spec.get("type").is_some_and(|kind| kind == "ExternalName") {
        return Ok(());
    }
    let asked = spec.get("clusterIP").and_then(Value::as_str).unwrap_or_default().to_owned();
    let services = Collection::new("", "services");
    let query = ListQuery { collection: &services, namespace: None, at: None, after: None, limit: 0 };
    let taken = |address: &str| {
        let selector =
            crate::selector::FieldSelector::parse(&format!("spec.clusterIP={address}"), "services");
        let Ok(selector) = selector else { return true };
        api.store
            .list(&query, |object| selector.matches(&object.index))
            .is_ok_and(|page| !page.objects.is_empty())
    };
    let address = match asked.as_str() {
        "None" => asked,
        "" => {
            let random = || format!("10.96.{}.{}", fastrand::u8(1..), fastrand::u8(1..255));
            let free = std::iter::repeat_with(random).take(64).find(|address| !taken(address));
            free.ok_or_else(|| Status::internal("no free cluster IP in 10.96.0.0/16"))?
        }
        _ if asked.parse::<std::net::IpAddr>().is_err() => {
            let wrong = FieldError::invalid(
                "spec.clusterIP",
                &json!(asked),
                "must be empty, 'None', or a valid IP address",
            );
            return Err(Status::invalid("", "Service", &target.name, &[wrong]));
        }
        _ if taken(&asked) => {
            let wrong = FieldError::invalid(
                "spec.clusterIPs",
                &json!([asked]),
                &format!("failed to allocate IP {asked}: provided IP is already allocated"),
            );
            return Err(Status::invalid("", "Service", &target.name, &[wrong]));
        }
        _ => asked,
    };
    spec.insert("clusterIP".to_owned(), json!(address));
    spec.insert("clusterIPs".to_owned(), json!([address]));
    Ok(())
}
