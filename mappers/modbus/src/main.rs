//! A mapper for Modbus: registers and coils as properties, over TCP or a serial line. `configData` as KubeEdge's public
//! mappers have it.

mod address;
mod link;
mod registers;

use std::process::ExitCode;

use clap::Parser;
use mapper::{ConfigError, Device, Error, Options, Property, Protocol};

use address::Address;
use link::Link;
use registers::Place;

/// Reads and writes Modbus devices for edgecore.
#[derive(Parser)]
#[command(
    version,
    after_help = "A device's protocol.configData has ip and port for TCP, or serialPort, baudRate, dataBits, stopBits \
and parity for a serial line, and slaveID. A property's visitors.configData has register, offset, limit, dataType, scale, \
isSwap and isRegisterSwap.\n\nExamples:\n  modbus-mapper\n  modbus-mapper --edgecore-socket /run/dmi/dmi.sock --name line-3"
)]
struct Cli {
    #[command(flatten)]
    mapper: Options,
}

struct Modbus;

#[mapper::async_trait]
impl Protocol for Modbus {
    const NAME: &'static str = "modbus";
    type Link = Link;

    fn check(&self, device: &Device) -> Result<(), ConfigError> {
        Address::of(&device.config)?;
        device.properties.iter().try_for_each(|property| Place::of(property).map(drop))
    }

    async fn connect(&self, device: &Device) -> Result<Link, Error> {
        Link::open(&Address::of(&device.config)?).await
    }

    async fn read(&self, link: &mut Link, property: &Property) -> Result<Option<String>, Error> {
        let place = Place::of(property)?;
        let words = link.read(&place).await?;
        Ok(Some(place.decode(&words).map_err(Error::property)?))
    }

    async fn write(&self, link: &mut Link, property: &Property, value: &str) -> Result<(), Error> {
        let place = Place::of(property)?;
        let words = place.encode(value).map_err(Error::property)?;
        link.write(&place, &words).await
    }
}

fn main() -> ExitCode {
    mapper::run(Modbus, Cli::parse().mapper)
}
