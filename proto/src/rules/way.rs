//! A rule that makes sense: from where to where.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::topic::Topic;
use crate::pki::NodeName;

/// Why something is no rule, in words for whoever wrote it.
pub type Reason = String;

/// `spec` of a Rule.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RuleSpec {
    /// The RuleEndpoint, in the same namespace, from which messages come.
    pub source: String,
    /// What of it.
    pub source_resource: BTreeMap<String, String>,
    /// The RuleEndpoint to which messages go.
    pub target: String,
    /// What of it.
    pub target_resource: BTreeMap<String, String>,
}

/// The kind of a RuleEndpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EndpointType {
    /// HTTP in the cloud.
    Rest,
    /// MQTT on a node.
    EventBus,
    /// HTTP on a node.
    ServiceBus,
}

/// `spec` of a RuleEndpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Endpoint {
    /// Its kind.
    pub rule_endpoint_type: EndpointType,
    /// `service_port` of a servicebus.
    #[serde(default)]
    pub properties: BTreeMap<String, String>,
}

/// From where messages come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum From {
    /// The REST port of the cloud, below this path. `{x}` stands for one segment.
    Rest {
        /// Segments of the path, without the node and the namespace.
        path: Vec<String>,
    },
    /// MQTT on a node.
    EventBus {
        /// The node.
        node: NodeName,
        /// The filter, without the namespace.
        topic: Topic,
    },
    /// A program on a node, through ServiceBus.
    ServiceBus {
        /// The node.
        node: NodeName,
        /// What the program says it calls.
        url: String,
    },
}

/// Where messages go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum To {
    /// A URL that the cloud posts to.
    Rest {
        /// The URL.
        url: String,
    },
    /// MQTT on the node that the caller names.
    EventBus {
        /// The topic, to which what follows the rule's path is added.
        topic: Topic,
    },
    /// A program on the node that the caller names.
    ServiceBus {
        /// Its port on the node's loopback.
        port: u16,
        /// The path, to which what follows the rule's path is added.
        path: String,
    },
}

/// A rule that makes sense.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Way {
    /// From where.
    pub from: From,
    /// Where to.
    pub to: To,
}

// === impl EndpointType ===

impl EndpointType {
    /// The word in the API.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Rest => "rest",
            Self::EventBus => "eventbus",
            Self::ServiceBus => "servicebus",
        }
    }
}

// === impl Endpoint ===

impl Endpoint {
    /// Checks what a schema cannot.
    ///
    /// # Errors
    /// If a servicebus has no port that can be called.
    pub fn check(&self) -> Result<(), Reason> {
        if self.rule_endpoint_type == EndpointType::ServiceBus {
            self.port()?;
        }
        Ok(())
    }

    fn port(&self) -> Result<u16, Reason> {
        let text = self.properties.get("service_port").ok_or_else(|| {
            "\"service_port\" property missed in property when ruleEndpoint is \"servicebus\"".to_owned()
        })?;
        text.parse().ok().filter(|port| *port != 0).ok_or_else(|| {
            format!("properties.service_port: {text:?} is no port; write a number from 1 to 65535")
        })
    }
}

// === impl Way ===

impl Way {
    /// What a rule between these endpoints means.
    ///
    /// # Errors
    /// If it means nothing; the words are for its author.
    pub fn of(spec: &RuleSpec, source: &Endpoint, target: &Endpoint) -> Result<Self, Reason> {
        use EndpointType::{EventBus, Rest, ServiceBus};
        let from = Self::from(spec, source.rule_endpoint_type)?;
        let to = Self::to(spec, target)?;
        match (source.rule_endpoint_type, target.rule_endpoint_type) {
            (Rest, EventBus | ServiceBus) | (EventBus | ServiceBus, Rest) => Ok(Self { from, to }),
            (source, target) => Err(format!(
                "the rule which is from source ruleEndpoint type {} to target ruleEndpoint type {} is not validate ",
                source.as_str(),
                target.as_str()
            )),
        }
    }

