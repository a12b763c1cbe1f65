//! The leadership of a store: whether this process may write to it.

use std::fmt;
use tokio::sync::watch;

/// Whether this process leads, which means that it alone may write to the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Leadership {
    /// It leads, in this epoch.
    Leads(u64),
    /// It leads no more, and writes nothing before the store is open again.
    Ended {
        /// The reason.
        why: String,
        /// Why the last attempt to open the store again failed.
        obstacle: Option<String>,
    },
    /// The store is closed.
    Closed,
}

impl fmt::Display for Leadership {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Leads(epoch) => write!(f, "the store takes changes in epoch {epoch}"),
            Self::Ended { why, obstacle: None } => write!(f, "the store is being opened again: {why}"),
            Self::Ended { why, obstacle: Some(obstacle) } => {
                write!(f, "the store cannot be opened again yet: {obstacle}. It was given up before: {why}")
            }
            Self::Closed => f.write_str("the store is closed"),
        }
    }
}

/// One leadership after another.
pub struct Leaderships {
    leadership: watch::Receiver<Leadership>,
    last: Option<u64>,
}

impl Leaderships {
    pub(crate) fn of(leadership: watch::Receiver<Leadership>) -> Self {
        Self { leadership, last: None }
    }

    /// Waits for a leadership that this did not return before, and returns its epoch; `None` once the store is closed.
    pub async fn next(&mut self) -> Option<u64> {
        let is_news = |now: &Leadership| match now {
            Leadership::Leads(epoch) => self.last != Some(*epoch),
            Leadership::Ended { .. } => false,
            Leadership::Closed => true,
        };
        self.last = match *self.leadership.wait_for(is_news).await.ok()? {
            Leadership::Leads(epoch) => Some(epoch),
            _ => return None,
        };
        self.last
    }
}
