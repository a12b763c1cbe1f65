//! The only place where this crate starts subprocesses.
#![expect(clippy::disallowed_methods, reason = "this is the module in which subprocesses are started")]

use anyhow::{Context, Result};
use std::{
    ffi::OsStr,
    fs::OpenOptions,
    path::Path,
    process::{Command, Stdio},
};

/// Runs a program to its end. Returns its standard output.
///
/// # Errors
/// The program is not installed, or fails; the error has its message.
pub(crate) fn run<S: AsRef<OsStr>>(program: &str, args: &[S], env: &[(&str, &OsStr)]) -> Result<String> {
    let output = Command::new(program).args(args).envs(env.iter().copied()).stdin(Stdio::null()).output();
    let output = output.with_context(|| format!("'{program}' could not be run; is it installed?"))?;
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    let what: Vec<String> = args.iter().map(|a| a.as_ref().to_string_lossy().into_owned()).collect();
    anyhow::ensure!(output.status.success(), "'{program} {}' failed: {said}", what.join(" "));
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Starts a program that outlives this process, in a new session. Its output is appended to a file. Returns its
/// process id.
///
/// # Errors
/// The program cannot be started, or the file cannot be written.
pub(crate) fn spawn_detached<S: AsRef<OsStr>>(args: &[S], log: &Path) -> Result<u32> {
    let open = || OpenOptions::new().create(true).append(true).open(log);
    let said = open().with_context(|| format!("{} cannot be written", log.display()))?;
    let errors = open().with_context(|| format!("{} cannot be written", log.display()))?;
    let mut command = Command::new("setsid");
    command.arg("--").args(args).stdin(Stdio::null()).stdout(said).stderr(errors);
    let child = command.spawn().context("setsid (util-linux) could not be run; is it installed?")?;
    Ok(child.id())
}

/// Runs a program while this future is polled. Returns its output. Dropping the future ends the program.
///
/// # Errors
/// The program is not installed, or fails; the error has its message.
pub(crate) async fn run_in_time(args: &[String]) -> Result<String> {
    let (program, rest) = args.split_first().context("no program is named")?;
    let mut command = tokio::process::Command::new(program);
    command.args(rest).stdin(Stdio::null()).kill_on_drop(true);
    let output = command.output().await.with_context(|| format!("'{program}' could not be run"))?;
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    anyhow::ensure!(output.status.success(), "'{}' failed: {said}", args.join(" "));
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
