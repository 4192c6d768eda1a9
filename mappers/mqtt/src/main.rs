//! A mapper for sensors that publish JSON of any shape over MQTT: a topic and a JSONPath make a property.

mod ledger;
mod link;
mod path;

use std::process::ExitCode;

use clap::Parser;
use mapper::{ConfigError, Device, Error, Options, Property, Protocol, Receipt};

use link::{Link, Server};
use path::Source;

/// Takes what sensors publish over MQTT to edgecore.
#[derive(Parser)]
#[command(
    version,
    after_help = "A device's protocol.configData has server (tcp://127.0.0.1:1883), username, password, clientID and \
qos. A property's visitors.configData has topic, path (a JSONPath, without one all of the payload), writeTopic and writePayload \
(with {value} in it).\n\nExamples:\n  mqtt-mapper\n  mqtt-mapper --edgecore-socket /run/dmi/dmi.sock --name hall-3"
)]
struct Cli {
    #[command(flatten)]
    mapper: Options,
}

struct Mqtt;

#[mapper::async_trait]
impl Protocol for Mqtt {
    const NAME: &'static str = "mqtt";
    type Link = Link;

    fn check(&self, device: &Device) -> Result<(), ConfigError> {
        Server::of(device)?;
        device.properties.iter().try_for_each(|property| Source::of(property).map(drop))
    }

    async fn connect(&self, device: &Device) -> Result<Link, Error> {
        Link::open(&Server::of(device)?, device).await
    }

    async fn read(&self, link: &mut Link, property: &Property) -> Result<Option<String>, Error> {
        link.take(&property.name)
    }

    fn receipt(&self, link: &mut Link, _property: &Property) -> Option<Receipt> {
        link.receipt()
    }

    async fn write(&self, link: &mut Link, property: &Property, value: &str) -> Result<(), Error> {
        let (topic, payload) = Source::of(property)?.written(value).map_err(Error::property)?;
        link.publish(topic, payload).await
    }

    async fn said(&self, link: &mut Link) {
        link.news().await;
    }
}

fn main() -> ExitCode {
    mapper::run(Mqtt, Cli::parse().mapper)
}
