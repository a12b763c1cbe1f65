//! Images that a host fetches before a server needs them.

use crate::{driver::Drivers, link::Link};
use lenticular_model::Lock;
use lenticular_wire::agent::Base;
use std::sync::Arc;
use tokio::{sync::Mutex, task::JoinSet};

/// The images that are fetched or wait. They end with the agent.
#[derive(Default)]
pub(super) struct Fetches {
    waiting: Lock<JoinSet<()>>,
    turn: Arc<Mutex<()>>,
}

impl Fetches {
    /// Begins to fetch an image, after those that were asked for before: servers that are being made need the link too.
    pub(super) fn begin(&self, drivers: Drivers, link: Arc<dyn Link>, base: Base) {
        let turn = self.turn.clone();
        let mut waiting = self.waiting.lock();
        while waiting.try_join_next().is_some() {}
        waiting.spawn(async move {
            let _turn = turn.lock().await;
            match drivers.disks.ensure_base(&base, link.as_ref()).await {
                Ok(()) => tracing::info!(image = %base.image_id, "an image is here before a server needs it"),
                Err(error) => {
                    tracing::warn!(image = %base.image_id, %error, "an image could not be fetched in advance");
                }
            }
        });
    }
}
