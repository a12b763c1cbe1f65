//! Stops a cloud that `up` started, and its guests.

use crate::process::{end, running};
use anyhow::{Context, Result};
use std::{fs, io::Write, path::Path, time::Duration};

/// How a cloud is stopped.
#[derive(Debug, clap::Args)]
pub(crate) struct DownArgs {
    /// Leave the guests running; the next `up` finds them again.
    #[arg(long)]
    pub keep_guests: bool,
}

/// How long guests have to shut down before the agent ends them.
pub(crate) const GUEST_GRACE: Duration = Duration::from_secs(20);

/// Stops the cloud of a data directory.
///
/// # Errors
/// The cloud does not end in time, or its guests cannot be stopped.
pub(crate) fn run(data: &Path, args: &DownArgs, out: &mut impl Write) -> Result<()> {
    // Daemons are identified by the whole paths of their files. A missing directory has no daemons.
    let data = &data.canonicalize().unwrap_or_else(|_| data.to_owned());
    let pid_file = data.join("lenticular.pid");
    match running(&pid_file)? {
        Some(pid) => {
            end(pid)?;
            writeln!(out, "The cloud of {} is stopped.", data.display())?;
        }
        None => writeln!(out, "No cloud of {} is running.", data.display())?,
    }
    let _ = fs::remove_file(&pid_file);
    if args.keep_guests {
        return Ok(());
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let stopped = runtime
        .block_on(lenticular_agent::power_off(&data.join("agent"), GUEST_GRACE))
        .context("the guests could not be stopped")?;
    // Guests that continue to run keep their network.
    runtime
        .block_on(lenticular_agent::end_own_switch(&data.join("agent")))
        .context("the switch could not be ended")?;
    runtime.block_on(crate::ovn::end(data)).context("OVN's databases could not be ended")?;
    writeln!(out, "{stopped} guests were stopped; they start again with the next `lenticular up`.")?;
    Ok(())
}
