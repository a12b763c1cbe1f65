//! The host that a server's consoles are on.

use lenticular_model::{
    HostId, State,
    compute::server::Server,
    error::{Error, Result},
    host::host::PROTOCOL_WITH_QUESTIONS,
};
/// The host where a server's consoles can be opened now.
///
/// # Errors
/// The guest does not run, or its host's agent knows no consoles.
pub fn host_with_console(state: &State, server: &Server) -> Result<HostId> {
    let host = server.host_id.and_then(|host| state.hosts.get(&host)).filter(|_| server.powered);
    let host = host.ok_or_else(|| {
        Error::conflict(format!(
            "Instance {} is not ready: its guest does not run. Start or resume the server.",
            server.id
        ))
    })?;
    match host.protocol < PROTOCOL_WITH_QUESTIONS {
        true => Err(Error::not_implemented(format!(
            "The agent of the server's host is too old for consoles (version {}). Ask the operator to upgrade it.",
            host.protocol
        ))),
        false => Ok(host.id),
    }
}
