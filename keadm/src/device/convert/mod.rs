//! `keadm device convert`: manifests of KubeEdge up to v1.14 as those of today.
//!
//! Owns: reading manifests with their text ([`input`]), what becomes of each object ([`pieces`]), devices ([`instance`]), their protocols
//! ([`protocol`]) and models ([`model`]), and what is said about it all ([`told`]). May call: `proto` for the types and for what makes sense.
//! Called by: the command line. Nothing here talks to a cluster.

mod choices;
mod fields;
mod input;
mod instance;
mod model;
mod pieces;
mod protocol;
mod told;

#[cfg(test)]
mod tests;

use std::fmt;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use clap::Args;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::{Map, Value, json};

use self::choices::{Choices, NodeChoice, Unit};
use self::fields::Fields;
use self::pieces::Piece;
use self::told::Told;
use super::Form;
use crate::output;
use crate::problem::{Exit, Failure, Problem};

/// Convert devices and models of devices.kubeedge.io/v1alpha2 into v1beta1, which is what cloudcore reads.
///
/// Everything else in the input is passed on as it is written, so that a whole manifest can be piped through. Nothing is sent anywhere.
/// What v1beta1 has no place for is named with its object and field and with what to do; then nothing is written, unless --accept-loss is
/// given. Comments of converted objects are not kept, nor what clusters write into objects themselves.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  keadm device convert -f old.yaml > new.yaml
  keadm device convert -f models.yaml -f devices/ --node=edge1 | kubectl apply -f -
  helm template plant | keadm device convert -f - --cycles=ns | kubectl apply -f -
  kubectl get devices.v1alpha2.devices.kubeedge.io -A -o yaml | keadm device convert -f - > new.yaml

What becomes of what:
  nodeSelector of one hostname   nodeName; any other needs --node
  protocol, propertyVisitors     protocol, properties[].visitors: protocolName and flat configData
  status.twins[]                 properties[]: desired, and reportToCloud: true
  reportCycle, collectCycle      milliseconds, as which they are taken below 1000000; from 100000000
                                 on as nanoseconds, and between, --cycles must say
  a device with a protocol       stateReport every 10 s, which mappers did unasked
  what devices report            is left out, it comes anew
  type.int.minimum and so on     type: INT, minimum as a text
  bluetooth dataConverter        configData.scale if it only multiplies, else as it is
  data.dataProperties            is lost: give properties a pushMethod
  defaultValue                   is lost: give devices a desired value")]
pub(super) struct ConvertArgs {
    /// A manifest, a folder of manifests, or - for standard input; may be given several times.
    #[arg(short, long, value_name = "FILE|DIR|-", required = true, value_hint = clap::ValueHint::AnyPath)]
    file: Vec<PathBuf>,
    /// The node of devices whose nodeSelector names none or several, or of one device; may be given several times.
    #[arg(long, value_name = "[[NAMESPACE/]DEVICE=]NODE")]
    node: Vec<NodeChoice>,
    /// What reportCycle and collectCycle are counted in (default: told from the number, where it can be).
    #[arg(long, value_name = "UNIT", value_enum)]
    cycles: Option<Unit>,
    /// Write what can be written although something is lost or makes no sense; it is told as a warning.
    #[arg(long)]
    accept_loss: bool,
    /// The form of the manifests.
    #[arg(short, long, value_enum, default_value_t)]
    output: Form,
}

impl ConvertArgs {
    pub(super) fn run(self) -> Result<(), Failure> {
        let usage = |what: String, cause: &str, next: &str| {
            Problem::new(what).cause(cause).next(next).fail("nothing was written", Exit::Usage)
        };
        if self.file.iter().filter(|file| *file == Path::new("-")).count() > 1 {
            return Err(usage(
                "-f - is given twice".to_owned(),
                "standard input can be read once",
                "leave one of them",
            ));
        }
        let choices = Choices { nodes: self.node, cycles: self.cycles };
        if choices.nodes.iter().filter(|choice| choice.is_for_all()).count() > 1 {
            return Err(usage(
                "--node=NODE is given twice".to_owned(),
                "one node has the devices that name none",
                "write --node=DEVICE=NODE",
            ));
        }
        let documents = input::read(&self.file)?;
        let mut told = Told::default();
        let pieces = pieces::convert(documents, &choices, &mut told);
        let devices: Vec<Name> = pieces
            .iter()
            .filter_map(|piece| match piece {
                Piece::Device(device) => Some(Name::of_metadata(&device.metadata)),
                _ => None,
            })
            .collect();
        if let Some(device) = choices.unknown(&devices).first() {
            return Err(usage(
                format!("--node: there is no device {device}"),
                "no Device of v1alpha2 in the input has this name",
                "correct the name, or leave it out",
            ));
        }
        told.finish(self.accept_loss)?;
        write(&render(&pieces, self.output)?)?;
        let kept = pieces.iter().filter(|piece| matches!(piece, Piece::Kept { .. })).count();
        eprintln!("{} converted, {kept} passed on as they are", pieces.len() - kept);
        Ok(())
    }
}

fn render(pieces: &[Piece], form: Form) -> Result<String, Failure> {
    if form == Form::Json {
        let items: Vec<Value> = pieces.iter().flat_map(|piece| flat(piece.value())).collect();
        return Ok(format!("{:#}\n", json!({"apiVersion": "v1", "kind": "List", "items": items})));
    }
    let texts: Result<Vec<String>, Failure> = pieces
        .iter()
        .map(|piece| match piece {
            Piece::Kept { text: Some(text), .. } => Ok(text.clone()),
            piece => output::yaml(&piece.value()),
        })
        .collect();
    // Each has its marker: kubectl takes a stream that begins with { for JSON.
    Ok(texts?.iter().map(|text| format!("---\n{text}")).collect())
}

/// kubectl does not look into a list in a list.
fn flat(value: Value) -> Vec<Value> {
    let is_list = value.get("kind").and_then(Value::as_str) == Some("List");
    if is_list { pieces::unfold(value) } else { vec![value] }
}

fn write(text: &str) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(|error| {
        Problem::new("standard output cannot be written")
            .cause(error)
            .next("look at what it is piped into")
            .fail("not everything was written", Exit::Failed)
    })
}

/// Which object it is. Without a namespace it is of `default`, as kubectl has it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Name {
    namespace: String,
    name: String,
}

impl Name {
    fn of(object: &Map<String, Value>) -> Self {
        let text = |key: &str| object.get("metadata").and_then(|metadata| metadata.get(key)?.as_str());
        Self::new(text("namespace"), text("name"))
    }

    fn of_metadata(metadata: &ObjectMeta) -> Self {
        Self::new(metadata.namespace.as_deref(), metadata.name.as_deref())
    }

    fn new(namespace: Option<&str>, name: Option<&str>) -> Self {
        let namespace = namespace.filter(|namespace| !namespace.is_empty()).unwrap_or("default");
        Self { namespace: namespace.to_owned(), name: name.unwrap_or_default().to_owned() }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// A name that must be there.
fn name_of(fields: &mut Fields, key: &str, told: &mut Told) -> String {
    let name = fields.text(key, told).filter(|name| !name.is_empty());
    name.unwrap_or_else(|| {
        told.wrong(&fields.at(key), "is missing", "nothing else says what is meant", "add it");
        String::new()
    })
}
