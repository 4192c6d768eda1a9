//! Task sets: every background task has a name, an owner, a restart policy and a proven end.
//!
//! Owns: starting, restarting, cancelling and awaiting tasks; the back-off they and others use; the wall clock.
//! May call: tokio. Called by: every crate that runs something in the background.
//!
//! A [`TaskSet`] is held by the struct whose tasks it runs. Dropping it ends them; [`TaskSet::shutdown`] ends them
//! gracefully and says who did not end. A set made with [`TaskSet::child`] dies with its parent.

mod backoff;
pub mod clock;
mod set;

pub use backoff::Backoff;
pub use set::{Report, Restart, TaskSet};
