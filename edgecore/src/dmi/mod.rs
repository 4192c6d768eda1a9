//! Mappers: programs that speak a device's protocol, and tell its values over the device mapper interface (DMI).
//!
//! Owns: the socket that mappers register at, the folder `mappers` beside edgecore.db with a file for each of them, and
//! what each was told about its devices. A mapper is told what changed until it has taken it, through restarts of either
//! side. May call: metamanager for Device and DeviceModel objects, devicetwin with reports, mappers on their own sockets; edgehub
//! takes how they are from it.
//! Called by: mappers.
//!
//! As with KubeEdge, a protocol has one mapper on a node: the last that registered.

mod authority;
mod caller;
mod calls;
mod catalog;
mod keeper;
mod outlook;
mod plan;
mod push;
mod registry;
mod report;
mod server;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tasks::{Restart, TaskSet};
use tokio::sync::watch;

use crate::edgehub::Connection;
use crate::folder::Folder;
use crate::metrics::Metrics;
use crate::{devicetwin, metamanager};
use registry::{Mapper, Registry};

pub use outlook::Outlook;

/// Where mappers come to, and where they are remembered.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The sockets that mappers register at: where KubeEdge has it, and the same in a folder where nothing else is, so that
    /// a pod can be given it without the node's keys.
    pub sockets: [PathBuf; 2],
    /// The folder of the mappers.
    pub folder: PathBuf,
    /// The name of this node.
    pub node: String,
    /// Where refusals are counted.
    pub metrics: Metrics,
}

// === impl Settings ===

impl Settings {
    /// `dmi.sock` and `dmi/dmi.sock` in the directory, and the folder beside the database.
    #[must_use]
    pub fn new(directory: &Path, database: &Path, node: impl Into<String>) -> Self {
        Self {
            sockets: [directory.join("dmi.sock"), directory.join("dmi/dmi.sock")],
            folder: database.with_file_name("mappers"),
            node: node.into(),
            metrics: Metrics::default(),
        }
    }
}

/// Serves mappers on `tasks`. A socket that cannot be made is tried again. Returns what tells the cloud how they are.
pub async fn start(
    settings: Settings,
    objects: metamanager::Handle,
    twins: devicetwin::Handle,
    connection: Option<watch::Receiver<Connection>>,
    tasks: &TaskSet,
) -> Outlook {
    let registry = Arc::new(Registry::open(Folder::new(&settings.folder)).await);
    let catalog = catalog::Source { objects, node: settings.node };
    let service = server::Manager {
        registry: Arc::clone(&registry),
        catalog: catalog.clone(),
        twins,
        metrics: settings.metrics,
    };
    let outlook = Outlook::new(connection);
    let (watcher, watched) = (outlook.clone(), Arc::clone(&registry));
    tasks.spawn("outlook", Restart::on_failure(), move |token| {
        watcher.clone().run(Arc::clone(&watched), token)
    });
    let teller = outlook.clone();
    tasks.spawn("mappers", Restart::on_failure(), move |token| {
        keeper::run(Arc::clone(&registry), catalog.clone(), teller.clone(), token)
    });
    for socket in settings.sockets {
        let service = service.clone();
        tasks.spawn(socket.display().to_string(), Restart::on_failure(), move |token| {
            server::serve(socket.clone(), service.clone(), token)
        });
    }
    outlook
}

/// A mapper that registered with KubeEdge's edgecore.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Registration {
    /// What it speaks.
    pub(crate) protocol: String,
    /// What it calls itself.
    pub(crate) name: String,
    /// Its version.
    pub(crate) version: String,
    /// The interface's version.
    pub(crate) api_version: String,
    /// The path of its socket.
    pub(crate) address: String,
}

/// Remembers mappers before they are [served](start); a protocol that has one already keeps it. Nothing is known of what they
/// were told, so they are told all of it: who knows a device already passes over it.
pub(crate) async fn put_in(settings: &Settings, mappers: Vec<Registration>) -> std::io::Result<()> {
    let folder = Folder::new(&settings.folder);
    let known: Vec<Mapper> = folder.load().await;
    for mapper in mappers {
        if known.iter().any(|known| known.protocol == mapper.protocol) {
            continue;
        }
        let Registration { protocol, name, version, api_version, address } = mapper;
        let told = plan::Told::default();
        let mapper =
            Mapper { protocol, name, version, api_version, address, called: true, told, registration: 0 };
        folder.save(&mapper.protocol, &mapper).await?;
    }
    Ok(())
}
