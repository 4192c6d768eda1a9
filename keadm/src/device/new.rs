use std::io::Write as _;
use std::path::PathBuf;

use clap::Args;
use proto::devices::{
    Desired, Device, DeviceModel, DeviceModelSpec, DeviceProperty, DeviceSpec, ModelProperty, ModelRef,
    ProtocolConfig, StateReportSpec, check,
};
use proto::pki::NodeName;
use serde_json::{Map, Value, json};

use super::Form;
use super::ask::{self, ask};
use super::property::{InvalidProperty, Property, pair};
use crate::output;
use crate::problem::{Exit, Failure, Problem, file_problem};

/// Write the DeviceModel and the Device of a new device.
///
/// What is not given by flags is asked on a terminal. Nothing is sent anywhere: pipe it to kubectl apply -f -.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  keadm device new > boiler.yaml
  keadm device new room-2 --node=edge1 --protocol=mqtt-direct --property=temperature:float,unit=celsius
  keadm device new boiler-2 --node=edge1 --protocol=modbus --config=ip=10.0.0.9 --config=port=502 --config=slaveID=1 \\
    --property=temperature:float,unit=celsius,register=InputRegister,offset=0,scale=0.1 \\
    --property=setpoint:int:rw,min=5,max=90,desired=65,register=HoldingRegister,offset=10 | kubectl apply -f -
  keadm device new room-3 --node=edge1 --protocol=mqtt --config=server=tcp://127.0.0.1:1883 \\
    --property=temperature:float,topic=zigbee/room-3,path=$.temperature

A property is NAME:TYPE[:rw][,KEY=VALUE…]. TYPE is int, float, double, boolean, string, bytes or stream; rw: it can be set.
The keys min, max, unit, description, desired and cycle (milliseconds) are the property's; any other is for the mapper.
mqtt-direct is a device that publishes on $hw/events/device/NAMESPACE/NAME/twin/update itself, without a mapper.")]
pub(super) struct NewArgs {
    /// The device's name.
    name: Option<String>,
    /// The edge node that has it.
    #[arg(long, value_name = "NODE")]
    node: Option<String>,
    /// How it is reached: mqtt-direct, modbus, mqtt, or what another mapper speaks.
    #[arg(long, value_name = "PROTOCOL")]
    protocol: Option<String>,
    /// What the mapper needs to reach it; may be given several times.
    #[arg(long, value_name = "KEY=VALUE", value_parser = pair)]
    config: Vec<(String, Value)>,
    /// A property; may be given several times.
    #[arg(long, value_name = "NAME:TYPE[:rw][,KEY=VALUE…]", value_parser = |text: &str| text.parse::<Property>().map_err(|error| error.to_string()))]
    property: Vec<Property>,
    /// The model's name (default: the device's).
    #[arg(long, value_name = "NAME")]
    model: Option<String>,
    /// The namespace of both.
    #[arg(short, long, value_name = "NAMESPACE", default_value = "default")]
    namespace: String,
    /// Write to this file instead of standard output. It must not exist.
    #[arg(short, long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// The form of the manifests.
    #[arg(short, long, value_enum, default_value_t)]
    output: Form,
}

/// A device without a mapper.
const DIRECT: &str = "mqtt-direct";
/// Milliseconds between two readings, unless told otherwise.
const CYCLE: i64 = 10_000;

impl NewArgs {
    pub(super) fn run(mut self) -> Result<(), Failure> {
        self.complete()?;
        let (model, device) = self.manifests();
        let findings: Vec<Problem> = check::model(&model)
            .into_iter()
            .chain(check::device(&device, Some(&model)))
            .map(|finding| {
                Problem::new(format!("{}: {}", finding.field, finding.message))
                    .cause(finding.wrong.reason())
                    .next("correct the --property or --config that says so")
            })
            .collect();
        if !findings.is_empty() {
            return Err(Failure::new("no device was written", findings, Exit::Preflight));
        }
        // A status is the cloud's to write.
        let mut device = json!(device);
        device.as_object_mut().map(|fields| fields.remove("status"));
        let text = match self.output {
            Form::Yaml => format!("{}---\n{}", output::yaml(&model)?, output::yaml(&device)?),
            Form::Json => {
                let list = json!({"apiVersion": "v1", "kind": "List", "items": [model, device]});
                format!("{list:#}\n")
            }
        };
        self.write(&text)
    }

    /// Asks for what is missing, if somebody is there; else says all that is missing.
    fn complete(&mut self) -> Result<(), Failure> {
        let missing: Vec<&str> = [
            self.name.is_none().then_some("NAME"),
            self.node.is_none().then_some("--node"),
            self.protocol.is_none().then_some("--protocol"),
            self.property.is_empty().then_some("--property"),
        ]
        .into_iter()
        .flatten()
        .collect();
        if !missing.is_empty() {
            if !ask::is_possible() {
                return Err(Problem::new(format!("{} must be given", missing.join(", ")))
                    .cause("there is no terminal to ask on")
                    .next("see the examples of keadm device new --help")
                    .fail("no device was written", Exit::Usage));
            }
            self.interview()?;
        }
        let mut problems = Vec::new();
        let named = [("the device's name", &self.name), ("--node", &self.node), ("--model", &self.model)];
        for (what, name) in named {
            if let Some(name) = name
                && let Err(error) = name.parse::<NodeName>()
            {
                problems.push(
                    Problem::new(format!("{what}: {name:?} cannot be used"))
                        .cause(error)
                        .next("for example boiler-1"),
                );
            }
        }
        if problems.is_empty() {
            Ok(())
        } else {
            Err(Failure::new("no device was written", problems, Exit::Usage))
        }
    }

