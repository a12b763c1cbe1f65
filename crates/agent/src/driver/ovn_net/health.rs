//! Whether OVN's controller on this host follows OVN's databases.

use super::switch::Switch;
use std::{sync::Arc, time::Duration};
use tokio::sync::watch;

const LOOK_EVERY: Duration = Duration::from_secs(5);
/// A trouble is reported after this many looks in a row: each restart of a daemon looks like a trouble.
const LOOKS: u32 = 3;

/// Watches the switch until every receiver has gone.
pub(super) async fn watch(switch: Arc<Switch>, told: watch::Sender<Option<String>>) {
    let mut troubled = 0;
    while !told.is_closed() {
        let seen = switch.controller_trouble().await;
        troubled = if seen.is_some() { troubled + 1 } else { 0 };
        if troubled == 0 || troubled >= LOOKS {
            told.send_if_modified(|last| {
                let differs = *last != seen;
                *last = seen;
                differs
            });
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}
