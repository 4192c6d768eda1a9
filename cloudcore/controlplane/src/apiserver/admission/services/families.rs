//! Address families: the cluster's is IPv4. Pure.

use serde_json::{Value, json};

use super::has_address;
use crate::schema::Json;
use crate::status::FieldError;

/// What is wrong with the families that a service asks for.
pub(super) fn check(service: &Value) -> Result<(), FieldError> {
    let headless = service.text("/spec/clusterIP") == "None";
    // Whoever writes the endpoints himself may have them in any family.
    if !has_address(service)
        || headless && service.object("/spec/selector").is_none_or(serde_json::Map::is_empty)
    {
        return Ok(());
    }
    let (policy, families) = (service.text("/spec/ipFamilyPolicy"), service.list("/spec/ipFamilies"));
    if policy == "SingleStack" && families.len() > 1 {
        let detail =
            "must be 'RequireDualStack' or 'PreferDualStack' when multiple IP families are specified";
        return Err(FieldError::invalid("spec.ipFamilyPolicy", &json!(policy), detail));
    }
    if policy == "RequireDualStack" {
        let detail = "this cluster is not configured for dual-stack services";
        return Err(FieldError::invalid("spec.ipFamilyPolicy", &json!(policy), detail));
    }
    match families.iter().position(|family| family == "IPv6") {
        Some(index) => {
            let field = format!("spec.ipFamilies[{index}]");
            Err(FieldError::invalid(field, &json!("IPv6"), "not configured on this cluster"))
        }
        None => Ok(()),
    }
}
