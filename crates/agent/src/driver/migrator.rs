//! Moves QEMU guests between hosts: the source's work, and the requests that the target permits.

use super::{
    Disks, Moves, NetPlan, ProgressSink, Release, StepSignals, Work, file_failure,
    qcow2::Qcow2Disks,
    qemu::{Channel, Qemu},
};
use crate::{
    core::{Failure, Started},
    link::Link,
    peer::{self, PeerRequest, Reply, Stream, Transport, What},
};
use lenticular_model::{DiskId, ServerId, compute::migration::Mode};
use lenticular_wire::{
    agent::{Base, GuestAssignment, MoveProgress, Outgoing, Peer, Receive},
    hex,
};
use sha2::{Digest, Sha256};
use std::{
    io,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixListener,
    sync::{Semaphore, mpsc, oneshot, watch},
    task::JoinSet,
};

/// Bytes are carried in pieces of this size.
const PIECE_BYTES: usize = 256 * 1024;
/// A request must arrive within this time.
const ASK_WITHIN: Duration = Duration::from_secs(10);
/// A proof, a release or a file is answered within this time.
const ANSWER_WITHIN: Duration = Duration::from_secs(60);
/// Connections from other hosts at once.
const CONNECTIONS_MAX: usize = 256;
/// Small files that travel with a guest: its console's log and its config drive.
const FILES: [&str; 2] = ["console.old", "console.log"];
const CONFIG: &str = "config.iso";
const FILE_BYTES_MAX: u64 = 64 << 20;

/// The driver that migrates QEMU guests.
pub struct QemuMigrator {
    qemu: Arc<Qemu>,
    disks: Arc<Qcow2Disks>,
    transport: Option<Arc<dyn Transport>>,
    releases: mpsc::Sender<Release>,
}

impl QemuMigrator {
    /// Moves of QEMU's guests over a transport; without a transport no guest can move. The receiver yields the
    /// guests that other hosts hand over.
    pub fn new(
        qemu: Arc<Qemu>,
        disks: Arc<Qcow2Disks>,
        transport: Option<Arc<dyn Transport>>,
    ) -> (Arc<Self>, mpsc::Receiver<Release>) {
        let (releases, received) = mpsc::channel(64);
        (Arc::new(Self { qemu, disks, transport, releases }), received)
    }

    fn transport(&self) -> Result<&dyn Transport, Failure> {
        let why = "this agent has no identity for other hosts";
        self.transport.as_deref().ok_or_else(|| failure("The guest cannot be moved from its host.", why))
    }

    async fn ask(&self, to: &Peer, server: ServerId, generation: u64, what: What) -> Result<Stream, Failure> {
        let ask = PeerRequest::new(server, generation, what);
        let work = peer::ask(self.transport()?, to, &ask);
        match tokio::time::timeout(ANSWER_WITHIN, work).await {
            Ok(Ok((stream, _))) => Ok(stream),
            Ok(Err(error)) => Err(peer_failure(to, &error)),
            Err(_) => Err(peer_failure(to, &io::ErrorKind::TimedOut.into())),
        }
    }

    /// The target lays empty disks over the bases in the order, so the disks here must have the same bases. They
    /// differ only if the store was restored from a backup from before the server was shelved or rebuilt.
    fn need_bases(&self, of: &GuestAssignment) -> Result<(), Failure> {
        for disk in &of.guest.disks {
            let ordered = self.disks.base_name_of(disk)?;
            let real = self.disks.base_of(of.server_id, disk.id);
            if real.as_deref().is_some_and(|real| real != ordered) {
                return Err(Failure::new(
                    "The server's disk has a backing image that the cloud does not know. Shelve and unshelve the \
                     server. Its disk then needs no other image, and it can be moved. What an ephemeral disk has is \
                     lost by that.",
                    format!("the order names the base {ordered}, the disk has {}", real.unwrap_or_default()),
                ));
            }
        }
        Ok(())
    }

