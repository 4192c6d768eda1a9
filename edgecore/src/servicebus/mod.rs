//! HTTP between local programs and the cloud: calls local programs for rules, and takes what local programs call.
//!
//! Owns: the listener (127.0.0.1:9060). May call: rules (which URLs are allowed), edgehub (to ask the cloud), local programs. Called by:
//! the wiring; rules, with what the cloud wants to be called.

mod call;
mod local;

use std::net::SocketAddr;
use std::time::Duration;

use proto::config::ServiceBus;
use tasks::{Restart, TaskSet};

pub use call::Caller;
pub(crate) use call::refusal;

use crate::{edgehub, rules};

/// `modules.serviceBus` of edgecore.yaml.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Where local programs call.
    pub address: SocketAddr,
    /// How long a call may take, either way.
    pub timeout: Duration,
}

impl Settings {
    /// Reads the settings.
    #[must_use]
    pub fn new(config: &ServiceBus) -> Self {
        Self { address: SocketAddr::new(config.server, config.port), timeout: config.timeout.get() }
    }
}

/// Serves local programs on `tasks`.
pub fn serve(settings: Settings, rules: rules::Handle, hub: edgehub::Handle, tasks: &TaskSet) {
    let door = local::Door { rules, hub, timeout: settings.timeout };
    tasks.spawn("programs", Restart::on_failure(), move |token| {
        local::listen(settings.address, door.clone(), token)
    });
}
