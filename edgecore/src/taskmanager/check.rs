//! Whether the node has room for a task: processors, memory and disk used to no more than 80 %, as KubeEdge has it.

use std::time::Duration;

use nix::sys::statvfs::statvfs;
use procfs::{Current, Meminfo};

use crate::machine::Ticks;

/// Used beyond this, and the node is not bothered.
const LIMIT: f64 = 80.0;
/// Over which time the processors are looked at.
const SAMPLE: Duration = Duration::from_secs(1);

/// Checks what is named: `cpu`, `mem`, `disk`.
pub(super) async fn check(items: &[String]) -> Result<(), String> {
    for item in items {
        let used = match item.as_str() {
            "cpu" => cpu().await,
            "mem" => mem(),
            "disk" => disk(),
            other => return Err(format!("checkItems: {other:?} cannot be checked; use cpu, mem or disk")),
        };
        match used {
            Some(used) if used > LIMIT => {
                return Err(format!("{item} is used to {used:.1} %, which is more than {LIMIT} %"));
            }
            Some(_) => {}
            None => return Err(format!("how much of {item} is used cannot be read from the system")),
        }
    }
    Ok(())
}

async fn cpu() -> Option<f64> {
    let before = Ticks::now()?;
    tokio::time::sleep(SAMPLE).await;
    let after = Ticks::now()?;
    percent(after.busy.saturating_sub(before.busy), after.all.saturating_sub(before.all))
}

fn mem() -> Option<f64> {
    let memory = Meminfo::current().ok()?;
    percent(memory.mem_total.saturating_sub(memory.mem_available?), memory.mem_total)
}

fn disk() -> Option<f64> {
    let disk = statvfs("/").ok()?;
    let used = disk.blocks().saturating_sub(disk.blocks_free());
    // What root alone may use counts as used, as df has it.
    percent(used, used + disk.blocks_available())
}

fn percent(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64 * 100.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_not_named_is_not_looked_at_and_what_is_not_known_is_refused() {
        assert_eq!(check(&[]).await, Ok(()));
        assert!(check(&["gpu".into()]).await.unwrap_err().contains("\"gpu\""));
        for used in [cpu().await, mem(), disk()] {
            assert!((0.0..=100.0).contains(&used.unwrap()), "{used:?}");
        }
    }
}
