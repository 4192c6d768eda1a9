use std::{fmt::Debug, future::Future, time::Duration};

use anyhow::{Result, bail};
use tokio::time::{Instant, sleep};

/// Polls `probe` every 20 ms until it says `Ok(value)`, for at most `limit`.
///
/// # Errors
/// When the limit passes, with `what` and the last state that the probe reported.
pub async fn eventually<T, S, F, Fut>(what: &str, limit: Duration, mut probe: F) -> Result<T>
where
    S: Debug,
    F: FnMut() -> Fut,
    Fut: Future<Output = std::result::Result<T, S>>,
{
    let end = Instant::now() + limit;
    loop {
        match probe().await {
            Ok(value) => return Ok(value),
            Err(state) if Instant::now() >= end => {
                bail!("{what}: not within {limit:?}; last seen: {state:?}")
            }
            Err(_) => sleep(Duration::from_millis(20)).await,
        }
    }
}
