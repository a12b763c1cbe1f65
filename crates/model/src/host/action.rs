//! Actions: programs that a host's own configuration allows by name. The control plane orders one by its name alone.
//!
//! ```text
//!             an order with a higher number, in the boot that it names
//!  (nothing) ─────────────────────────────────────────────────────────▶ Running ──▶ Ended
//!                                                                          │
//!                                                     the agent restarts   └──────▶ Interrupted
//! ```
//!
//! - An order is for one boot of the host: after a boot it is void, so nothing is done twice.
//! - The agent saves that an action runs before the action begins.

use super::evidence::{check_length, check_text};
use crate::error::Result;
use serde::{Deserialize, Serialize};

/// The name of the action that boots a host.
pub const REBOOT: &str = "reboot";
/// The longest output that is kept, in bytes: the end of it.
pub const OUTPUT_BYTES_MAX: usize = 2_048;
/// The most actions that a host can allow.
pub const ACTIONS_MAX: usize = 64;

/// The order to run an action.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ActionOrder {
    /// Counts the orders. If it is higher than the last one that the agent carried out, it runs the action.
    pub number: u64,
    /// The action's name.
    pub name: String,
    /// The boot in which it runs, as a kernel's boot id.
    pub boot_id: String,
    /// What should come of it, as `kernel=6.1.119-1`: the program finds it in its environment, as `LENTICULAR_EXPECT`. It may
    /// be empty.
    #[serde(default)]
    pub expect: String,
}

/// How far an action is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ActionResult {
    /// The order's number.
    pub number: u64,
    /// The state.
    pub state: ActionState,
}

/// The state of an action that has begun.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "is")]
pub enum ActionState {
    /// It runs.
    Running,
    /// It ended, or could not begin.
    Ended {
        /// Why it did not succeed; `None` if it did.
        trouble: Option<String>,
        /// The end of its output.
        output: String,
    },
    /// The agent ended while it ran.
    Interrupted,
}

impl ActionResult {
    /// Refuses a result that no agent sends.
    ///
    /// # Errors
    /// A text is too long.
    pub fn check(&self) -> Result<()> {
        let ActionState::Ended { trouble, output } = &self.state else { return Ok(()) };
        check_text("action", trouble.as_deref().unwrap_or_default())?;
        check_length("action", output.len())
    }
}

/// True if an action can be called so: the name stands in files and on command lines.
pub fn is_action_name(name: &str) -> bool {
    let fits = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    (1..=64).contains(&name.len()) && name.chars().all(fits)
}
