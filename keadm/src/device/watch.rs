use std::collections::BTreeMap;
use std::fmt::Debug;
use std::io::{self, IsTerminal as _, Write as _};
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use futures::StreamExt as _;
use futures::stream::BoxStream;
use kube::runtime::WatchStreamExt as _;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Client, Resource};
use proto::devices::{Device, DeviceStatus};
use serde::de::DeserializeOwned;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};

use super::view::{Id, Row, View, changed, table};
use crate::cluster;
use crate::layout::Layout;
use crate::output::Output;
use crate::problem::{Exit, Failure, Problem};

/// Show what devices report, live.
///
/// On a terminal it is a table that is drawn anew; elsewhere, and with -o json, a line for each value that changes. It goes on while the
/// API restarts, and ends with Ctrl-C.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  keadm device watch
  keadm device watch boiler-1 -n plant
  keadm device watch -A -o json | jq -r 'select(.health != \"Healthy\")'")]
pub(super) struct WatchArgs {
    /// Only this device.
    name: Option<String>,
    /// The namespace of the devices.
    #[arg(short, long, value_name = "NAMESPACE", default_value = "default")]
    namespace: String,
    /// Devices of all namespaces.
    #[arg(short = 'A', long, conflicts_with = "name")]
    all_namespaces: bool,
    /// End after this many seconds; for scripts.
    #[arg(long, value_name = "SECONDS")]
    timeout: Option<u64>,
    /// The administrator's kubeconfig (default: $KUBECONFIG, /etc/kubeedge/admin.conf, /root/.kube/config).
    #[arg(long, value_name = "FILE")]
    kube_config: Option<PathBuf>,
    /// A table or lines for people, or one JSON object a line.
    #[arg(short, long, value_enum, default_value_t)]
    output: Output,
}

/// How often a table is drawn at most.
const DRAWN: Duration = Duration::from_millis(250);

impl WatchArgs {
    pub(super) async fn run(self, layout: &Layout) -> Result<(), Failure> {
        let failed = |problem: Problem| problem.fail("devices cannot be watched", Exit::Failed);
        let path = cluster::kubeconfig(self.kube_config.as_deref(), layout);
        let client = cluster::connect(&path).await.map_err(failed)?;
        self.begin(&client).await.map_err(failed)?;
        let mut screen = Screen::new(&self);
        let mut view = View::default();
        let mut devices = self.follow::<Device>(&client);
        let mut statuses = self.follow::<DeviceStatus>(&client);
        let (mut new_devices, mut new_statuses) = (Listing::default(), Listing::default());
        let mut draw = interval(DRAWN);
        draw.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let end = self.timeout.map(|seconds| Instant::now() + Duration::from_secs(seconds));
        loop {
            tokio::select! {
                _ = tokio::signal::ctrl_c() => return Ok(()),
                () = until(end) => return Ok(()),
                Some(event) = devices.next() => screen.heard(event, &mut view.devices, &mut new_devices),
                Some(event) = statuses.next() => screen.heard(event, &mut view.statuses, &mut new_statuses),
                _ = draw.tick() => {
                    // A list that is half read would be shown as if the rest were gone.
                    if new_devices.done && new_statuses.done && !screen.show(&view) {
                        return Ok(());
                    }
                }
            }
        }
    }

    /// A name that is nobody's, a namespace that is none and an API that is none are said before anything is shown.
    async fn begin(&self, client: &Client) -> Result<(), Problem> {
        let devices: Api<Device> = Api::namespaced(client.clone(), &self.namespace);
        let Some(name) = &self.name else {
            let listed = devices.list(&kube::api::ListParams::default().limit(1)).await;
            return listed.map(drop).map_err(|error| cluster::api_problem("list devices", &error));
        };
        match devices.get_opt(name).await {
            Ok(Some(_)) => Ok(()),
            Ok(None) => {
                Err(Problem::new(format!("there is no device {name} in namespace {}", self.namespace))
                    .next("see which there are: kubectl get devices -A"))
            }
            Err(error) => Err(cluster::api_problem(&format!("read device {name}"), &error)),
        }
    }

    fn follow<K>(&self, client: &Client) -> BoxStream<'static, Result<Event<K>, watcher::Error>>
    where
        K: Resource<DynamicType = (), Scope = kube::core::NamespaceResourceScope>
            + Clone
            + DeserializeOwned
            + Debug
            + Send
            + 'static,
    {
        let api: Api<K> = match self.all_namespaces {
            true => Api::all(client.clone()),
            false => Api::namespaced(client.clone(), &self.namespace),
        };
        let config = match &self.name {
            Some(name) => watcher::Config::default().fields(&format!("metadata.name={name}")),
            None => watcher::Config::default(),
        };
        watcher(api, config).default_backoff().boxed()
    }
}

