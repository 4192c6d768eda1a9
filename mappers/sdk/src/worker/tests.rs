//! Protocols in memory.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use dmi::v1beta1 as wire;

use super::*;
use crate::config::Config;
use crate::device::Kind;
use crate::receipt::Receipt;

/// Its values are those of a list; what was detected is written down.
#[derive(Default)]
struct Thermometer(Mutex<Vec<(String, Option<u64>)>>);

#[async_trait]
impl Protocol for Thermometer {
    const NAME: &'static str = "thermometer";
    type Link = u32;

    async fn connect(&self, _device: &Device) -> Result<u32, Error> {
        Ok(20)
    }

    async fn read(&self, link: &mut u32, _property: &Property) -> Result<Option<String>, Error> {
        *link += 1;
        Ok(Some(link.to_string()))
    }

    async fn write(&self, _link: &mut u32, _property: &Property, _value: &str) -> Result<(), Error> {
        Ok(())
    }

    async fn detect(
        &self,
        _link: &mut u32,
        _property: &Property,
        detection: &Config,
        value: &str,
    ) -> Result<(), Error> {
        let most = detection.number::<u64>("most", "a number")?;
        self.0.lock().unwrap().push((value.to_owned(), most));
        Err(Error::property("too hot"))
    }
}

/// Has no such method.
struct Plain;

#[async_trait]
impl Protocol for Plain {
    const NAME: &'static str = "plain";
    type Link = u32;

    async fn connect(&self, _device: &Device) -> Result<u32, Error> {
        Ok(0)
    }

    async fn read(&self, _link: &mut u32, _property: &Property) -> Result<Option<String>, Error> {
        Ok(Some("1".into()))
    }

    async fn write(&self, _link: &mut u32, _property: &Property, _value: &str) -> Result<(), Error> {
        Ok(())
    }
}

/// Read each second, shown to the detection every three, and not told to the cloud.
fn device() -> Device {
    let most = [("most".to_owned(), dmi::value::to_any(&22.into()).unwrap())];
    let property = wire::DeviceProperty {
        name: "t".into(),
        collect_cycle: 1000,
        report_cycle: 3000,
        push_method: Some(wire::PushMethod {
            anomaly_detection: Some(wire::AnomalyDetection { data: most.into() }),
            ..Default::default()
        }),
        ..Default::default()
    };
    let spec = wire::DeviceSpec { properties: vec![property], ..Default::default() };
    Device::new(&wire::Device { name: "b".into(), spec: Some(spec), ..Default::default() }, None)
}

fn session() -> Session<u32> {
    Session {
        link: 20,
        due: BTreeMap::new(),
        pushed: BTreeMap::new(),
        written: BTreeMap::new(),
        broken: BTreeMap::new(),
        state_due: None,
    }
}

#[tokio::test(start_paused = true)]
async fn readings_are_shown_to_the_detection_in_the_report_cycle_with_what_the_user_wrote() {
    let (protocol, device, mut session) = (Thermometer::default(), device(), session());
    let push = Push::new("/nowhere/push.db".into());
    for _ in 0..7 {
        session.turn(&protocol, &device, &Reports::default(), &push).await.unwrap();
        tokio::time::advance(Duration::from_secs(1)).await;
    }
    let shown = ["21", "24", "27"].map(|value| (value.to_owned(), Some(22)));
    assert_eq!(*protocol.0.lock().unwrap(), shown);
    assert_eq!(session.broken["t anomalyDetection"], "too hot");
}

#[tokio::test]
async fn a_mapper_that_has_no_detection_says_so_by_name_and_reads_on() {
    let mut session = session();
    let push = Push::new("/nowhere/push.db".into());
    session.turn(&Plain, &device(), &Reports::default(), &push).await.unwrap();
    let said = &session.broken["t anomalyDetection"];
    assert!(said.contains("anomalyDetection: the mapper for plain has none"), "{said}");
}

/// Breaks when it is asked for `broken`. What it says has receipts, which say that they were given.
#[derive(Default)]
struct Keeper {
    given: Arc<Mutex<Vec<String>>>,
}

#[async_trait]
impl Protocol for Keeper {
    const NAME: &'static str = "keeper";
    type Link = u32;

    async fn connect(&self, _device: &Device) -> Result<u32, Error> {
        Ok(0)
    }

    async fn read(&self, _link: &mut u32, property: &Property) -> Result<Option<String>, Error> {
        if property.name == "broken" { Err(Error::link("gone")) } else { Ok(Some("1".into())) }
    }

    fn receipt(&self, _link: &mut u32, property: &Property) -> Option<Receipt> {
        let (given, name) = (Arc::clone(&self.given), property.name.clone());
        Some(Receipt::new(move || given.lock().unwrap().push(name)))
    }

    async fn write(&self, _link: &mut u32, _property: &Property, _value: &str) -> Result<(), Error> {
        Ok(())
    }
}

#[tokio::test]
async fn what_was_read_before_the_connection_broke_waits_for_edgecore_with_its_receipt() {
    let (keeper, mut device, mut session) = (Keeper::default(), device(), session());
    device.properties =
        ["well", "broken"].map(|name| Property::of(name, Kind::Int, Config::default())).into();
    let (reports, push) = (Reports::default(), Push::new("/nowhere/push.db".into()));
    let ended = session.turn(&keeper, &device, &reports, &push).await;
    assert!(matches!(ended, Err(Error::Link(_))), "{ended:?}");
    assert_eq!(Arc::strong_count(&keeper.given), 2, "the receipt is kept");
    assert!(keeper.given.lock().unwrap().is_empty(), "edgecore does not have it");
}

#[tokio::test]
async fn the_receipt_of_what_edgecore_is_not_told_is_given_at_once() {
    let (keeper, device, mut session) = (Keeper::default(), device(), session());
    let push = Push::new("/nowhere/push.db".into());
    session.turn(&keeper, &device, &Reports::default(), &push).await.unwrap();
    assert_eq!(*keeper.given.lock().unwrap(), ["t"]);
}
