//! The only place where subprocesses are started: each with a deadline, limits and a bounded output.
#![expect(clippy::disallowed_methods, reason = "this is the module in which subprocesses are started")]

use crate::files;
use rustix::process::{Pid, Signal, kill_process_group};
use std::{ffi::OsStr, path::Path, process::Stdio, time::Duration};
use tokio::io::{AsyncRead, AsyncReadExt};

/// How much of a program's output is kept, in bytes: a list of all packages fits.
const OUTPUT_BYTES_MAX: u64 = 1024 * 1024;
/// How much of a program's error output is kept, in bytes.
const ERRORS_BYTES_MAX: u64 = 64 * 1024;

/// A program could not be run, or failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ExecError {
    /// The program is not installed.
    #[error("the program '{0}' is not installed")]
    Missing(String),
    /// The program could not be started.
    #[error("'{program}' could not be started: {source}")]
    Start {
        /// The program.
        program: String,
        /// The reason.
        source: std::io::Error,
    },
    /// The program took too long, and was ended.
    #[error("'{program}' did not end within {seconds} s")]
    TimedOut {
        /// The program.
        program: String,
        /// Its deadline, in seconds.
        seconds: u64,
    },
    /// The program failed.
    #[error("'{program}' failed ({status}): {stderr}")]
    Failed {
        /// The program.
        program: String,
        /// Its exit status.
        status: String,
        /// The exit status as a number, if the program exited by itself.
        code: Option<i32>,
        /// Its output.
        stdout: String,
        /// Its error output.
        stderr: String,
    },
}

/// The limits of a program.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// Wall-clock time.
    pub deadline: Duration,
    /// Address space in MiB, and CPU seconds; `None` means no limit, for programs that outlive the agent.
    pub memory_mb_and_cpu_s: Option<(u64, u64)>,
}

/// Runs a program to its end. Returns its standard output. If it does not end in time, or nobody waits for it any more, it
/// is ended with all its children.
///
/// # Errors
/// The program is missing, cannot be started, takes too long, or ends with a status other than 0.
pub(crate) async fn run<S: AsRef<OsStr>>(
    program: &Path,
    args: &[S],
    limits: Limits,
) -> Result<String, ExecError> {
    run_in(Path::new("."), program, args, limits).await
}

/// Runs a program with more in its environment.
///
/// # Errors
/// See [`run`].
pub(crate) async fn run_with<S: AsRef<OsStr>, const N: usize>(
    environment: [(&str, &str); N],
    program: &Path,
    args: &[S],
    limits: Limits,
) -> Result<String, ExecError> {
    let mut command = command(program, limits);
    command.envs(environment).args(args);
    finish(command, program, limits).await
}

/// Runs a program in a directory.
///
/// # Errors
/// See [`run`].
pub(crate) async fn run_in<S: AsRef<OsStr>>(
    dir: &Path,
    program: &Path,
    args: &[S],
    limits: Limits,
) -> Result<String, ExecError> {
    let mut command = command(program, limits);
    command.args(args).current_dir(dir);
    finish(command, program, limits).await
}

fn command(program: &Path, limits: Limits) -> tokio::process::Command {
    let Some((memory_mb, cpu_s)) = limits.memory_mb_and_cpu_s else {
        return tokio::process::Command::new(program);
    };
    // Setting limits between fork and exec needs unsafe code; util-linux does it for us.
    let mut command = tokio::process::Command::new("prlimit");
    command.arg(format!("--as={}", memory_mb << 20)).arg(format!("--cpu={cpu_s}"));
    command.arg("--core=0").arg("--").arg(program);
    // The C library reserves 64 MiB of addresses for each thread that allocates. A program with many threads would
    // sometimes reach its limit by these reserves alone.
    command.env("MALLOC_ARENA_MAX", "1");
    command
}

async fn finish(
    mut command: tokio::process::Command,
    program: &Path,
    limits: Limits,
) -> Result<String, ExecError> {
    let name = program.display().to_string();
    // A group for itself, with which its children end.
    command.kill_on_drop(true).process_group(0);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    // The program runs until its end or the deadline.
    let mut child = command.spawn().map_err(|source| match source.kind() {
        std::io::ErrorKind::NotFound if limits.memory_mb_and_cpu_s.is_some() => {
            ExecError::Missing("prlimit (util-linux)".to_owned())
        }
        std::io::ErrorKind::NotFound => ExecError::Missing(name.clone()),
        _ => ExecError::Start { program: name.clone(), source },
    })?;
    let group = Group(child.id().and_then(|pid| Pid::from_raw(pid.try_into().ok()?)));
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let work = async {
        let (stdout, stderr, status) =
            tokio::join!(drain(stdout, OUTPUT_BYTES_MAX), drain(stderr, ERRORS_BYTES_MAX), child.wait());
        (stdout, stderr, status)
    };
    let Ok((stdout, stderr, status)) = tokio::time::timeout(limits.deadline, work).await else {
        return Err(ExecError::TimedOut { program: name, seconds: limits.deadline.as_secs() });
    };
    group.has_ended();
    // The meaning of its end.
    match status {
        Ok(status) if status.success() => Ok(stdout),
        Ok(status) => {
            let stderr = stderr.trim().to_owned();
            if status.code() == Some(127) && limits.memory_mb_and_cpu_s.is_some() {
                return Err(ExecError::Missing(name));
            }
            let code = status.code();
            Err(ExecError::Failed { program: name, status: status.to_string(), code, stdout, stderr })
        }
        Err(source) => Err(ExecError::Start { program: name, source }),
    }
}

/// The process group of a program. It is killed if the program does not end in time, or if nobody waits for it any more.
struct Group(Option<Pid>);

