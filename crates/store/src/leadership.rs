//! The leadership of a store: it ends with a commit of unknown outcome, and begins again when the store is open again.

use crate::{
    OpenError,
    format::failed,
    store::{Message, Store},
    writer::Writer,
};
use lenticular_model::State;
use std::{fmt, sync::Arc, thread, time::Duration};
use tokio::sync::{oneshot, watch};

/// The pause between two attempts to open the store again.
const OPEN_AGAIN_AFTER: Duration = Duration::from_millis(500);

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

impl Store {
    /// Whether this process leads. The value changes with every end and every begin of a leadership.
    pub fn leadership(&self) -> watch::Receiver<Leadership> {
        self.shared.leadership.subscribe()
    }

    /// Waits until this process leads. False if the store is closed.
    pub async fn leads(&self) -> bool {
        let mut leadership = self.leadership();
        let is_settled = |now: &Leadership| !matches!(now, Leadership::Ended { .. });
        leadership.wait_for(is_settled).await.is_ok_and(|now| matches!(*now, Leadership::Leads(_)))
    }

    /// The leaderships, beginning with the present one. Work that follows [`Store::subscribe`] ends with its
    /// leadership, because its commits end then; it begins again with the next one.
    pub fn leaderships(&self) -> Leaderships {
        Leaderships { leadership: self.leadership(), last: None }
    }

    /// Opens the store again whenever the leadership ends, and repeats a failed attempt, until the store is closed.
    /// `open` blocks; it gets the last State that this process published (see [`Writer::open_again`]).
    pub async fn keep_open(
        &self,
        open: impl Fn(&State) -> Result<Writer, OpenError> + Send + Sync + 'static,
    ) {
        let (open, mut leadership) = (Arc::new(open), self.leadership());
        loop {
            match leadership.wait_for(|now| !matches!(now, Leadership::Leads(_))).await.as_deref() {
                Ok(Leadership::Ended { .. }) => {}
                _ => return,
            }
            match self.open_again(open.clone()).await {
                Ok(writer) => {
                    let (store, epoch) = (writer.describe(), writer.epoch());
                    if self.ask(|reply| Message::Lead(Box::new(writer), reply)).await.is_err() {
                        return;
                    }
                    tracing::warn!(store, epoch, "the store is open again; this process leads again");
                }
                Err(error) => {
                    self.note_obstacle(error.to_string());
                    tokio::time::sleep(OPEN_AGAIN_AFTER).await;
                }
            }
        }
    }

    /// Opens the store on a separate thread: the end of the process does not wait for it.
    async fn open_again<O>(&self, open: Arc<O>) -> Result<Writer, OpenError>
    where
        O: Fn(&State) -> Result<Writer, OpenError> + Send + Sync + 'static,
    {
        let (reply, opened) = oneshot::channel();
        let known = self.state();
        let fail = |error: &dyn fmt::Display| failed("the store", "opening it again", error);
        let work = move || drop(reply.send(open(&known)));
        thread::Builder::new().name("store-open".to_owned()).spawn(work).map_err(|error| fail(&error))?;
        opened.await.unwrap_or_else(|_| Err(fail(&"the attempt panicked")))
    }

    fn note_obstacle(&self, error: String) {
        let is_news = self.shared.leadership.send_if_modified(|now| match now {
            Leadership::Ended { obstacle, .. } => obstacle.replace(error.clone()).as_ref() != Some(&error),
            _ => false,
        });
        if is_news {
            tracing::warn!(error, "the store could not be opened again; it is tried until it succeeds");
        }
    }
}