    async fn send_file(&self, to: &Peer, of: &GuestAssignment, out: u64, name: &str) -> Result<(), Failure> {
        let path = self.disks.guest_dir(of.server_id).join(name);
        let read = async {
            let mut bytes = Vec::new();
            // The guest decides the file's length.
            tokio::fs::File::open(&path).await?.take(FILE_BYTES_MAX).read_to_end(&mut bytes).await?;
            io::Result::Ok(bytes)
        };
        let bytes = match read.await {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(file_failure("reading the guest's files", &error)),
        };
        let what = What::File { name: name.to_owned(), bytes: bytes.len() as u64 };
        let mut stream = self.ask(to, of.server_id, out, what).await?;
        let send = async {
            stream.write_all(&bytes).await?;
            stream.flush().await?;
            peer::granted(&mut stream).await
        };
        send.await.map(drop).map_err(|e| peer_failure(to, &e))
    }

    async fn send_live(
        &self,
        of: &GuestAssignment,
        out: &Outgoing,
        progress: ProgressSink,
        force: watch::Receiver<bool>,
    ) -> Result<(), Failure> {
        let (id, to) = (of.server_id, &out.to);
        let told = {
            let generation = out.generation;
            move |seen: MoveProgress| progress(MoveProgress { generation, ..seen })
        };
        self.send_file(to, of, out.generation, CONFIG).await?;
        let count = of.guest.disks.len();
        if count == 0 {
            return Err(gone("the order names no disk"));
        }
        let mut sizes = self.qemu.disk_bytes(id, count).await?;
        let (bytes, more) = (sizes.remove(0), sizes);
        // One connection for each disk.
        let mut disks = vec![self.ask(to, id, out.generation, What::Disk { bytes, more }).await?];
        while disks.len() < count {
            disks.push(self.ask(to, id, out.generation, What::MoreDisk).await?);
        }
        let memory = self.ask(to, id, out.generation, What::Memory).await?;
        let (disk_channel, memory_channel) =
            (self.qemu.way_out(id, Channel::Disk).await?, self.qemu.way_out(id, Channel::Memory).await?);
        // The set ends with this future, so an abandoned move leaves no half-open connection.
        let mut ways = JoinSet::new();
        ways.spawn(join_each(disk_channel, disks));
        ways.spawn(join_each(memory_channel, vec![memory]));
        self.qemu.mirror(id, count, &told).await?;
        self.qemu.send_memory(id, count, &told, force).await?;
        // The guest stands still: all transfers run at once.
        let [old, new] = FILES.map(|name| self.send_file(to, of, out.generation, name));
        tokio::try_join!(old, new, self.ask(to, id, out.generation, What::Proof)).map(drop)
    }

    async fn send_cold(
        &self,
        of: &GuestAssignment,
        out: &Outgoing,
        progress: ProgressSink,
    ) -> Result<(), Failure> {
        let id = of.server_id;
        let reading = |e: io::Error| file_failure("reading the server's disks", &e);
        let mut files = Vec::new();
        let mut all = 0;
        for disk in &of.guest.disks {
            let file = tokio::fs::File::open(self.disks.path(id, disk.id)).await.map_err(reading)?;
            let bytes = file.metadata().await.map_err(reading)?.len();
            all += bytes;
            files.push((disk.id, file, bytes));
        }
        let done = AtomicU64::new(0);
        let told = |more: u64| {
            let done = done.fetch_add(more, Ordering::Relaxed) + more;
            let (step, disk) = ("copying the disks".to_owned(), [all, done, all.saturating_sub(done)]);
            let generation = out.generation;
            progress(MoveProgress { server_id: id, generation, step, disk, ..MoveProgress::default() });
        };
        for (disk, file, bytes) in files {
            self.send_overlay(of, out, (disk, file, bytes), &told).await?;
        }
        for name in FILES {
            self.send_file(&out.to, of, out.generation, name).await?;
        }
        self.ask(&out.to, id, out.generation, What::Proof).await.map(drop)
    }

