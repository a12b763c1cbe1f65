//! Daemons that the agent runs where no other service does: started detached, found again after a restart of the
//! agent, restarted after each end, and ended only on request.
//!
//! A daemon is found by its pid file. It counts only if its command line names that file, so that a reused
//! process id is not mistaken for the daemon.

use crate::{
    exec::{self, ExecError},
    held::Held,
};
use rustix::process::Signal;
use std::{
    io,
    path::{Path, PathBuf},
    time::Duration,
};
use tokio::{sync::watch, time::Instant};

/// A daemon that ended sooner than this after its start is restarted only after a pause.
const STEADY_AFTER: Duration = Duration::from_secs(5);
const PAUSE_MS_MIN: u64 = 100;
const PAUSE_MS_MAX: u64 = 5_000;
/// How long a daemon has to end after the request.
const END_WITHIN: Duration = Duration::from_secs(5);

/// A daemon. Its files lie in one directory, under its name.
#[derive(Debug, Clone)]
pub struct Daemon {
    /// The name of its pid file and its logs.
    pub name: &'static str,
    /// The program, found in `PATH`.
    pub program: &'static str,
    /// Its arguments, without the pid file.
    pub args: Vec<String>,
    /// Its working directory, which also has its files.
    pub dir: PathBuf,
    /// The environment variables that name that directory.
    pub dir_variables: &'static [&'static str],
}

impl Daemon {
    fn pid_file(&self) -> PathBuf {
        self.dir.join(format!("{}.pid", self.name))
    }

    /// Starts the daemon. Output before its log is open goes to a file.
    fn start(&self) -> Result<exec::Detached, ExecError> {
        let program = exec::which(self.program).ok_or_else(|| ExecError::Missing(self.program.to_owned()))?;
        let mut args = self.args.clone();
        args.push(format!("--pidfile={}", self.pid_file().display()));
        let env: Vec<(&str, &Path)> =
            self.dir_variables.iter().map(|name| (*name, self.dir.as_path())).collect();
        exec::spawn_with(&program, &args, &env, &self.dir, &self.dir.join(format!("{}.err", self.name)))
    }

    /// Keeps the daemon running. Dropping the future leaves it running. `started` counts the starts by this
    /// process; it is 0 for a daemon that was found running.
    pub async fn keep(self, started: watch::Sender<u64>) {
        let mut pause_ms = PAUSE_MS_MIN;
        loop {
            match find(&self.pid_file()) {
                Ok(Some(held)) => {
                    // An error looks like the process's end here; the next look tells.
                    let _ = held.ended().await;
                    tracing::warn!(daemon = self.name, dir = %self.dir.display(), "a daemon ended and is started again");
                }
                Ok(None) => {}
                Err(error) => tracing::warn!(daemon = self.name, %error, "a daemon cannot be looked for"),
            }
            let began = Instant::now();
            match self.start() {
                Ok(mut child) => {
                    started.send_modify(|count| *count += 1);
                    let how = child.ended().await;
                    tracing::warn!(daemon = self.name, dir = %self.dir.display(), how, "a daemon ended and is started again");
                }
                Err(error) => tracing::error!(daemon = self.name, %error, "a daemon cannot be started"),
            }
            if began.elapsed() >= STEADY_AFTER {
                pause_ms = PAUSE_MS_MIN;
                continue;
            }
            tokio::time::sleep(Duration::from_millis(pause_ms)).await;
            pause_ms = (pause_ms * 2).min(PAUSE_MS_MAX);
        }
    }
}

/// The daemon of a pid file, if it runs.
fn find(pid_file: &Path) -> io::Result<Option<Held>> {
    let text = match std::fs::read_to_string(pid_file) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let Ok(pid) = text.trim().parse::<u32>() else { return Ok(None) };
    let Some(held) = Held::open(pid)? else { return Ok(None) };
    let cmdline = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let wanted = format!("--pidfile={}", pid_file.display());
    let is_it = cmdline.split(|byte| *byte == 0).any(|word| word == wanted.as_bytes());
    Ok(is_it.then_some(held))
}

/// Ends all daemons with files in a directory: first the named ones, then the others. Returns the number of
/// daemons.
///
/// # Errors
/// A daemon does not end, or the directory cannot be read.
pub async fn end_all(dir: &Path, first: &[&str]) -> io::Result<usize> {
    let entries = match std::fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        Err(error) => return Err(error),
    };
    let mut files = Vec::new();
    for entry in entries {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "pid") {
            files.push(path);
        }
    }
    let rank = |path: &PathBuf| {
        let name = path.file_stem().and_then(|name| name.to_str()).unwrap_or_default();
        first.iter().position(|of| *of == name).unwrap_or(first.len())
    };
    files.sort_by_key(rank);
    let mut ended = 0;
    for file in files {
        let Some(held) = find(&file)? else { continue };
        held.signal(Signal::TERM)?;
        if tokio::time::timeout(END_WITHIN, held.ended()).await.is_err() {
            held.signal(Signal::KILL)?;
            let gone = tokio::time::timeout(END_WITHIN, held.ended()).await;
            gone.map_err(|_| io::Error::other(format!("the process of {} does not end", file.display())))??;
        }
        ended += 1;
    }
    Ok(ended)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sleeper(dir: &Path) -> Daemon {
        // A shell that writes its pid file as daemons do; its argument identifies it.
        let script =
            "for a; do case $a in --pidfile=*) echo $$ > ${a#--pidfile=};; esac; done; read x < fifo";
        Daemon {
            name: "sleeper",
            program: "sh",
            args: ["-c", script, "sleeper"].map(str::to_owned).to_vec(),
            dir: dir.to_owned(),
            dir_variables: &["SLEEPER_DIR"],
        }
    }

    async fn running(daemon: &Daemon) -> Held {
        loop {
            if let Some(held) = find(&daemon.pid_file()).unwrap() {
                return held;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    #[tokio::test]
    async fn a_daemon_outlives_its_keeper_is_found_again_and_started_again_when_it_ends() {
        let dir = tempfile::tempdir().unwrap();
        let daemon = sleeper(dir.path());
        rustix::fs::mknodat(
            rustix::fs::CWD,
            dir.path().join("fifo"),
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR,
            0,
        )
        .unwrap();
        let (sender, mut starts) = watch::channel(0);
        let keeper = tokio::spawn(daemon.clone().keep(sender));
        starts.wait_for(|count| *count == 1).await.unwrap();
        let first = running(&daemon).await;
        keeper.abort();
        assert!(keeper.await.unwrap_err().is_cancelled());

        let (sender, mut starts) = watch::channel(0);
        let keeper = tokio::spawn(daemon.clone().keep(sender));
        first.signal(Signal::KILL).unwrap();
        first.ended().await.unwrap();
        starts.wait_for(|count| *count == 1).await.unwrap();
        running(&daemon).await;
        keeper.abort();
        let _ = keeper.await;
        assert_eq!(end_all(dir.path(), &["sleeper"]).await.unwrap(), 1);
        assert!(find(&daemon.pid_file()).unwrap().is_none());
        assert_eq!(end_all(&dir.path().join("nowhere"), &[]).await.unwrap(), 0);
    }
}
