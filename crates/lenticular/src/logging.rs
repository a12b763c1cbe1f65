//! Structured logs of a serving process: lines for people at a terminal, JSON otherwise. `LENTICULAR_LOG` sets the level.

use std::io::IsTerminal;
use tracing_subscriber::EnvFilter;

/// Starts logging to standard error.
pub(crate) fn start() {
    let filter = EnvFilter::try_from_env("LENTICULAR_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let logs = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // A log that cannot be written, as on a full disk, ends nothing. By default the error itself would be printed, which
    // panics when that cannot be written either.
    let logs = logs.log_internal_errors(false);
    // A second start in one process, as in tests, keeps the first logger.
    let _ = if std::io::stderr().is_terminal() { logs.compact().try_init() } else { logs.json().try_init() };
}