    /// Copies one disk's file; both sides compare its digest.
    async fn send_overlay(
        &self,
        of: &GuestAssignment,
        out: &Outgoing,
        (disk, mut file, bytes): (DiskId, tokio::fs::File, u64),
        told: &(dyn Fn(u64) + Send + Sync),
    ) -> Result<(), Failure> {
        let (id, to) = (of.server_id, &out.to);
        let base = self.disks.base_of(id, disk).ok_or_else(|| gone("the disk has no note of its base"))?;
        let which = Some(disk).filter(|disk| *disk != DiskId::root_of(id));
        let what = What::Overlay { bytes, base, disk: which };
        let mut stream = self.ask(to, id, out.generation, what).await?;
        let (mut digest, mut done, mut piece) = (Sha256::new(), 0_u64, vec![0; PIECE_BYTES]);
        while done < bytes {
            let n = file.read(&mut piece).await.map_err(|e| file_failure("reading the server's disk", &e))?;
            if n == 0 {
                return Err(gone("the disk grew shorter while it was read"));
            }
            digest.update(&piece[..n]);
            stream.write_all(&piece[..n]).await.map_err(|e| peer_failure(to, &e))?;
            done += n as u64;
            told(n as u64);
        }
        stream.flush().await.map_err(|e| peer_failure(to, &e))?;
        let arrived = peer::granted(&mut stream).await.map_err(|e| peer_failure(to, &e))?;
        let sent = hex(&digest.finalize());
        match arrived == sent {
            true => Ok(()),
            false => Err(gone(&format!("the target's disk has the digest {arrived}, this one's is {sent}"))),
        }
    }

    /// Gets a base: from the cloud's image store or, if the image is gone, from the guest's host.
    async fn ensure_base(&self, receive: &Receive, base: &Base, link: &dyn Link) -> Result<(), Failure> {
        let Err(failure) = self.disks.ensure_base(base, link).await else { return Ok(()) };
        let name = self.disks.base_name(base)?;
        tracing::info!(%failure, from = receive.from.name, "the base is fetched from the guest's host");
        let of = &receive.assignment;
        let stream = self.ask(&receive.from, of.server_id, of.generation, What::Base { name }).await?;
        self.disks.take_base(base, stream).await
    }

