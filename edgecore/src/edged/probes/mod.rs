//! Owns asking containers how they are: probes as pods describe them, and what follows from the answers.
//!
//! May call: the runtime (commands inside containers), the recorder of events. Called by pod workers, each of which holds a
//! [`Prober`] for its pod; lifecycle hooks use the same ways of asking.
//!
//! Thresholds, defaults and words are the kubelet's (Kubernetes v1.32 `pkg/kubelet/prober`, `pkg/probe`).

mod board;
mod grpc;
mod handler;
mod http;
mod prober;
mod runner;
mod schedule;
mod tally;

use std::fmt;

pub use board::{Health, Healths};
pub use handler::{Handler, Outcome, Place};
pub use http::Target;
pub use prober::{Prober, Round};

/// What a probe decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Whether the container has come up; until then nothing else is asked.
    Startup,
    /// Whether it is to be started anew.
    Liveness,
    /// Whether it is to be given work.
    Readiness,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Startup => "Startup",
            Self::Liveness => "Liveness",
            Self::Readiness => "Readiness",
        })
    }
}