    fn from(spec: &RuleSpec, kind: EndpointType) -> Result<From, Reason> {
        let missed = |property: &str| {
            format!("{property:?} property missed in sourceResource when ruleEndpoint is {:?}", kind.as_str())
        };
        let need = |property: &str| spec.source_resource.get(property).ok_or_else(|| missed(property));
        let node = |text: &String| -> Result<NodeName, Reason> {
            text.parse().map_err(|error| format!("sourceResource.node_name: {error}"))
        };
        match kind {
            EndpointType::Rest => Ok(From::Rest { path: segments(need("path")?)? }),
            EndpointType::EventBus => {
                let (topic, name) = (need("topic")?, need("node_name")?);
                let topic =
                    Topic::to_subscribe(topic).map_err(|error| format!("sourceResource.topic: {error}"))?;
                Ok(From::EventBus { node: node(name)?, topic })
            }
            EndpointType::ServiceBus => {
                let (url, name) = (need("target_url")?, need("node_name")?);
                if url.is_empty() {
                    return Err(
                        "sourceResource.target_url: it is empty; write what programs will call".into()
                    );
                }
                Ok(From::ServiceBus { node: node(name)?, url: url.clone() })
            }
        }
    }

    fn to(spec: &RuleSpec, target: &Endpoint) -> Result<To, Reason> {
        let kind = target.rule_endpoint_type;
        let need = |property: &str| {
            spec.target_resource.get(property).ok_or_else(|| {
                format!(
                    "{property:?} property missed in targetResource when ruleEndpoint is {:?}",
                    kind.as_str()
                )
            })
        };
        match kind {
            EndpointType::Rest => {
                let url = need("resource")?;
                let web = url.strip_prefix("http://").or_else(|| url.strip_prefix("https://"));
                if web.is_none_or(|rest| rest.is_empty() || rest.starts_with('/')) {
                    return Err(format!(
                        "targetResource.resource: {url:?} is no URL like http://host:port/path"
                    ));
                }
                Ok(To::Rest { url: url.clone() })
            }
            EndpointType::EventBus => {
                let topic = Topic::to_publish(need("topic")?)
                    .map_err(|error| format!("targetResource.topic: {error}"))?;
                Ok(To::EventBus { topic })
            }
            EndpointType::ServiceBus => {
                let path = need("path")?;
                if !path.starts_with('/') || path.contains(':') {
                    return Err(format!(
                        "targetResource.path: {path:?} must begin with / and may not have a colon in it"
                    ));
                }
                Ok(To::ServiceBus { port: target.port()?, path: path.clone() })
            }
        }
    }
}

impl From {
    /// KubeEdge's words if two rules of one namespace would take the same messages. `other` is the other rule's name.
    #[must_use]
    pub fn clash(&self, with: &Self, namespace: &str, other: &str) -> Option<Reason> {
        if self != with {
            return None;
        }
        let exist = format!("source properties exist in Rule {namespace}/{other}.");
        Some(match self {
            Self::Rest { path } => format!("{exist} Path: {}", path.join("/")),
            Self::EventBus { node, topic } => format!("{exist} Node_name: {node}, topic: {topic}"),
            Self::ServiceBus { node, url } => format!("{exist} Node_name: {node}, target_url: {url}"),
        })
    }

    /// The node that has to do something for messages to come, if it is a certain one.
    #[must_use]
    pub fn node(&self) -> Option<&NodeName> {
        match self {
            Self::Rest { .. } => None,
            Self::EventBus { node, .. } | Self::ServiceBus { node, .. } => Some(node),
        }
    }
}

/// The path's segments. `/a//b/` and `a/b` are the same.
fn segments(path: &str) -> Result<Vec<String>, Reason> {
    let segments: Vec<String> =
        path.split('/').filter(|segment| !segment.is_empty()).map(ToOwned::to_owned).collect();
    if segments.is_empty() {
        return Err("sourceResource.path: it is empty; write the path below /<node>/<namespace>/".into());
    }
    if let Some(odd) = segments.iter().find(|segment| segment.contains(['?', '#'])) {
        return Err(format!("sourceResource.path: {odd:?} has a ? or # in it, which no path can have"));
    }
    Ok(segments)
}

#[cfg(test)]
mod tests;
