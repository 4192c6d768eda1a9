//! Protocols in memory.

use std::sync::Mutex;

use async_trait::async_trait;
use dmi::v1beta1 as wire;

use super::*;
use crate::config::Config;

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
