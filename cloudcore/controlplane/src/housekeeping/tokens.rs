//! Secrets of type `kubernetes.io/service-account-token`: filled with a token that lives as long as they do, and gone with their account.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::{all, place};
use crate::apiserver::objects::Part;
use crate::apiserver::{Api, Deletion, Target, Write};
use crate::schema::Json;
use crate::status::{Reason, Status};

const TYPE: &str = "kubernetes.io/service-account-token";
const NAME: &str = "kubernetes.io/service-account.name";
const UID: &str = "kubernetes.io/service-account.uid";

/// Fills what is empty and removes what has lost its account.
pub(super) async fn pass(api: &Api) {
    let Some(secrets) = place(api, "", "v1", "secrets", "", "") else { return };
    for (key, secret) in all(api, &secrets, None) {
        if secret["type"] != TYPE || !secret["metadata"]["deletionTimestamp"].is_null() {
            continue;
        }
        let target = Target { namespace: key.namespace.to_string(), ..secrets.named(&key.name) };
        if let Err(status) = settle(api, &target, &secret).await {
            tracing::warn!(
                secret = &*key.name,
                namespace = &*key.namespace,
                "cannot settle a token yet: {status}"
            );
        }
    }
}

fn annotation<'a>(secret: &'a Value, key: &str) -> &'a str {
    secret["metadata"]["annotations"][key].as_str().unwrap_or_default()
}

async fn settle(api: &Api, target: &Target, secret: &Value) -> Result<(), Status> {
    let name = annotation(secret, NAME);
    let account = place(api, "", "v1", "serviceaccounts", &target.namespace, name)
        .and_then(|account| api.store.get(&account.id()))
        .map(|account| account.value());
    let uid = account.as_ref().map(|account| account.text("/metadata/uid"));
    let said = annotation(secret, UID);
    let done = match uid {
        Some(uid) if said.is_empty() || said == uid => {
            let full = ["token", "ca.crt", "namespace"].iter().all(|key| !secret["data"][*key].is_null());
            if full && said == uid {
                return Ok(());
            }
            let token = api.account_token(&target.namespace, (name, uid), &target.name);
            let token = token.ok_or_else(|| Status::internal("the token could not be signed"))?;
            let filled = |old: &Value| {
                let mut new = old.clone();
                new["metadata"]["annotations"][UID] = json!(uid);
                for (key, text) in [("token", &token), ("ca.crt", &api.ca), ("namespace", &target.namespace)]
                {
                    if new["data"][key].is_null() {
                        new["data"][key] = json!(STANDARD.encode(text));
                    }
                }
                Ok(new)
            };
            api.modify(target, Part::Main, &Write::by_server(), filled).await.map(drop)
        }
        _ => {
            let same = Deletion { uid: Some(secret.text("/metadata/uid").to_owned()), ..Deletion::default() };
            api.remove(target, &same).await.map(drop)
        }
    };
    match done {
        Err(status) if !matches!(status.reason, Reason::NotFound | Reason::Conflict) => Err(status),
        _ => Ok(()),
    }
}
