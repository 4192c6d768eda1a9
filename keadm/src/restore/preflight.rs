use std::{fs::File, path::Path};

use nix::fcntl::{FcntlArg, fcntl};
use proto::backup::STORE_FILE;

use crate::{
    backup::contents::Cloud,
    host::process,
    layout::Layout,
    problem::Problem,
    reset::not_root,
    service::{Services, Status},
};

/// Everything that stands in the way, found before anything is changed.
pub(super) async fn check(cloud: &Cloud, layout: &Layout, force: bool) -> Vec<Problem> {
    let mut problems = Vec::new();
    if layout.is_host() && !nix::unistd::geteuid().is_root() {
        problems.push(not_root());
    }
    if let Some(who) = running(cloud, layout).await {
        problems.push(
            Problem::new("cloudcore runs")
                .cause(format!("{who} uses {}", cloud.data_dir.display()))
                .next("stop it first, for example: systemctl stop cloudcore"),
        );
    }
    let there = [&cloud.data_dir.join(STORE_FILE), &cloud.data_dir.join("pki"), &cloud.config];
    if let Some(state) = there.into_iter().find(|path| path.exists() && !force) {
        problems.push(
            Problem::new("there is a cloud already")
                .cause(format!("{} exists", state.display()))
                .next("add --force to keep it under another name, or remove it: keadm reset cloud"),
        );
    }
    problems
}

/// Who uses the state of this cloud.
async fn running(cloud: &Cloud, layout: &Layout) -> Option<String> {
    match Services::of(layout).status("cloudcore").await {
        Status::Running { pid } => return Some(format!("cloudcore (pid {pid})")),
        Status::Restarting { .. } => return Some("cloudcore, which is just being restarted,".to_owned()),
        Status::Stopped => {}
    }
    if layout.is_host()
        && let Some(stray) = process::running("cloudcore", Some(&cloud.config)).first()
    {
        return Some(stray.to_string());
    }
    holder(&cloud.data_dir.join(STORE_FILE)).map(|pid| format!("process {pid}"))
}

/// The process that holds a lock on a file. SQLite holds one on a database that is in use.
fn holder(path: &Path) -> Option<i32> {
    let file = File::options().read(true).write(true).open(path).ok()?;
    let mut asked = nix::libc::flock {
        l_type: nix::libc::F_WRLCK as i16,
        l_whence: nix::libc::SEEK_SET as i16,
        l_start: 0,
        l_len: 0,
        l_pid: 0,
    };
    fcntl(&file, FcntlArg::F_GETLK(&mut asked)).ok()?;
    (asked.l_type != nix::libc::F_UNLCK as i16).then_some(asked.l_pid)
}
