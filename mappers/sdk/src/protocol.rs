//! What a mapper's author writes.

use async_trait::async_trait;

use crate::config::{Config, ConfigError};
use crate::device::{Device, Property};
use crate::receipt::Receipt;

/// A protocol. All calls of one device come one after the other; devices do not wait for each other.
#[async_trait]
pub trait Protocol: Send + Sync + 'static {
    /// The `protocolName` of devices that are reached by it.
    const NAME: &'static str;

    /// A connection to one device; dropped to close it.
    type Link: Send + 'static;

    /// Whether the configuration makes sense, before anything is tried. What is wrong is told to edgecore.
    ///
    /// # Errors
    /// It does not.
    fn check(&self, device: &Device) -> Result<(), ConfigError> {
        let _ = device;
        Ok(())
    }

    /// Connects. Called again, with growing pauses, until it succeeds.
    ///
    /// # Errors
    /// Any: the device is told to be offline meanwhile.
    async fn connect(&self, device: &Device) -> Result<Self::Link, Error>;

    /// The property's value as text, or `None` when there is nothing new.
    ///
    /// # Errors
    /// See [`Error`].
    async fn read(&self, link: &mut Self::Link, property: &Property) -> Result<Option<String>, Error>;

    /// The receipt of what [`read`](Self::read) has just returned, for a source that keeps its readings until they are received.
    fn receipt(&self, link: &mut Self::Link, property: &Property) -> Option<Receipt> {
        let _ = (link, property);
        None
    }

    /// Sets the property.
    ///
    /// # Errors
    /// See [`Error`].
    async fn write(&self, link: &mut Self::Link, property: &Property, value: &str) -> Result<(), Error>;

    /// Looks whether a reading is out of the ordinary, by `pushMethod.anomalyDetection` of its property as the user wrote it, and does
    /// about it what it likes. Called in the property's `reportCycle`; a device is read on while this fails.
    ///
    /// # Errors
    /// See [`Error`]; without a method of one's own: this mapper has none.
    async fn detect(
        &self,
        link: &mut Self::Link,
        property: &Property,
        detection: &Config,
        value: &str,
    ) -> Result<(), Error> {
        let _ = (link, property, detection, value);
        Err(Error::property(format!(
            "pushMethod.anomalyDetection: the mapper for {} has none; take it out of the device, or write a mapper that has one",
            Self::NAME
        )))
    }

    /// Ends when a device that speaks by itself has said something: everything is read then, out of cycle.
    async fn said(&self, link: &mut Self::Link) {
        let _ = link;
        std::future::pending().await
    }
}

/// Why a device was not reached, read or written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The connection is of no use any more: it is dropped and made again.
    #[error("{0}")]
    Link(String),
    /// Of this property alone: the others go on, and it is tried again in its cycle.
    #[error("{0}")]
    Property(String),
    /// The configuration is wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
}

impl Error {
    /// [`Error::Link`] of anything that can be said.
    pub fn link(why: impl ToString) -> Self {
        Self::Link(why.to_string())
    }

    /// [`Error::Property`] of anything that can be said.
    pub fn property(why: impl ToString) -> Self {
        Self::Property(why.to_string())
    }
}