/// A list of objects that is being read: a watch begins with one, and after a break with another.
struct Listing<K> {
    objects: BTreeMap<Id, K>,
    done: bool,
}

impl<K> Default for Listing<K> {
    fn default() -> Self {
        Self { objects: BTreeMap::new(), done: false }
    }
}

/// Where it is shown.
struct Screen {
    json: bool,
    table: bool,
    all_namespaces: bool,
    shown: Vec<Row>,
    /// Why the API is not heard.
    trouble: Option<String>,
    /// When a table was drawn: what is seconds ago changes by itself.
    drawn: Option<Instant>,
    dirty: bool,
}

impl Screen {
    fn new(args: &WatchArgs) -> Self {
        let json = args.output == Output::Json;
        Self {
            json,
            table: !json && io::stdout().is_terminal(),
            all_namespaces: args.all_namespaces,
            shown: Vec::new(),
            trouble: None,
            drawn: None,
            dirty: true,
        }
    }

    fn heard<K: Resource>(
        &mut self,
        event: Result<Event<K>, watcher::Error>,
        known: &mut BTreeMap<Id, K>,
        listing: &mut Listing<K>,
    ) {
        let id = |object: &K| {
            let metadata = object.meta();
            (metadata.namespace.clone().unwrap_or_default(), metadata.name.clone().unwrap_or_default())
        };
        match event {
            Ok(event) => {
                self.trouble = None;
                match event {
                    Event::Init => *listing = Listing::default(),
                    Event::InitApply(object) => {
                        listing.objects.insert(id(&object), object);
                    }
                    Event::InitDone => {
                        *known = std::mem::take(&mut listing.objects);
                        listing.done = true;
                    }
                    Event::Apply(object) => {
                        known.insert(id(&object), object);
                    }
                    Event::Delete(object) => {
                        known.remove(&id(&object));
                    }
                }
            }
            Err(error) => {
                if self.trouble.is_none() && !self.table {
                    eprintln!("the API does not answer, trying again: {error}");
                }
                self.trouble = Some(error.to_string());
            }
        }
        self.dirty = true;
    }

    /// False: nobody reads it any more.
    fn show(&mut self, view: &View) -> bool {
        let stale = self.table && self.drawn.is_some_and(|drawn| drawn.elapsed() >= Duration::from_secs(1));
        if !self.dirty && !stale {
            return true;
        }
        self.dirty = false;
        let rows = view.rows();
        let text = if self.table { self.picture(&rows) } else { self.lines(&rows) };
        self.shown = rows;
        let mut out = io::stdout().lock();
        out.write_all(text.as_bytes()).and_then(|()| out.flush()).is_ok()
    }

    fn picture(&mut self, rows: &[Row]) -> String {
        self.drawn = Some(Instant::now());
        let (width, height) = size();
        let now = jiff::Timestamp::now().as_millisecond();
        let mut text = String::from("\x1b[H\x1b[J");
        match rows.is_empty() {
            true => text.push_str("no devices yet\n"),
            false => text.push_str(&table(rows, self.all_namespaces, now, width, height.saturating_sub(3))),
        }
        match &self.trouble {
            Some(why) => text.push_str(&format!("\nthe API does not answer, trying again: {why}\n")),
            None => text.push_str("\nCtrl-C ends\n"),
        }
        text
    }

    fn lines(&self, rows: &[Row]) -> String {
        let mut text = String::new();
        for row in changed(&self.shown, rows) {
            if self.json {
                text.push_str(&serde_json::to_string(&row).unwrap_or_default());
            } else {
                let at = row.timestamp.and_then(|at| jiff::Timestamp::from_millisecond(at).ok());
                let at = at.map_or_else(|| "-".to_owned(), |at| at.to_string());
                let (reported, desired) =
                    (row.reported.as_deref().unwrap_or("-"), row.desired.as_deref().unwrap_or("-"));
                text.push_str(&format!(
                    "{at} {}/{} {} {}={reported:?} desired={desired:?}",
                    row.namespace, row.device, row.health, row.property
                ));
            }
            text.push('\n');
        }
        text
    }
}

/// Columns and lines of the terminal.
fn size() -> (usize, usize) {
    match terminal_size::terminal_size() {
        Some((terminal_size::Width(width), terminal_size::Height(height))) => (width.into(), height.into()),
        None => (120, 40),
    }
}

async fn until(end: Option<Instant>) {
    match end {
        Some(end) => sleep_until(end).await,
        None => std::future::pending().await,
    }
}
