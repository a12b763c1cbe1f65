//! The run of a serving process: its logs, its threads, and its end.

use crate::logging;
use anyhow::Result;
use std::{future::Future, time::Duration};

/// How long a look at a disk that hangs may hold the process at its end.
const END_WITHIN: Duration = Duration::from_secs(5);

/// Starts the logs, and works on the process's task until the task ends.
///
/// # Errors
/// The task failed, or its threads cannot be started.
pub(crate) fn run<T>(task: impl Future<Output = Result<T>>) -> Result<T> {
    logging::start();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let done = runtime.block_on(task);
    runtime.shutdown_timeout(END_WITHIN);
    done
}
