//! How a source hears that a reading need not be kept any more.

use std::fmt;

/// Belongs to one reading of a source that keeps its readings until they are received, as an MQTT broker does. It is given when
/// edgecore has the reading on disk or will never take it, and when a newer reading of the property has come that the source keeps.
/// It is dropped without being given when none of this will happen: the mapper ends, the device is gone or is reached another way. The
/// source is expected to give the reading again then.
pub struct Receipt(Box<dyn FnOnce() + Send>);

// === impl Receipt ===

impl Receipt {
    /// Calls `received` when it is given. It is called in between other things and must not wait for anything.
    pub fn new(received: impl FnOnce() + Send + 'static) -> Self {
        Self(Box::new(received))
    }

    /// What is left to give of two readings of a property. A source that keeps the newer one need not keep the older one; where it does
    /// not keep the newer one, the older one is all that could be had again until the newer one is received.
    #[must_use]
    pub fn newest(older: Option<Self>, newer: Option<Self>) -> Option<Self> {
        match (older, newer) {
            (Some(older), Some(newer)) => {
                older.give();
                Some(newer)
            }
            (older, newer) => newer.or(older),
        }
    }

    /// Tells the source. Whoever runs the protocol does so; its tests may.
    pub fn give(self) {
        let Self(received) = self;
        received();
    }
}

impl fmt::Debug for Receipt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Receipt")
    }
}
