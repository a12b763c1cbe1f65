//! Stops a host's guests as a power-off of the host would: they start again with the host's agent.

use crate::{
    core::Snapshot,
    driver::{Hypervisor, qemu::Qemu, user_fence},
    files::write_durably,
    runtime::{AgentError, take_state_dir},
};
use std::{path::Path, sync::Arc, time::Duration};
use tokio::{sync::watch, task::JoinSet};

/// Shuts down all guests of a state directory, and ends those that do not stop within `grace`. Returns the number
/// of guests.
///
/// # Errors
/// An agent uses the directory, or the running guests cannot be found or stopped.
pub async fn power_off(state_dir: &Path, grace: Duration) -> Result<usize, AgentError> {
    if !state_dir.exists() {
        return Ok(0);
    }
    let trouble = |why: String| AgentError::State {
        path: state_dir.display().to_string(),
        why,
        remedy: "Let the one who stops the guests read and write there.",
    };
    let _lock = take_state_dir(state_dir).await?;
    let hypervisor = Arc::new(Qemu::new(state_dir, grace).map_err(|e| trouble(e.to_string()))?);
    let guests = hypervisor.list().await?;
    let (never, cancel) = watch::channel(false);
    let mut ends = JoinSet::new();
    for id in guests.iter().copied() {
        let (hypervisor, cancel) = (hypervisor.clone(), cancel.clone());
        ends.spawn(async move {
            // The driver knows only processes that it has looked for.
            hypervisor.find(id).await?;
            hypervisor.shutdown(id, cancel).await
        });
    }
    while let Some(end) = ends.join_next().await {
        end.map_err(|e| trouble(e.to_string()))??;
    }
    drop(never);
    user_fence::take_down(state_dir).await;
    clear_boot(&state_dir.join("agent.json"), &trouble)?;
    Ok(guests.len())
}

/// Makes the next agent believe that the host was restarted.
fn clear_boot(path: &Path, trouble: &impl Fn(String) -> AgentError) -> Result<(), AgentError> {
    let Ok(bytes) = std::fs::read(path) else { return Ok(()) };
    let mut snapshot: Snapshot = serde_json::from_slice(&bytes).map_err(|e| trouble(e.to_string()))?;
    snapshot.clear_boot();
    let bytes = serde_json::to_vec(&snapshot).map_err(|e| trouble(e.to_string()))?;
    write_durably(path, &bytes).map_err(|e| trouble(e.to_string()))
}