    /// Serves other hosts' agents while this future is polled.
    pub async fn serve(self: Arc<Self>) {
        let Some(transport) = self.transport.clone() else { return std::future::pending().await };
        let permits = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        let mut serving = JoinSet::new();
        loop {
            while serving.try_join_next().is_some() {}
            let permit = permits.clone().acquire_owned().await;
            let incoming = match transport.accept().await {
                Ok(incoming) => incoming,
                Err(error) => {
                    tracing::warn!(%error, "another host's connection could not be taken");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            };
            let this = self.clone();
            serving.spawn(async move {
                let _permit = permit;
                let asked = async {
                    let (from, mut stream) = incoming.await?;
                    let ask = peer::read_ask(&mut stream).await?;
                    io::Result::Ok((from, ask, stream))
                };
                match tokio::time::timeout(ASK_WITHIN, asked).await {
                    Ok(Ok((from, ask, stream))) => this.answer(&from, ask, stream).await,
                    Ok(Err(error)) => tracing::warn!(%error, "another host's connection was refused"),
                    Err(_) => tracing::warn!("a connection asked nothing in time"),
                }
            });
        }
    }

    async fn answer(&self, from: &str, ask: PeerRequest, mut stream: Stream) {
        let (server, what) = (ask.server_id, format!("{:?}", ask.what));
        if let Err(failure) = self.do_what(from, ask, &mut stream).await {
            tracing::warn!(%server, from, what, %failure, "what another host asked was not done");
            // The peer may have gone.
            let _ = peer::reply(&mut stream, &Err(failure.to_string())).await;
        }
    }

    async fn do_what(&self, from: &str, ask: PeerRequest, stream: &mut Stream) -> Result<(), Failure> {
        let server = ask.server_id;
        match ask.what {
            // Only the cloud's hosts ask, and a host that knows a base's digest knows the base.
            What::Base { name } => return self.give_base(&name, stream).await,
            What::Release => {
                let (answer, answered) = oneshot::channel();
                let release =
                    Release { server_id: server, generation: ask.generation, from: from.to_owned(), answer };
                let sent = self.releases.send(release).await;
                let accepted = sent.is_ok() && answered.await.unwrap_or(false);
                return match accepted {
                    true => grant(stream, String::new()).await,
                    false => Err(gone("this host is not ready for the guest")),
                };
            }
            _ => {}
        }
        if !self.disks.expects(server, from, ask.generation) {
            return Err(gone("this host does not expect the guest from there"));
        }
        match ask.what {
            What::Disk { bytes, more } => {
                let sizes: Vec<u64> = [bytes].into_iter().chain(more).collect();
                self.qemu.open_disks(server, &sizes).await?;
                self.join(server, Channel::Disk, stream).await
            }
            What::MoreDisk => self.join(server, Channel::Disk, stream).await,
            What::Memory => self.join(server, Channel::Memory, stream).await,
            What::Overlay { bytes, base, disk } => {
                if self.disks.is_incoming_live(server) {
                    return Err(gone("the guest is to come while it runs"));
                }
                let disk = disk.unwrap_or_else(|| DiskId::root_of(server));
                self.disks.expect_disk(server, disk, ask.generation, &base).await?;
                take_overlay(&self.disks.path(server, disk), bytes, stream).await
            }
            What::File { name, bytes } => self.take_file(server, &name, bytes, stream).await,
            What::Proof => {
                let live = self.disks.is_incoming_live(server);
                if live {
                    self.qemu.loaded(server).await?;
                }
                self.disks.sync(server).await?;
                grant(stream, String::new()).await
            }
            What::Base { .. } | What::Release => Ok(()),
        }
    }

    async fn join(&self, server: ServerId, channel: Channel, stream: &mut Stream) -> Result<(), Failure> {
        let mut inside = self.qemu.enter(server, channel).await?;
        grant(stream, String::new()).await?;
        // Both QEMUs see the end of the connection, and report what it means.
        let _ = tokio::io::copy_bidirectional_with_sizes(&mut inside, stream, PIECE_BYTES, PIECE_BYTES).await;
        Ok(())
    }

    async fn give_base(&self, name: &str, stream: &mut Stream) -> Result<(), Failure> {
        let path = self.disks.named_base(name).ok_or_else(|| gone("there is no such base here"))?;
        let mut file =
            tokio::fs::File::open(&path).await.map_err(|e| file_failure("reading the base", &e))?;
        grant(stream, String::new()).await?;
        let sent = async {
            tokio::io::copy(&mut file, stream).await?;
            stream.shutdown().await
        };
        sent.await.map_err(|e| file_failure("sending the base", &e))
    }

    async fn take_file(
        &self,
        server: ServerId,
        name: &str,
        bytes: u64,
        stream: &mut Stream,
    ) -> Result<(), Failure> {
        if !(FILES.contains(&name) || name == CONFIG) || bytes > FILE_BYTES_MAX {
            return Err(gone("no such file travels with a guest"));
        }
        let path = self.disks.guest_dir(server).join(name);
        // QEMU has the file open under its size.
        let has = tokio::fs::metadata(&path).await.map(|meta| meta.len()).ok();
        if name == CONFIG && has.is_some_and(|has| has != bytes) {
            return Err(gone("the config drive has another size here"));
        }
        grant(stream, String::new()).await?;
        let mut content = vec![0; bytes as usize];
        stream.read_exact(&mut content).await.map_err(|e| file_failure("taking the guest's files", &e))?;
        write_over(&path, &content).await.map_err(|e| file_failure("writing the guest's files", &e))?;
        grant(stream, String::new()).await
    }
}

impl Moves for QemuMigrator {
    fn address(&self) -> String {
        self.transport.as_ref().map(|transport| transport.address()).unwrap_or_default()
    }

