//! Rules that need to see other objects, in the order of Kubernetes' admission chain.

use serde_json::{Value, json};

use super::{Api, Target, metadata};
use crate::status::{FieldError, Status};
use crate::store::{Collection, ListQuery, ObjectId};

/// These may not be deleted.
const PROTECTED: &[&str] = &["default", "kube-system", "kube-public"];
/// Services get their addresses from 10.96.0.0/16, but for the first, which is the API's.
pub(crate) const API_SERVICE: &str = "10.96.0.1";

/// A new object needs a namespace that is there to stay.
pub(super) fn namespace(api: &Api, target: &Target, object: &Value) -> Result<(), Status> {
    if !target.resource.namespaced {
        return Ok(());
    }
    let id = ObjectId::new(&Collection::new("", "namespaces"), "", &target.namespace);
    let Some(namespace) = api.store.get(&id) else {
        return Err(Status::not_found("", "namespaces", &target.namespace));
    };
    if !metadata::is_terminating(&namespace.value()) {
        return Ok(());
    }
    let why = format!(
        "unable to create new content in namespace {} because it is being terminated",
        target.namespace
    );
    let message = format!("namespace {} is being terminated", target.namespace);
    let name = metadata::text(object, "name");
    Err(Status::forbidden(&target.resource.group, &target.resource.plural, name, &why).with_cause(
        "NamespaceTerminating",
        &message,
        "metadata.namespace",
    ))
}

/// Fills in and checks what a new object takes from others.
pub(super) fn create(api: &Api, target: &Target, object: &mut Value) -> Result<(), Status> {
    if target.is_core("pods") {
        service_account(api, target, object)?;
    }
    if target.is_core("services") {
        cluster_ip(api, target, object)?;
    }
    Ok(())
}

/// The same for a changed object.
pub(super) fn update(_: &Api, target: &Target, old: &Value, new: &mut Value) -> Result<(), Status> {
    if target.is_core("services") {
        // A manifest that leaves the address out does not mean to change it.
        for key in ["clusterIP", "clusterIPs"] {
            if new["spec"].get(key).is_none_or(Value::is_null) && new["spec"]["type"] != "ExternalName" {
                new["spec"][key] = old["spec"][key].clone();
            }
        }
    }
    Ok(())
}

/// What may not go.
pub(super) fn remove(target: &Target) -> Result<(), Status> {
    if target.is_core("namespaces") && PROTECTED.contains(&target.name.as_str()) {
        return Err(Status::forbidden("", "namespaces", &target.name, "this namespace may not be deleted"));
    }
    Ok(())
}

fn service_account(api: &Api, target: &Target, pod: &mut Value) -> Result<(), Status> {
    if pod["metadata"]["annotations"].get("kubernetes.io/config.mirror").is_some() {
        return Ok(());
    }
    let named = |key: &str| pod["spec"][key].as_str().filter(|name| !name.is_empty()).map(str::to_owned);
    let name =
        named("serviceAccountName").or(named("serviceAccount")).unwrap_or_else(|| "default".to_owned());
    let id = ObjectId::new(&Collection::new("", "serviceaccounts"), &target.namespace, &name);
    let Some(account) = api.store.get(&id) else {
        let why = format!(
            "error looking up service account {}/{name}: serviceaccount \"{name}\" not found",
            target.namespace
        );
        return Err(Status::forbidden("", "pods", metadata::text(pod, "name"), &why));
    };
    let secrets = account.value()["imagePullSecrets"].clone();
    let Some(spec) = pod["spec"].as_object_mut() else { return Ok(()) };
    spec.insert("serviceAccountName".to_owned(), json!(name));
    spec.insert("serviceAccount".to_owned(), json!(name));
    if secrets.is_array() && spec.get("imagePullSecrets").is_none_or(Value::is_null) {
        spec.insert("imagePullSecrets".to_owned(), secrets);
    }
    Ok(())
}

fn cluster_ip(api: &Api, target: &Target, service: &mut Value) -> Result<(), Status> {
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
