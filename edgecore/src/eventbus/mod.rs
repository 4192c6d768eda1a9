//! MQTT: sensors and applications on one side, the twins on the other.
//!
//! Owns: the embedded broker ([`broker`]) or the connection to an external one ([`external`]), and what topics mean
//! ([`topic`]). May call: devicetwin, which decides and answers. Called by: devicetwin, through [`Mouth`], to speak.
//!
//! A publish that must not be lost is acknowledged to its sender (PUBACK, PUBREC) only when devicetwin has it on
//! disk. Messages of one client are handed over in the order in which they came.

mod broker;
mod external;
mod settings;
mod topic;

use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use tasks::{Restart, TaskSet};
use tokio::sync::{Mutex, mpsc};
use tracing::warn;

pub use broker::ListenError;
pub use settings::{Settings, SettingsError};

use crate::devicetwin::{self, Voice, engine::Notice};

/// Notices that wait to be published. When devices cause more than brokers take, the newest are dropped, counted.
const NOTICES: usize = 4096;

/// What devicetwin speaks with.
#[derive(Debug)]
pub struct Mouth {
    notices: mpsc::Sender<Notice>,
    dropped: AtomicU64,
}

/// The other end of a [`Mouth`], for [`start`].
#[derive(Debug)]
pub struct Ear(mpsc::Receiver<Notice>);

/// A mouth and its ear. Apart, because devicetwin speaks through eventbus and eventbus asks devicetwin: both are
/// wired before either runs.
#[must_use]
pub fn voice() -> (Mouth, Ear) {
    let (notices, queue) = mpsc::channel(NOTICES);
    (Mouth { notices, dropped: AtomicU64::new(0) }, Ear(queue))
}

impl Voice for Mouth {
    fn say(&self, notice: &Notice) {
        if self.notices.try_send(notice.clone()).is_err() {
            let dropped = self.dropped.fetch_add(1, Ordering::Relaxed) + 1;
            if dropped.is_power_of_two() {
                warn!(dropped, "answers to devices dropped, the broker does not keep up");
            }
        }
    }
}

/// Starts the brokers of `settings` on `tasks`. Devices' requests go to `twins`; what `ear` hears is published.
///
/// # Errors
/// When the embedded broker cannot listen.
pub async fn start(
    settings: Settings,
    ear: Ear,
    twins: devicetwin::Handle,
    tasks: &TaskSet,
) -> Result<(), ListenError> {
    let mut outlets = Vec::new();
    if let Some(address) = settings.internal {
        outlets.push(Outlet::Embedded(broker::start(address, twins.clone(), tasks).await?));
    }
    if let Some(external) = settings.external.clone() {
        outlets.push(Outlet::External(external::start(external, twins, tasks)));
    }
    let node = settings.node;
    // The queue outlives a panic of one run; only one run at a time holds it.
    let speaker = Arc::new(Mutex::new((ear.0, outlets)));
    tasks.spawn("publish", Restart::on_failure(), move |token| {
        let (speaker, node) = (Arc::clone(&speaker), node.clone());
        async move {
            let mut speaker = speaker.lock().await;
            let (ear, outlets) = &mut *speaker;
            while let Some(Some(notice)) = token.run_until_cancelled(ear.recv()).await {
                let topic = topic::of(&notice.to, &node);
                for outlet in &mut *outlets {
                    outlet.publish(&topic, &notice).await;
                }
            }
            Ok::<(), Infallible>(())
        }
    });
    Ok(())
}

/// Where notices are published.
enum Outlet {
    Embedded(broker::Publisher),
    External(external::Publisher),
}

impl Outlet {
    async fn publish(&mut self, topic: &str, notice: &Notice) {
        match self {
            Self::Embedded(broker) => broker.publish(topic, &notice.payload).await,
            Self::External(broker) => broker.publish(topic, &notice.payload),
        }
    }
}