impl Group {
    /// The program has ended by itself. Nobody has its output open, so a child that it left behind is a daemon.
    fn has_ended(mut self) {
        self.0 = None;
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(group) = self.0 {
            // It may be gone already.
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}

/// A program that outlives the agent.
pub(crate) struct Detached(tokio::process::Child);

impl Detached {
    /// Waits for the program's end, and returns its status in words.
    pub(crate) async fn ended(&mut self) -> String {
        match self.0.wait().await {
            Ok(status) => status.to_string(),
            Err(error) => error.to_string(),
        }
    }

    /// Ends the program.
    pub(crate) async fn kill(&mut self) {
        // The program may have ended by itself.
        let _ = self.0.kill().await;
    }
}

/// Starts a program in a new session, so that neither the agent's end nor its terminal's end reaches the program.
/// The program works in the directory `dir`. Its output goes to a file: a pipe would break when the agent ends.
///
/// # Errors
/// The program is missing or cannot be started, or the file cannot be written.
pub(crate) fn spawn_detached<S: AsRef<OsStr>>(
    program: &Path,
    args: &[S],
    dir: &Path,
    log: &Path,
) -> Result<Detached, ExecError> {
    spawn_with(program, args, &[], dir, log)
}

/// Starts a program in a new session, with additional environment variables.
///
/// # Errors
/// See [`spawn_detached`].
pub(crate) fn spawn_with<S: AsRef<OsStr>>(
    program: &Path,
    args: &[S],
    env: &[(&str, &Path)],
    dir: &Path,
    log: &Path,
) -> Result<Detached, ExecError> {
    let name = program.display().to_string();
    let start = |source: std::io::Error| match source.kind() {
        std::io::ErrorKind::NotFound => ExecError::Missing("setsid (util-linux)".to_owned()),
        _ => ExecError::Start { program: name.clone(), source },
    };
    let stderr = files::create(log).map_err(start)?;
    // Beginning a session between fork and exec needs unsafe code; util-linux does it for us.
    let mut command = tokio::process::Command::new("setsid");
    command
        .arg(program)
        .args(args)
        .envs(env.iter().copied())
        .current_dir(dir)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(stderr);
    command.kill_on_drop(false).spawn().map(Detached).map_err(start)
}

/// Reads to the end, so that the program never blocks, and keeps the beginning.
async fn drain(pipe: Option<impl AsyncRead + Unpin>, bytes_max: u64) -> String {
    let Some(mut pipe) = pipe else { return String::new() };
    let mut kept = Vec::new();
    if (&mut pipe).take(bytes_max).read_to_end(&mut kept).await.is_ok() {
        // The rest is read only so that the program does not block; an error changes nothing.
        let _ = tokio::io::copy(&mut pipe, &mut tokio::io::sink()).await;
    }
    String::from_utf8_lossy(&kept).into_owned()
}

/// The path of a program, found in `PATH` and root's program directories.
pub(crate) fn which(program: &str) -> Option<std::path::PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let more = ["/usr/local/sbin", "/usr/sbin", "/sbin", "/usr/libexec"];
    std::env::split_paths(&path)
        .chain(more.iter().map(Into::into))
        .map(|dir| dir.join(program))
        .find(|file| file.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(limited: bool) -> Limits {
        let memory_mb_and_cpu_s = limited.then_some((512, 5));
        Limits { deadline: Duration::from_secs(20), memory_mb_and_cpu_s }
    }

    #[tokio::test]
    async fn programs_run_fail_and_are_missing() {
        let sh = which("sh").unwrap();
        assert_eq!(run(&sh, &["-c", "echo hello"], limits(true)).await.unwrap(), "hello\n");
        let error = run(&sh, &["-c", "echo no >&2; exit 3"], limits(false)).await.unwrap_err();
        assert!(error.to_string().contains("no"), "{error}");
        for limited in [true, false] {
            let error = run(Path::new("/nowhere/tool"), &["x"], limits(limited)).await.unwrap_err();
            assert!(matches!(error, ExecError::Missing(_)), "{error}");
        }
    }

    #[tokio::test]
    async fn a_limited_program_spends_no_addresses_on_its_threads() {
        let said = |limited| async move {
            let words = ["-c", "ulimit -v; echo $MALLOC_ARENA_MAX"];
            run(&which("sh").unwrap(), &words, limits(limited)).await.unwrap()
        };
        assert_eq!(said(true).await, format!("{}\n1\n", 512 << 10));
        assert_eq!(said(false).await, "unlimited\n\n");
    }

    #[tokio::test]
    async fn a_program_that_takes_too_long_is_ended() {
        let short = Limits { deadline: Duration::from_millis(50), memory_mb_and_cpu_s: None };
        let error = run(&which("sleep").unwrap(), &["600"], short).await.unwrap_err();
        assert!(matches!(error, ExecError::TimedOut { .. }), "{error}");
    }

    #[tokio::test]
    async fn a_program_that_nobody_waits_for_any_more_ends_with_its_children() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("pids");
        let script = format!(
            "sleep 600 & echo $! > {0}.new; echo $$ >> {0}.new; mv {0}.new {0}; wait",
            file.display()
        );
        let args = ["-c", script.as_str()];
        let limits = Limits { deadline: Duration::from_secs(600), memory_mb_and_cpu_s: None };
        let (shell, begun) = (which("sh").unwrap(), async {
            while !file.exists() {
                tokio::task::yield_now().await;
            }
        });
        tokio::select! {
            ended = run(&shell, &args, limits) => panic!("it goes on: {ended:?}"),
            () = begun => {}
        }
        let pids = std::fs::read_to_string(&file).unwrap();
        assert_eq!(pids.lines().count(), 2);
        crate::testing::all_end(&pids).await;
    }
}
