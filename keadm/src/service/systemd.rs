use std::path::Path;

use tokio::process::Command;

use super::{Service, Status};
use crate::{
    layout::Layout,
    problem::{Problem, file_problem},
};

/// Programs that systemd keeps running, from the units in `deploy/systemd`.
#[derive(Clone, Debug)]
pub(crate) struct Systemd {
    layout: Layout,
}

const UNITS: [(&str, &str); 2] = [
    ("cloudcore", include_str!("../../../deploy/systemd/cloudcore.service")),
    ("edgecore", include_str!("../../../deploy/systemd/edgecore.service")),
];

impl Systemd {
    pub(crate) fn new(layout: Layout) -> Self {
        Self { layout }
    }

    /// Whether systemd is the init process, as `sd_booted(3)` finds out.
    pub(crate) fn is_running() -> bool {
        Path::new("/run/systemd/system").is_dir()
    }

    pub(crate) async fn start(&self, service: &Service) -> Result<(), Problem> {
        let Some((_, text)) = UNITS.iter().find(|(name, _)| *name == service.name) else {
            return Err(Problem::new(format!("there is no unit for {}", service.name))
                .cause("keadm ships units for cloudcore and edgecore")
                .next("report this"));
        };
        let path = self.layout.unit(&service.name);
        std::fs::write(&path, text).map_err(|error| file_problem("write", &path, &error))?;
        systemctl(&["daemon-reload"]).await?;
        systemctl(&["enable", &service.name]).await?;
        // A unit that failed too often refuses to start until its count is reset; that it was never loaded is fine.
        systemctl(&["reset-failed", &service.name]).await.ok();
        systemctl(&["start", &service.name]).await.map(drop)
    }

    pub(crate) async fn stop(&self, name: &str) -> Result<bool, Problem> {
        let path = self.layout.unit(name);
        let found = path.exists();
        if found {
            systemctl(&["disable", "--now", name]).await?;
            std::fs::remove_file(&path).map_err(|error| file_problem("remove", &path, &error))?;
            systemctl(&["daemon-reload"]).await?;
            systemctl(&["reset-failed", name]).await.ok();
        }
        Ok(found)
    }

    pub(crate) async fn status(&self, name: &str) -> Status {
        let Ok(text) = systemctl(&["show", name, "--property=ActiveState,SubState,MainPID,Result"]).await
        else {
            return Status::Stopped;
        };
        parse_status(&text)
    }

    pub(crate) async fn tail(&self, name: &str, lines: usize) -> Vec<String> {
        let output = Command::new("journalctl")
            .args(["-u", name, "-n", &lines.to_string(), "--no-pager", "-o", "cat"])
            .output()
            .await;
        let text =
            output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }
}

fn parse_status(text: &str) -> Status {
    let value = |key: &str| {
        text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('=')).unwrap_or_default()
    };
    match (value("ActiveState"), value("MainPID").parse()) {
        ("active", Ok(pid)) if pid != 0 => Status::Running { pid },
        ("activating" | "reloading", _) => {
            Status::Restarting { reason: format!("{} ({})", value("SubState"), value("Result")) }
        }
        _ => Status::Stopped,
    }
}

async fn systemctl(arguments: &[&str]) -> Result<String, Problem> {
    let line = format!("systemctl {}", arguments.join(" "));
    let output = Command::new("systemctl").args(arguments).output().await.map_err(|error| {
        Problem::new(format!("`{line}` cannot be run")).cause(error).next("install systemd's tools")
    })?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Err(Problem::new(format!("`{line}` failed"))
        .cause(String::from_utf8_lossy(&output.stderr).trim())
        .next("journalctl -xe"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_systemctl_shows_becomes_a_status() {
        let shown = |state: &str, sub: &str, pid: i32| {
            parse_status(&format!("MainPID={pid}\nResult=exit-code\nActiveState={state}\nSubState={sub}\n"))
        };
        assert_eq!(shown("active", "running", 7), Status::Running { pid: 7 });
        let reason = "auto-restart (exit-code)".to_owned();
        assert_eq!(shown("activating", "auto-restart", 0), Status::Restarting { reason });
        assert_eq!(shown("failed", "failed", 0), Status::Stopped);
    }

    #[test]
    fn the_units_keep_what_upgrade_jobs_rely_on() {
        for (name, text) in UNITS {
            assert!(text.contains(&format!("ExecStart=/usr/local/bin/{name}")), "{name}");
            assert!(text.contains("Restart=always") && text.contains("WantedBy=multi-user.target"), "{name}");
        }
        assert!(UNITS[1].1.contains("KillMode=process"), "keadm must survive stopping edgecore, its parent");
    }
}
