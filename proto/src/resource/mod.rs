//! What a message is about: the resource string of the wire, parsed once.
//!
//! Owns: the grammar `<namespace>/<type>[/<name>]` and the whole-string forms beside it. Everything that
//! names an object across the link uses [`ObjectKey`]; nobody else splits these strings.

mod kind;
mod parse;

pub use kind::ResourceKind;
pub use parse::InvalidKey;

/// The resource of a route.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Resource {
    /// `<ns>/<type>/<name>`
    Object(ObjectKey),
    /// `<ns>/<type>`: all of a kind in a namespace; only queries and their answers may say it.
    Collection {
        /// `None` is `null` on the wire: cluster-scoped.
        namespace: Option<String>,
        /// The type.
        kind: ResourceKind,
    },
    /// `node`: the heartbeat.
    Node,
    /// `membership/detail`: which devices are mine?
    MembershipDetail,
    /// `membership`: devices come and go.
    Membership,
    /// `twin`: the cloud confirms a twin or state report.
    Twin,
    /// `device/<ns>/<name>/twin/edge_updated`: reported values go up.
    DeviceTwinUpdated {
        /// The device's namespace.
        namespace: String,
        /// The device's name.
        name: String,
    },
    /// `device/<ns>/<name>/twin/cloud_updated`: twins come down (KubeEdge 1.23 never sends it).
    DeviceTwinCloudUpdated {
        /// The device's namespace.
        namespace: String,
        /// The device's name.
        name: String,
    },
    /// `device/<ns>/<name>/state/update`: online, offline and the like go up.
    DeviceStateUpdate {
        /// The device's namespace.
        namespace: String,
        /// The device's name.
        name: String,
    },
    /// `mappers`: which mappers a node has, and whether they answer. Not of KubeEdge.
    Mappers,
    /// `seen`: when the node's devices were heard last. Not of KubeEdge.
    Seen,
    /// `k8s/ca.crt`: the cluster's CA.
    KubeCa,
    /// `operations.kubeedge.io/v1alpha2/<job type>/<job>/node/<node>`: one node's part of a job.
    Task {
        /// `nodeupgradejob`, `imageprepulljob` or `configupdatejob`.
        job_type: String,
        /// The job object's name.
        job: String,
        /// The node.
        node: String,
    },
    /// Anything else: topics and URLs of rules, MetaServer's words. Passed through.
    Other(Box<str>),
    /// The field is absent.
    None,
}

/// An object's name as both sides use it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectKey {
    /// `None` for cluster-scoped objects, `null` on the wire.
    pub namespace: Option<String>,
    /// The type segment.
    pub kind: ResourceKind,
    /// The object's name.
    pub name: String,
}

impl ObjectKey {
    /// The key of a namespaced object. Names are checked where they enter (API server, [`std::str::FromStr`]).
    pub fn namespaced(namespace: impl Into<String>, kind: ResourceKind, name: impl Into<String>) -> Self {
        Self { namespace: Some(namespace.into()), kind, name: name.into() }
    }

    /// The key of a cluster-scoped object.
    pub fn cluster(kind: ResourceKind, name: impl Into<String>) -> Self {
        Self { namespace: None, kind, name: name.into() }
    }

    /// The key of a node, `null/node/<name>`.
    pub fn node(name: impl Into<String>) -> Self {
        Self::cluster(ResourceKind::Node, name)
    }

    /// The same object under another type segment: the pod of a podpatch, the nodepatch of a node.
    pub fn with_kind(&self, kind: ResourceKind) -> Self {
        Self { kind, ..self.clone() }
    }
}

impl Resource {
    /// The object, if it is one.
    pub fn object(&self) -> Option<&ObjectKey> {
        match self {
            Self::Object(key) => Some(key),
            _ => None,
        }
    }

    /// The device, if the resource is about a device's twins or state.
    pub fn device(&self) -> Option<(&str, &str)> {
        match self {
            Self::DeviceTwinUpdated { namespace, name }
            | Self::DeviceTwinCloudUpdated { namespace, name }
            | Self::DeviceStateUpdate { namespace, name } => Some((namespace, name)),
            _ => None,
        }
    }
}

impl From<ObjectKey> for Resource {
    fn from(key: ObjectKey) -> Self {
        Self::Object(key)
    }
}
