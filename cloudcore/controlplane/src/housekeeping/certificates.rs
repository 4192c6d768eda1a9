//! Signs approved requests for certificates with which clients log in here. Other signers' requests are left to them.
//!
//! Source: Kubernetes v1.36 `pkg/controller/certificates/signer`.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::{all, place};
use crate::apiserver::objects::Part;
use crate::apiserver::{Api, Write, metadata};
use crate::pki::{Authority, ClientRequest};
use crate::registry::requested_certificate;
use crate::schema::Json;
use crate::status::Reason;

const SIGNER: &str = "kubernetes.io/kube-apiserver-client";

/// Signs what was approved and has no certificate yet; what cannot be signed is told so.
pub(super) async fn pass(api: &Api, authority: &Authority) {
    let Some(requests) = place(api, "certificates.k8s.io", "v1", "certificatesigningrequests", "", "") else {
        return;
    };
    for (key, request) in all(api, &requests, None) {
        if !is_due(&request) {
            continue;
        }
        let signed = sign(authority, &request);
        let answered = |old: &Value| {
            let mut new = old.clone();
            if !is_due(old) {
                return Ok(new);
            }
            match &signed {
                Ok(pem) => new["status"]["certificate"] = json!(STANDARD.encode(pem)),
                Err(why) => fail(&mut new, why),
            }
            Ok(new)
        };
        let target = requests.named(&key.name);
        match api.modify(&target, Part::Status, &Write::by_server(), answered).await {
            Err(status) if !matches!(status.reason, Reason::NotFound | Reason::Conflict) => {
                tracing::warn!(
                    request = &*key.name,
                    "cannot answer a request for a certificate yet: {status}"
                );
            }
            _ => {}
        }
    }
}

fn is_due(request: &Value) -> bool {
    let has = |kind: &str| {
        let mut conditions = request.list("/status/conditions").iter();
        conditions.any(|one| one.text("/type") == kind && one.text("/status") == "True")
    };
    request.text("/spec/signerName") == SIGNER
        && request.text("/status/certificate").is_empty()
        && has("Approved")
        && !has("Denied")
        && !has("Failed")
}

fn fail(request: &mut Value, why: &str) {
    let now = metadata::now();
    let mut conditions = request.list("/status/conditions").to_vec();
    conditions.push(json!({
        "type": "Failed", "status": "True", "reason": "SignerValidationFailed", "message": why,
        "lastUpdateTime": now, "lastTransitionTime": now,
    }));
    request["status"]["conditions"] = json!(conditions);
}

fn sign(authority: &Authority, request: &Value) -> Result<String, String> {
    let (mut for_clients, mut encipherment, mut signature) = (false, false, false);
    for usage in request.list("/spec/usages").iter().filter_map(Value::as_str) {
        match usage {
            "client auth" => for_clients = true,
            "key encipherment" => encipherment = true,
            "digital signature" => signature = true,
            other => return Err(format!("invalid usage for client certificate: {other}")),
        }
    }
    if !for_clients {
        return Err("missing required usage for client certificate: client auth".to_owned());
    }
    let seconds = request.int("/spec/expirationSeconds").and_then(|seconds| u64::try_from(seconds).ok());
    let asked = ClientRequest {
        der: &requested_certificate(request)?,
        encipherment,
        signature,
        life: seconds.map(Duration::from_secs),
    };
    authority.answer(&asked).map_err(|error| error.to_string())
}
