//! Processes of this program: which of them run, and how they end.

use anyhow::{Context, Result};
use rustix::process::{Pid, Signal, kill_process};
use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};

/// How long the cloud has to end.
const GRACE: Duration = Duration::from_secs(15);

/// Ends a process.
///
/// # Errors
/// The process cannot be signalled, or does not end in time.
pub(crate) fn end(pid: Pid) -> Result<()> {
    kill_process(pid, Signal::TERM).context("the cloud could not be told to stop")?;
    wait_for_end(pid)
}

/// Whether a process of this program has that id.
pub(crate) fn process_runs(pid: u32) -> bool {
    ours(pid).is_some_and(runs)
}

/// Ends a process of this program. A missing process is no error.
///
/// # Errors
/// The process does not end in time.
pub(crate) fn end_process(pid: u32) -> Result<()> {
    ours(pid).filter(|pid| runs(*pid)).map_or(Ok(()), end)
}

fn ours(pid: u32) -> Option<Pid> {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw)?;
    // Another process may have got the id since: only a process with our name is ours.
    let command = fs::read_to_string(format!("/proc/{}/comm", pid.as_raw_nonzero())).unwrap_or_default();
    let own = fs::read_to_string("/proc/self/comm").unwrap_or_default();
    // Before it becomes a lenticular process, it has the names of the programs that start it.
    (command == own || matches!(command.trim(), "lenticular" | "setsid" | "ip")).then_some(pid)
}

/// The process of the pid file, if it is a running lenticular.
pub(crate) fn running(pid_file: &Path) -> Result<Option<Pid>> {
    let text = match fs::read_to_string(pid_file) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).with_context(|| format!("{} cannot be read", pid_file.display())),
    };
    let pid = text.trim().parse().ok();
    let pid: u32 = pid.with_context(|| format!("{} holds no process id; remove it", pid_file.display()))?;
    Ok(ours(pid))
}

#[expect(clippy::disallowed_methods, reason = "the end of a process that is no child can only be looked for")]
fn wait_for_end(pid: Pid) -> Result<()> {
    let began = Instant::now();
    while runs(pid) {
        anyhow::ensure!(
            began.elapsed() < GRACE,
            "process {pid:?} does not end; look at its log, or end it by force"
        );
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

/// Whether the process runs. A zombie does not.
fn runs(pid: Pid) -> bool {
    let stat = fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).unwrap_or_default();
    // The name before the state is in parentheses and may contain parentheses.
    let state = stat.rsplit_once(')').map(|(_, rest)| rest.trim_start());
    state.is_some_and(|state| !state.starts_with(['Z', 'X']))
}
