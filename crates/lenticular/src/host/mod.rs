//! The binary's hosts: this machine, and the control plane's commands to hosts.

pub(crate) mod fence;
pub(crate) mod in_process_link;
pub(crate) mod own_host;

use anyhow::Result;
use lenticular_agent::Config;
use std::path::Path;

/// A machine's own agent configuration.
///
/// # Errors
/// The machine has no name.
pub(crate) fn this_machine(state: &Path) -> Result<Config> {
    let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
    anyhow::ensure!(!name.is_empty(), "this machine has no host name; give it one");
    Ok(Config::new(name, state))
}
