//! Opens a store again when its leadership has ended with a commit of unknown outcome.

use crate::{
    OpenError,
    format::failed,
    leadership::Leadership,
    store::{Message, Store},
    writer::Writer,
};
use lenticular_model::State;
use std::{fmt, sync::Arc, thread, time::Duration};
use tokio::sync::oneshot;

/// The pause between two attempts to open the store again.
const OPEN_AGAIN_AFTER: Duration = Duration::from_millis(500);

impl Store {
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