    fn interview(&mut self) -> Result<(), Failure> {
        let name = |question: &str| -> Result<String, Failure> {
            ask::<NodeName>(question, None).map(|name| name.to_string())
        };
        if self.name.is_none() {
            self.name = Some(name("Name of the device, for example boiler-1")?);
        }
        if self.node.is_none() {
            self.node = Some(name("Edge node that has it (kubectl get nodes)")?);
        }
        if self.protocol.is_none() {
            self.protocol =
                Some(ask("Protocol: mqtt-direct, modbus, mqtt, or another mapper's", Some(DIRECT))?);
        }
        let asked: &[(&str, &str)] = match self.protocol.as_deref() {
            Some("modbus") if self.config.is_empty() => {
                &[("ip", "IP address of the device"), ("port", "Port"), ("slaveID", "Unit (slave) number")]
            }
            Some("mqtt") if self.config.is_empty() => &[("server", "Broker that it publishes to")],
            _ => &[],
        };
        for (key, question) in asked {
            let default = match *key {
                "port" => Some("502"),
                "slaveID" => Some("1"),
                "server" => Some("tcp://127.0.0.1:1883"),
                _ => None,
            };
            let answer = ask::line(question, default)?;
            self.config.push(((*key).to_owned(), super::property::scalar(&answer)));
        }
        if self.property.is_empty() {
            eprintln!("Properties, one a line as NAME:TYPE[:rw][,KEY=VALUE…], an empty line ends:");
            loop {
                let text = ask::line("  property", None)?;
                if text.is_empty() && !self.property.is_empty() {
                    return Ok(());
                }
                match text.parse() {
                    Ok(property) => self.property.push(property),
                    Err(error @ InvalidProperty::Shape) if text.is_empty() => {
                        eprintln!("    at least one: {error}")
                    }
                    Err(error) => eprintln!("    {error}"),
                }
            }
        }
        Ok(())
    }

    fn manifests(&self) -> (DeviceModel, Device) {
        let name = self.name.clone().unwrap_or_default();
        let protocol = self.protocol.clone().filter(|protocol| !protocol.is_empty());
        let model_name = self.model.clone().unwrap_or_else(|| name.clone());
        let mapped = protocol.as_deref().is_some_and(|protocol| protocol != DIRECT);
        let mut model = DeviceModel {
            spec: DeviceModelSpec {
                protocol: protocol.clone(),
                properties: self
                    .property
                    .iter()
                    .map(|property| in_model(property, protocol.as_deref()))
                    .collect(),
                ..DeviceModelSpec::default()
            },
            ..DeviceModel::default()
        };
        let config: Map<String, Value> = self.config.iter().cloned().collect();
        let mut device = Device {
            spec: DeviceSpec {
                device_model_ref: Some(ModelRef { name: model_name.clone() }),
                node_name: self.node.clone(),
                protocol: Some(ProtocolConfig {
                    protocol_name: protocol,
                    config_data: (!config.is_empty()).then_some(config),
                }),
                properties: self.property.iter().map(|property| in_device(property, mapped)).collect(),
                state_report: mapped
                    .then_some(StateReportSpec { report_to_cloud: true, report_cycle: Some(CYCLE) }),
                ..DeviceSpec::default()
            },
            ..Device::default()
        };
        for (metadata, name) in [(&mut model.metadata, model_name), (&mut device.metadata, name)] {
            metadata.name = Some(name);
            metadata.namespace = Some(self.namespace.clone());
        }
        (model, device)
    }

    fn write(&self, text: &str) -> Result<(), Failure> {
        let Some(path) = &self.file else {
            print!("{text}");
            return Ok(());
        };
        let made = std::fs::OpenOptions::new().write(true).create_new(true).open(path);
        let written = made.and_then(|mut file| file.write_all(text.as_bytes()));
        written.map_err(|error| {
            file_problem("write", path, &error).fail("no device was written", Exit::Failed)
        })?;
        eprintln!("{} is written; kubectl apply -f {}", path.display(), path.display());
        Ok(())
    }
}

fn in_model(property: &Property, protocol: Option<&str>) -> ModelProperty {
    ModelProperty {
        name: property.name.clone(),
        description: property.description.clone(),
        kind: Some(property.kind),
        access_mode: Some(property.access),
        minimum: property.minimum.clone(),
        maximum: property.maximum.clone(),
        unit: property.unit.clone(),
        visitors: (!property.visitors.is_empty()).then(|| ProtocolConfig {
            protocol_name: protocol.map(str::to_owned),
            config_data: Some(property.visitors.clone()),
        }),
    }
}

fn in_device(property: &Property, mapped: bool) -> DeviceProperty {
    let desired =
        property.desired.as_ref().map(|value| Desired { value: value.clone(), ..Desired::default() });
    DeviceProperty {
        name: property.name.clone(),
        desired,
        collect_cycle: property.cycle.or(mapped.then_some(CYCLE)),
        report_to_cloud: Some(true),
        ..DeviceProperty::default()
    }
}
