//! Which representation the client can read.

use http::{HeaderMap, header};

use super::Query;
use crate::status::Status;

const OFFERED: &[&str] = &["application/json", "application/yaml"];

/// How objects are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::apiserver) enum Representation {
    /// As they are.
    Object,
    /// Rows for people.
    Table,
    /// Metadata only; the list form too.
    Metadata,
    /// `APIGroupDiscoveryList`, in version v2 or v2beta1.
    Discovery(&'static str),
}

/// The negotiated answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::apiserver) struct Accept {
    pub(in crate::apiserver) representation: Representation,
    pub(in crate::apiserver) yaml: bool,
    pub(in crate::apiserver) pretty: bool,
}

impl Accept {
    pub(in crate::apiserver) fn json() -> Self {
        Self { representation: Representation::Object, yaml: false, pretty: false }
    }

    /// Takes the first alternative that we can produce, in the client's order.
    pub(in crate::apiserver) fn negotiate(headers: &HeaderMap, query: &Query) -> Result<Self, Status> {
        let agent = headers.get(header::USER_AGENT).and_then(|agent| agent.to_str().ok()).unwrap_or_default();
        let person = agent.starts_with("curl") || agent.starts_with("Mozilla") || agent.starts_with("Wget");
        let pretty = query.get("pretty").map_or(person, |_| query.flag("pretty"));
        let mut asked = false;
        for value in headers.get_all(header::ACCEPT) {
            for one in value.to_str().unwrap_or_default().split(',') {
                if one.trim().is_empty() {
                    continue;
                }
                asked = true;
                if let Some(found) = alternative(one) {
                    return Ok(Self { pretty, ..found });
                }
            }
        }
        if asked { Err(Status::not_acceptable(OFFERED)) } else { Ok(Self { pretty, ..Self::json() }) }
    }
}

fn alternative(text: &str) -> Option<Accept> {
    let mut parts = text.split(';').map(str::trim);
    let yaml = match parts.next()? {
        "application/json" | "application/*" | "*/*" => false,
        "application/yaml" => true,
        _ => return None,
    };
    let (mut shown_as, mut group, mut version) = ("", "", "");
    for part in parts {
        match part.split_once('=') {
            Some(("as", value)) => shown_as = value,
            Some(("g", value)) => group = value,
            Some(("v", value)) => version = value,
            _ => {}
        }
    }
    let representation = match (shown_as, group, version) {
        ("", _, _) => Representation::Object,
        ("Table", "meta.k8s.io", "v1") => Representation::Table,
        ("PartialObjectMetadata" | "PartialObjectMetadataList", "meta.k8s.io", "v1") => {
            Representation::Metadata
        }
        ("APIGroupDiscoveryList", "apidiscovery.k8s.io", "v2") => Representation::Discovery("v2"),
        ("APIGroupDiscoveryList", "apidiscovery.k8s.io", "v2beta1") => Representation::Discovery("v2beta1"),
        _ => return None,
    };
    Some(Accept { representation, yaml, pretty: false })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn negotiated(accept: &str) -> Result<Representation, Status> {
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT, accept.parse().unwrap());
        Accept::negotiate(&headers, &Query::default()).map(|accept| accept.representation)
    }

    #[test]
    fn the_clients_order_decides_among_what_we_have() {
        assert_eq!(
            negotiated(
                "application/json;as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json"
            ),
            Ok(Representation::Table)
        );
        assert_eq!(
            negotiated("application/vnd.kubernetes.protobuf,application/json"),
            Ok(Representation::Object)
        );
        assert_eq!(
            negotiated(
                "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json"
            ),
            Ok(Representation::Discovery("v2"))
        );
        assert_eq!(
            negotiated("application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"),
            Ok(Representation::Metadata)
        );
        assert_eq!(negotiated("application/json, */*"), Ok(Representation::Object));
        assert!(negotiated("text/html").is_err());
    }

    proptest! {
        #[test]
        fn any_header_is_negotiated_without_a_panic(text in "[ -~]{0,80}") {
            let _ = negotiated(&text);
        }
    }
}
