//! Fencing drivers: what switches a host off for certain, so that nothing runs there any more.

use lenticular_model::host::host::Host;
use std::{collections::BTreeMap, future::Future, pin::Pin, sync::Arc};

/// A driver's answer to come: its words, for the record, or why it is not certain that the host is off.
pub type Fencing<'a> = Pin<Box<dyn Future<Output = Result<String, String>> + Send + 'a>>;

/// Switches hosts off. It says yes only if it has seen that the host is off, whatever it was before; it may be asked
/// again at any time, and has a deadline of its own.
pub trait FenceDriver: Send + Sync {
    /// Switches the host off and makes sure of it.
    fn off<'a>(&'a self, host: &'a Host) -> Fencing<'a>;
}

/// The drivers that there are, by name.
pub type FenceDrivers = BTreeMap<String, Arc<dyn FenceDriver>>;
