use std::convert::Infallible;
use std::fmt;
use std::str::FromStr;

/// An enum of words known on the wire, that also carries the words it does not know: `Display` and
/// `FromStr` are each other's inverse, and parsing never fails.
macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $text:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name {
            $($(#[$vdoc])* #[doc = concat!("`", $text, "`")] $variant,)+
            /// A word that we do not act upon, passed through as it is. Build it by parsing, so that a
            /// known word never hides here.
            Other(Box<str>),
            /// The field is absent.
            None,
        }

        impl $name {
            /// The word on the wire; empty if absent.
            pub fn as_str(&self) -> &str {
                match self {
                    $(Self::$variant => $text,)+
                    Self::Other(word) => word,
                    Self::None => "",
                }
            }

            /// True if the field is absent on the wire.
            pub fn is_none(&self) -> bool {
                matches!(self, Self::None)
            }
        }

        impl From<&str> for $name {
            fn from(word: &str) -> Self {
                match word {
                    $($text => Self::$variant,)+
                    "" => Self::None,
                    other => Self::Other(other.into()),
                }
            }
        }

        impl FromStr for $name {
            type Err = Infallible;

            fn from_str(word: &str) -> Result<Self, Infallible> {
                Ok(Self::from(word))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }

        #[cfg(test)]
        impl $name {
            /// Every word that has a variant.
            pub(crate) const KNOWN: &[&str] = &[$($text),+];
        }
    };
}

words! {
    /// The module that produced a message.
    Source {
        /// The pod agent of the edge.
        Edged = "edged",
        /// The object store of the edge.
        MetaManager = "metamanager",
        /// The object store's shorter name, used when it confirms what the twin module was given.
        Meta = "meta",
        /// The Kubernetes API that the edge serves locally.
        MetaServer = "metaserver",
        /// The link itself, at its edge end.
        Websocket = "websocket",
        /// The device twins of the edge.
        Twin = "twin",
        /// The MQTT side of the edge.
        Bus = "bus",
        /// The HTTP side of the edge.
        ServiceBus = "servicebus",
        /// Pods, config maps, secrets, nodes: the cloud's controller.
        EdgeController = "edgecontroller",
        /// Devices: the cloud's controller.
        DeviceController = "devicecontroller",
        /// The cloud's answer to MetaServer.
        DynamicController = "dynamiccontroller",
        /// The cloud's reconciler; it sends under edgecontroller's name.
        SyncController = "synccontroller",
        /// Service account access rules.
        PolicyController = "policycontroller",
        /// The link itself, at its cloud end.
        CloudHub = "cloudhub",
        /// The log and exec tunnel.
        CloudStream = "cloudStream",
        /// Node jobs.
        TaskManager = "taskmanager",
        /// Node jobs of the first generation.
        NodeUpgradeJobController = "nodeupgradejobcontroller",
        /// Rules whose target is an edge's MQTT.
        RouterEventBus = "router_eventbus",
        /// Rules whose target is an edge's HTTP.
        RouterServiceBus = "router_servicebus",
    }
}

words! {
    /// The group of modules that a message is for.
    Group {
        /// Upstream to the controllers.
        Meta = "meta",
        /// Downstream objects and answers.
        Resource = "resource",
        /// The link itself.
        Hub = "hub",
        /// Rules between cloud and edge applications.
        User = "user",
        /// Devices.
        Twin = "twin",
        /// Accepted by edges as `resource`.
        Func = "func",
        /// MetaServer's requests.
        DynamicController = "dynamiccontroller",
        /// Node jobs.
        TaskManager = "taskmanager",
    }
}

words! {
    /// What is to be done, or was.
    Operation {
        /// Create (downstream: create or replace).
        Insert = "insert",
        /// Delete.
        Delete = "delete",
        /// Ask.
        Query = "query",
        /// Replace (downstream: create or replace).
        Update = "update",
        /// Patch; only upstream.
        Patch = "patch",
        /// An application's data on its way up.
        Upload = "upload",
        /// The answer, or the acknowledgement, of the parent.
        Response = "response",
        /// The parent failed; the content says why.
        Error = "error",
        /// The heartbeat.
        Keepalive = "keepalive",
        /// Ask, in the device plane.
        Get = "get",
        /// The answer, in the device plane.
        GetResult = "get_result",
        /// Publish to MQTT.
        Publish = "publish",
        /// Subscribe to an MQTT topic.
        Subscribe = "subscribe",
        /// Unsubscribe.
        Unsubscribe = "unsubscribe",
        /// Start a servicebus listener.
        Start = "start",
        /// Stop a servicebus listener.
        Stop = "stop",
        /// The cloud's answer to MetaServer.
        ApplicationResponse = "applicationResponse",
        /// MetaServer's requests carry the word null.
        Null = "null",
        /// CSI.
        CreateVolume = "createvolume",
        /// CSI.
        DeleteVolume = "deletevolume",
        /// CSI.
        ControllerPublishVolume = "controllerpublishvolume",
        /// CSI.
        ControllerUnpublishVolume = "controllerunpublishvolume",
        /// A step of a node job was done.
        UpdateNodeActionStatus = "UpdateNodeActionStatus",
        /// Node job of the first generation.
        Upgrade = "upgrade",
        /// Node job of the first generation.
        PrePull = "prepull",
        /// First step of every node job.
        Check = "Check",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_comes_back_and_known_words_are_never_other() {
        for word in Source::KNOWN {
            assert_eq!(Source::from(*word).to_string(), *word);
            assert!(!matches!(Source::from(*word), Source::Other(_)));
        }
        for word in Group::KNOWN {
            assert_eq!(Group::from(*word).to_string(), *word);
        }
        for word in Operation::KNOWN {
            assert_eq!(Operation::from(*word).to_string(), *word);
        }
        assert_eq!(Operation::from("WaitingConfirmation").to_string(), "WaitingConfirmation");
        assert!(Source::from("").is_none());
    }
}
