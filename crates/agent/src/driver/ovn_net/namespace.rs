//! A network namespace without a name: what is open in it keeps it, and all ends with the agent.

use super::switch::{ip, run};
use crate::{core::Failure, driver::file_failure};
use std::{
    fs::File,
    io,
    os::fd::{AsFd, AsRawFd},
    path::Path,
};

/// What the name of a namespace begins with, as long as it has one. The process that makes it follows.
const PREFIX: &str = "lns-";
/// Where namespaces with names are.
const NAMED: &str = "/run/netns";

pub(super) struct Namespace(File);

/// Removes namespaces that still have their names, because the process that made them died before it could take them.
pub(super) async fn clear_lost() {
    let entries = std::fs::read_dir(NAMED).into_iter().flatten().flatten();
    for name in entries.filter_map(|entry| entry.file_name().into_string().ok()) {
        let process = name.strip_prefix(PREFIX).and_then(|rest| rest.split('-').next());
        let is_lost = process.is_some_and(|process| !Path::new("/proc").join(process).exists());
        if is_lost && let Err(failure) = ip(&format!("netns delete {name}")).await {
            tracing::warn!(name, %failure, "a network namespace is left behind");
        }
    }
}

impl Namespace {
    /// Moves a device into a new namespace.
    pub(super) async fn with_device(device: &str) -> Result<Self, Failure> {
        let name = format!("{PREFIX}{}-{device}", std::process::id());
        ip(&format!("netns add {name}")).await?;
        let opened = File::open(Path::new(NAMED).join(&name));
        let moved = ip(&format!("link set {device} netns {name}")).await;
        let up = ip(&format!("-n {name} link set lo up")).await;
        // In every case the name goes; the file keeps the namespace.
        let unnamed = ip(&format!("netns delete {name}")).await;
        moved.and(up).and(unnamed)?;
        opened.map(Self).map_err(|error| file_failure("opening a network namespace", &error))
    }

    /// Runs `ip` in the namespace.
    pub(super) async fn ip(&self, words: &str) -> Result<(), Failure> {
        let path = format!("--net=/proc/{}/fd/{}", std::process::id(), self.0.as_raw_fd());
        let mut args = vec![path.as_str(), "ip"];
        args.extend(words.split_whitespace());
        run("nsenter", &args).await.map(drop)
    }

    /// Makes a socket in the namespace. A new thread enters the namespace, and ends after that: such a thread must serve
    /// nothing else.
    pub(super) async fn open<T: Send + 'static>(
        &self,
        what: &'static str,
        socket: impl FnOnce() -> io::Result<T> + Send + 'static,
    ) -> Result<T, Failure> {
        let failed = |error: io::Error| file_failure(what, &error);
        let namespace = self.0.try_clone().map_err(failed)?;
        let (sender, receiver) = tokio::sync::oneshot::channel();
        let open = move || -> io::Result<T> {
            let kind = rustix::thread::LinkNameSpaceType::Network;
            rustix::thread::move_into_link_name_space(namespace.as_fd(), Some(kind))?;
            socket()
        };
        let thread = std::thread::Builder::new().name("namespace".to_owned()).spawn(move || {
            // The receiver may have gone.
            let _ = sender.send(open());
        });
        thread.map_err(failed)?;
        receiver.await.unwrap_or_else(|_| Err(io::Error::other("the thread ended"))).map_err(failed)
    }
}
