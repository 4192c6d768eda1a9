//! The administrator's kubeconfig.

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;

use crate::pki::{Authority, PkiError, Subject};

pub(super) fn admin(authority: &Authority, server: &str) -> Result<String, PkiError> {
    let subject = Subject { name: "kubernetes-admin".to_owned(), groups: vec!["system:masters".to_owned()] };
    let issued = authority.issue_client(&subject)?;
    Ok(format!(
        "apiVersion: v1
kind: Config
clusters:
- name: skerry
  cluster:
    server: {server}
    certificate-authority-data: {}
users:
- name: kubernetes-admin
  user:
    client-certificate-data: {}
    client-key-data: {}
contexts:
- name: kubernetes-admin@skerry
  context:
    cluster: skerry
    user: kubernetes-admin
current-context: kubernetes-admin@skerry
",
        BASE64.encode(authority.pem()),
        BASE64.encode(&issued.certificate),
        BASE64.encode(&issued.key),
    ))
}