    fn receive<'a>(&'a self, receive: &'a Receive, net: NetPlan, link: &'a dyn Link) -> Work<'a, ()> {
        Box::pin(async move {
            let of = &receive.assignment;
            self.qemu.clear(of.server_id).await;
            self.disks.discard(of.server_id).await?;
            for base in of.guest.bases() {
                self.ensure_base(receive, base, link).await?;
            }
            let live = receive.mode == Mode::Live;
            self.disks.begin_incoming(receive).await?;
            if live {
                let disks =
                    of.guest.disks.iter().map(|disk| self.disks.path(of.server_id, disk.id)).collect();
                if let Err(failure) = self.qemu.await_guest(of, receive.layout, disks, &net).await {
                    self.qemu.clear(of.server_id).await;
                    return Err(failure);
                }
            }
            Ok(())
        })
    }

    fn send<'a>(
        &'a self,
        assignment: &'a GuestAssignment,
        outgoing: &'a Outgoing,
        progress: ProgressSink,
        mut signals: StepSignals,
    ) -> Work<'a, ()> {
        Box::pin(async move {
            self.need_bases(assignment)?;
            let force = signals.force.clone();
            let work = async {
                match outgoing.mode {
                    Mode::Live => self.send_live(assignment, outgoing, progress, force).await,
                    Mode::Cold => self.send_cold(assignment, outgoing, progress).await,
                }
            };
            tokio::select! {
                result = work => result,
                _ = signals.cancel.wait_for(|cancel| *cancel) => Err(gone("it was given up")),
            }
        })
    }

    fn resume(&self, server: ServerId, paused: bool) -> Work<'_, ()> {
        Box::pin(self.qemu.stay(server, paused))
    }

    fn hand_over<'a>(&'a self, server: ServerId, to: &'a Peer, generation: u64) -> Work<'a, ()> {
        Box::pin(async move { self.ask(to, server, generation, What::Release).await.map(drop) })
    }

    fn adopt<'a>(&'a self, assignment: &'a GuestAssignment, mode: Mode) -> Work<'a, Option<Started>> {
        Box::pin(async move {
            let id = assignment.server_id;
            let on = match mode {
                Mode::Live => match self.qemu.go_on(id, assignment.paused).await {
                    Ok(on) => on,
                    Err(failure) => {
                        tracing::error!(server = %id, %failure, "a guest that came does not go on, and is ended");
                        self.qemu.clear(id).await;
                        None
                    }
                },
                Mode::Cold => None,
            };
            self.disks.end_incoming(id).await?;
            Ok(on)
        })
    }
}

/// Writes an arriving disk, and answers with its digest.
async fn take_overlay(path: &Path, bytes: u64, stream: &mut Stream) -> Result<(), Failure> {
    grant(stream, String::new()).await?;
    let writing = |e: io::Error| file_failure("writing the server's disk", &e);
    let mut file = private_file().truncate(true).open(path).await.map_err(writing)?;
    let (mut digest, mut left, mut piece) = (Sha256::new(), bytes, vec![0; PIECE_BYTES]);
    while left > 0 {
        let most = left.min(PIECE_BYTES as u64) as usize;
        let n = stream.read(&mut piece[..most]).await.map_err(writing)?;
        if n == 0 {
            return Err(gone("the source broke off"));
        }
        digest.update(&piece[..n]);
        file.write_all(&piece[..n]).await.map_err(writing)?;
        left -= n as u64;
    }
    file.flush().await.map_err(writing)?;
    file.sync_all().await.map_err(writing)?;
    grant(stream, hex(&digest.finalize())).await
}

/// Connects the first clients of a socket, each with one of the streams to the other host.
async fn join_each(listener: UnixListener, beyond: Vec<Stream>) {
    let mut joined = JoinSet::new();
    for mut beyond in beyond {
        let Ok((mut inside, _)) = listener.accept().await else { break };
        joined.spawn(async move {
            // Both QEMUs see the end of the connection, and report what it means.
            let _ =
                tokio::io::copy_bidirectional_with_sizes(&mut inside, &mut beyond, PIECE_BYTES, PIECE_BYTES)
                    .await;
        });
    }
    while joined.join_next().await.is_some() {}
}

/// The options to open or create a guest's file for writing.
fn private_file() -> tokio::fs::OpenOptions {
    let mut options = tokio::fs::OpenOptions::new();
    options.write(true).create(true).truncate(false).mode(0o600);
    options
}

/// Overwrites a file's content in place, because other processes have the file open.
async fn write_over(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut file = private_file().open(path).await?;
    file.write_all(content).await?;
    file.set_len(content.len() as u64).await?;
    file.sync_all().await
}

async fn grant(stream: &mut Stream, word: String) -> Result<(), Failure> {
    peer::reply(stream, &Reply::Ok(word)).await.map_err(|e| gone(&format!("the other host has gone: {e}")))
}

fn failure(message: &str, details: impl Into<String>) -> Failure {
    Failure::new(message, details)
}

fn gone(details: &str) -> Failure {
    failure("The guest could not be moved, and stays where it is. Try again.", details)
}

fn peer_failure(to: &Peer, error: &io::Error) -> Failure {
    gone(&format!("host {} at {}: {error}", to.name, to.address))
}
