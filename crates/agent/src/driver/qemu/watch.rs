//! Watches one guest: the end of its process, the reasons for stops, and the size of its console's log.

use super::{Live, LiveMap, console, end, remove_ended};
use crate::{core::Ended, driver::Exit};
use lenticular_model::ServerId;
use std::{path::PathBuf, sync::Arc, time::Duration};
use tokio::sync::{mpsc, watch as level};

/// The interval, in seconds, of two checks: the size of the console's log, and whether a guest that waits for
/// disk space can resume.
const ROUND_S: u64 = 5;

/// Watches until the process has ended, and reports the end.
pub(super) async fn watch(
    server: ServerId,
    live: Arc<Live>,
    map: LiveMap,
    dir: PathBuf,
    exits: mpsc::UnboundedSender<Exit>,
) {
    let how = until_ended(server, &live, &dir).await;
    // The files stay open to a QEMU that has not ended yet.
    if let Err(error) = end(&live).await {
        tracing::error!(%server, %error, "a guest that is over does not end");
        return;
    }
    remove_ended(&map, server, &live);
    // The agent may have ended meanwhile.
    let _ = exits.send(Exit { server_id: server, boot: live.boot, how });
}

async fn until_ended(server: ServerId, live: &Live, dir: &std::path::Path) -> Ended {
    let mut levels = live.qmp.as_ref().map(super::qmp::Qmp::level);
    let mut round = tokio::time::interval(Duration::from_secs(ROUND_S));
    let mut stops_seen = 0;
    loop {
        let now = levels.as_mut().map(|level| *level.borrow_and_update()).unwrap_or_default();
        if now.shut_down {
            return Ended::ByGuest;
        }
        if now.stops != stops_seen {
            stops_seen = now.stops;
            if is_broken(server, live).await {
                return Ended::Died;
            }
        }
        tokio::select! {
            _ = live.process.ended() => {
                let shut_down = levels.as_ref().is_some_and(|level| level.borrow().shut_down);
                return if shut_down { Ended::ByGuest } else { Ended::Died };
            }
            () = changed(&mut levels) => {}
            _ = round.tick() => {
                if let Err(error) = console::trim(dir) {
                    tracing::warn!(%server, %error, "the console's log cannot be cut");
                }
                if stops_seen > 0 {
                    let_go_on(server, live).await;
                }
            }
        }
    }
}

async fn changed(levels: &mut Option<level::Receiver<super::qmp::Level>>) {
    let over = match levels {
        Some(level) => level.changed().await.is_err(),
        None => std::future::pending().await,
    };
    if over {
        // The connection has ended; now only the process tells.
        *levels = None;
    }
}

/// True if the guest will never go on.
async fn is_broken(server: ServerId, live: &Live) -> bool {
    let Some(qmp) = &live.qmp else { return false };
    match qmp.status().await.as_deref() {
        Ok(status @ ("internal-error" | "guest-panicked")) => {
            tracing::error!(%server, status, "the guest cannot go on and is ended");
            true
        }
        Ok("io-error") => {
            tracing::error!(%server, "the host's disk is full or broken: the guest waits until it can be written");
            false
        }
        _ => false,
    }
}

/// Resumes a guest that was stopped because the host's disk was full. If the disk is still full, the guest stops
/// again.
async fn let_go_on(server: ServerId, live: &Live) {
    let Some(qmp) = &live.qmp else { return };
    if qmp.status().await.is_ok_and(|status| status == "io-error")
        && let Err(error) = qmp.resume().await
    {
        tracing::warn!(%server, %error, "the guest cannot be let go on");
    }
}
