//! Where a service can be reached from here.
//!
//! By its endpoints, not by its cluster address: nothing forwards that on the machine of the control plane.

use std::net::IpAddr;

use serde_json::Value;

use crate::apiserver::Api;
use crate::apiserver::admission::{all, one};
use crate::schema::Json;

/// One of the addresses behind a port of a service, as `HOST:PORT`; in Kubernetes' words why there is none.
pub(super) fn endpoint(api: &Api, namespace: &str, name: &str, port: i64) -> Result<String, String> {
    let service =
        one(api, "", "services", namespace, name).ok_or_else(|| format!("service \"{name}\" not found"))?;
    if service.text("/spec/type") == "ExternalName" {
        return Ok(format!("{}:{port}", service.text("/spec/externalName")));
    }
    let ports = service.list("/spec/ports");
    let wanted = ports.iter().find(|one| one.int("/port") == Some(port));
    let wanted = wanted.ok_or_else(|| format!("no service port {port} found for service \"{name}\""))?;
    let mut found = Vec::new();
    for (_, slice) in all(api, "discovery.k8s.io", "endpointslices", Some(namespace)) {
        if slice["metadata"]["labels"]["kubernetes.io/service-name"] == name {
            found.extend(addresses(&slice, wanted.text("/name")));
        }
    }
    if found.is_empty() {
        return Err(format!("no endpoints available for service \"{name}\""));
    }
    Ok(found.swap_remove(fastrand::usize(..found.len())))
}

fn addresses(slice: &Value, port: &str) -> Vec<String> {
    let ports = slice.list("/ports").iter().filter(|one| one.text("/name") == port);
    let numbers: Vec<i64> = ports.filter_map(|one| one.int("/port")).collect();
    let ready = slice.list("/endpoints").iter().filter(|one| one["conditions"]["ready"] != false);
    let hosts = ready.filter_map(|one| one.list("/addresses").first()?.as_str());
    hosts.flat_map(|host| numbers.iter().map(move |number| join(host, *number))).collect()
}

fn join(host: &str, port: i64) -> String {
    match host.parse::<IpAddr>() {
        Ok(IpAddr::V6(address)) => format!("[{address}]:{port}"),
        _ => format!("{host}:{port}"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_ready_endpoints_of_the_port_count() {
        let slice = json!({
            "ports": [{"name": "https", "port": 8443}, {"name": "metrics", "port": 9090}],
            "endpoints": [
                {"addresses": ["10.0.0.1"], "conditions": {"ready": true}},
                {"addresses": ["10.0.0.2"], "conditions": {"ready": false}},
                {"addresses": ["fd00::3"]},
            ],
        });
        assert_eq!(addresses(&slice, "https"), ["10.0.0.1:8443", "[fd00::3]:8443"]);
        assert!(addresses(&slice, "other").is_empty());
    }
}
