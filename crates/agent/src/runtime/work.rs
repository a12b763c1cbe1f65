//! Carries out steps and answers questions: all slow work, as tasks.

use super::Runtime;
use crate::{
    core::{Failure, FoundMemory, Outcome, Started, Step},
    driver::{Drivers, NetPlan, ProgressSink, StepSignals},
    link::{Link, LinkError},
};
use lenticular_model::{HostId, ServerId, compute::migration::Mode};
use lenticular_wire::agent::{Answer, DiskSpec, GuestAssignment, Own, Question, Receive, RunGoal, Subject};
use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::{sync::watch, time::Instant};

/// An answer after this time is too late: the asking side has given up.
const ANSWER_S_MAX: u64 = 10;

/// Ends the process after a number of steps, for tests.
#[derive(Debug, Clone, Default)]
pub(super) struct Fuse(Option<Arc<AtomicU64>>);

impl Fuse {
    pub(super) fn new(steps: Option<u64>) -> Self {
        Self(steps.map(|steps| Arc::new(AtomicU64::new(steps))))
    }

    fn burn(&self, step: &str) {
        let left = self.0.as_ref().map(|left| left.fetch_sub(1, Ordering::SeqCst));
        if left == Some(1) {
            tracing::error!(step, "the agent dies, as it was told to for a test");
            std::process::abort();
        }
    }
}

impl Runtime {
    pub(super) fn launch(&mut self, id: ServerId, step: Step) {
        let ((cancel, cancel_seen), (force, force_seen)) = (watch::channel(false), watch::channel(false));
        let signals = StepSignals { cancel: cancel_seen, force: force_seen };
        self.cancels.insert(id, cancel);
        self.forces.insert(id, force);
        let (drivers, link, fuse) = (self.drivers.clone(), self.link.clone(), self.fuse.clone());
        let told = self.progress.clone();
        let sink: ProgressSink = Arc::new(move |progress| {
            told.lock().insert(progress.server_id, progress);
        });
        self.steps.spawn(async move {
            let name = step.name();
            let from = Instant::now();
            // A separate task, so that a driver's panic is a failed step and not a lost guest.
            let task =
                tokio::spawn(
                    async move { carry_out(&drivers, link.as_ref(), id, step, signals, sink).await },
                );
            let abort = AbortOnDrop(task.abort_handle());
            let outcome = match task.await {
                Ok(outcome) => outcome,
                Err(error) => Outcome::Failed(Failure::new(
                    "The host's agent failed at this. Try again; if it fails again, ask the operator.",
                    format!("{name}: {error}"),
                )),
            };
            drop(abort);
            fuse.burn(name);
            let took_ms = from.elapsed().as_millis() as u64;
            match &outcome {
                Outcome::Failed(failure) => {
                    tracing::warn!(server = %id, step = name, took_ms, %failure, "step failed");
                }
                Outcome::Done | Outcome::Started { .. } => {
                    tracing::info!(server = %id, step = name, took_ms, "step done");
                }
            }
            (id, outcome)
        });
    }

    pub(super) fn answer(&mut self, host: HostId, question: Question) {
        let (drivers, link) = (self.drivers.clone(), self.link.clone());
        let (consoles, fetches) = (self.consoles.clone(), self.fetches.clone());
        self.answers.spawn(async move {
            let asked = async {
                match question.ask {
                    Subject::Console { server_id, lines } => {
                        drivers.hypervisor.console(server_id, lines).await
                    }
                    Subject::Diagnostics { server_id } => {
                        let seen = drivers.hypervisor.diagnostics(server_id).await?;
                        serde_json::to_string(&seen).map_err(|error| error.to_string())
                    }
                    Subject::OpenConsole { server_id, kind, connection } => {
                        let opened = consoles
                            .open(&drivers, link.as_ref(), host, (server_id, kind), &connection)
                            .await;
                        opened.map(|()| String::new())
                    }
                    Subject::SetPassword { server_id, user, password } => {
                        let set = drivers.hypervisor.set_password(server_id, &user, &password).await;
                        set.map(|()| String::new())
                    }
                    Subject::FetchImage { base } => {
                        fetches.begin(drivers, link.clone(), base);
                        Ok(String::new())
                    }
                    Subject::Interrupt { server_id } => {
                        drivers.hypervisor.interrupt(server_id).await.map(|()| String::new())
                    }
                }
            };
            let result = match tokio::time::timeout(Duration::from_secs(ANSWER_S_MAX), asked).await {
                Ok(result) => result,
                Err(_) => Err("The server's host took too long. Try again.".to_owned()),
            };
            let answer = Answer { id: question.id, result };
            if let Err(error) = link.answer(host, &answer).await {
                // The asking side learns that no answer came, and asks again.
                tracing::warn!(question = question.id, %error, "an answer was not taken");
            }
        });
    }
}

/// Ends a task with the one that waits for it.
pub(super) struct AbortOnDrop(pub(super) tokio::task::AbortHandle);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn carry_out(
    drivers: &Drivers,
    link: &dyn Link,
    id: ServerId,
    step: Step,
    signals: StepSignals,
    progress: ProgressSink,
) -> Outcome {
    let mut cancel = signals.cancel.clone();
    let result = match step {
        Step::Prepare(assignment) => tokio::select! {
            result = prepare(drivers, link, &assignment) => result.map(|()| Outcome::Done),
            _ = cancel.wait_for(|cancel| *cancel) => {
                Err(Failure::new("The server's disk was no longer wanted while it was being made.", "cut short"))
            }
        },
        Step::Rebuild(assignment, keeps_data) => tokio::select! {
            result = rebuild(drivers, link, &assignment, keeps_data) => result.map(|()| Outcome::Done),
            _ = cancel.wait_for(|cancel| *cancel) => {
                Err(Failure::new("The server's new disk was no longer wanted while it was being made.", "cut short"))
            }
        },
        Step::Start(assignment) => start(drivers, link, assignment).await.map(Outcome::Started),
        Step::Pause | Step::Unpause | Step::Suspend(_) | Step::Wake(_) | Step::DropMemory => {
            change_stillness(drivers, id, step).await
        }
        Step::Plug(assignment) => plug(drivers, &assignment).await.map(|()| Outcome::Done),
        Step::Shutdown => match drivers.hypervisor.shutdown(id, cancel).await {
            Ok(()) => drivers.network.unplug(id).await.map(|()| Outcome::Done),
            Err(failure) => Err(failure),
        },
        Step::Kill => match drivers.hypervisor.kill(id).await {
            Ok(()) => drivers.network.unplug(id).await.map(|()| Outcome::Done),
            Err(failure) => Err(failure),
        },
        Step::Remove => remove(drivers, id).await.map(|()| Outcome::Done),
        Step::Receive(receive) => tokio::select! {
            result = take_in(drivers, link, &receive) => result.map(|()| Outcome::Done),
            _ = cancel.wait_for(|cancel| *cancel) => Err(Failure::new("The move was given up.", "cut short")),
        },
        Step::Send(assignment, outgoing) => {
            drivers.moves.send(&assignment, &outgoing, progress, signals).await.map(|()| Outcome::Done)
        }
        Step::Upload(assignment, name) => tokio::select! {
            result = upload(drivers, link, &assignment, &name) => result.map(|()| Outcome::Done),
            _ = cancel.wait_for(|cancel| *cancel) => Err(Failure::new("The shelving was given up.", "cut short")),
        },
        Step::Snapshot(assignment, name) => {
            send_snapshot(drivers, link, &assignment, &name, cancel).await.map(|()| Outcome::Done)
        }
        Step::Revive(assignment) => relabel(drivers, &assignment).await.map(|()| Outcome::Done),
        Step::Resume => drivers.moves.resume(id, false).await.map(|()| Outcome::Done),
        Step::ResumePaused => drivers.moves.resume(id, true).await.map(|()| Outcome::Done),
        Step::HandOver { to, generation } => tokio::select! {
            result = drivers.moves.hand_over(id, &to, generation) => result.map(|()| Outcome::Done),
            _ = cancel.wait_for(|cancel| *cancel) => Ok(Outcome::Done),
        },
        Step::Adopt(assignment, mode) => {
            if mode == Mode::Live {
                drivers.network.announce(id, &assignment.guest);
            }
            drivers.moves.adopt(&assignment, mode).await.map(|adopted| match adopted {
                Some(started) => Outcome::Started(started),
                None => Outcome::Done,
            })
        }
    };
    result.unwrap_or_else(Outcome::Failed)
}

/// Lets a guest stand still, or go on.
async fn change_stillness(drivers: &Drivers, id: ServerId, step: Step) -> Result<Outcome, Failure> {
    let hypervisor = &drivers.hypervisor;
    match step {
        Step::Wake(of) => return wake(drivers, of, |_| ()).await.map(Outcome::Started),
        Step::Pause => hypervisor.pause(id).await?,
        Step::Unpause => hypervisor.unpause(id).await?,
        Step::Suspend(of) => {
            hypervisor.suspend(&of).await?;
            drivers.network.unplug(id).await?;
        }
        _ => hypervisor.drop_memory(id).await?,
    }
    Ok(Outcome::Done)
}

/// Removes a copy of a disk that was sent or given up, and what made it.
pub(super) async fn clear_copy(drivers: &Drivers, id: ServerId) -> Result<(), Failure> {
    drivers.hypervisor.end_copy(id).await?;
    drivers.disks.remove_copy(id).await
}

async fn take_in(drivers: &Drivers, link: &dyn Link, receive: &Receive) -> Result<(), Failure> {
    let of = &receive.assignment;
    keep_user_data(drivers, link, of).await?;
    let net = drivers.network.plug(of.server_id, &of.guest).await?;
    drivers.moves.receive(receive, net, link).await
}

async fn prepare(drivers: &Drivers, link: &dyn Link, assignment: &GuestAssignment) -> Result<(), Failure> {
    for base in assignment.guest.bases() {
        drivers.disks.ensure_base(base, link).await?;
    }
    keep_user_data(drivers, link, assignment).await?;
    if assignment.guest.disks.is_empty() {
        return Err(Failure::new("The server has no disk. Ask the operator.", "its order names none"));
    }
    // The last actions: once all disks are made, everything for a start exists.
    for disk in &assignment.guest.disks {
        drivers.disks.make(assignment.server_id, disk).await?;
    }
    Ok(())
}

/// The generation of a guest's disks, and its saved memory; `None` if one of the disks is missing.
pub(super) async fn find_disks(
    drivers: &Drivers,
    own: &Own,
) -> Result<Option<(u64, Option<FoundMemory>)>, Failure> {
    let (of, mut oldest) = (&own.assignment, None);
    for disk in &of.guest.disks {
        let Some(generation) = drivers.disks.find(of.server_id, disk).await? else { return Ok(None) };
        oldest = Some(oldest.unwrap_or(generation).min(generation));
    }
    let Some(generation) = oldest else { return Ok(None) };
    let saved = matches!(own.run, RunGoal::Suspended { .. });
    let ordered = saved.then_some(FoundMemory { generation, boot: of.boot });
    let memory = drivers.hypervisor.find_memory(of.server_id, ordered).await?;
    Ok(Some((generation, memory)))
}

/// Fetches what the server's owner gave for the guest, before its disks are made. What an earlier build of the server had
/// goes only after everything was fetched.
async fn keep_user_data(drivers: &Drivers, link: &dyn Link, of: &GuestAssignment) -> Result<(), Failure> {
    let (id, guest) = (of.server_id, &of.guest);
    let failed = |error: LinkError| {
        Failure::new(
            "The server's user data or files could not be fetched. Try again; if it fails again, ask the operator.",
            error.to_string(),
        )
    };
    let user_data = match guest.has_user_data {
        true => link.user_data(id).await.map_err(failed)?,
        false => None,
    };
    let files = match guest.has_files {
        true => link.files(id).await.map_err(failed)?,
        false => None,
    };
    drivers.hypervisor.keep_user_data(id, user_data).await?;
    drivers.hypervisor.keep_files(id, files).await
}

async fn rebuild(
    drivers: &Drivers,
    link: &dyn Link,
    of: &GuestAssignment,
    keeps_data: bool,
) -> Result<(), Failure> {
    for base in of.guest.bases() {
        drivers.disks.ensure_base(base, link).await?;
    }
    keep_user_data(drivers, link, of).await?;
    drivers.disks.remake(of.server_id, &of.guest.disks, keeps_data).await
}

async fn start(drivers: &Drivers, link: &dyn Link, of: Arc<GuestAssignment>) -> Result<Started, Failure> {
    if let Some(rescue) = &of.guest.rescue {
        drivers.disks.ensure_base(&rescue.base, link).await?;
    }
    let rescue = drivers.disks.rescue(of.server_id, of.guest.rescue.as_ref()).await?;
    let (net, mut paths) = ready(drivers, &of).await?;
    paths.extend(rescue);
    drivers.hypervisor.start(&of, paths, net).await
}

/// Lets a suspended guest go on, with its network as `change` makes it.
pub(super) async fn wake(
    drivers: &Drivers,
    of: Arc<GuestAssignment>,
    change: impl FnOnce(&mut NetPlan),
) -> Result<Started, Failure> {
    let (mut net, paths) = ready(drivers, &of).await?;
    change(&mut net);
    drivers.hypervisor.wake(&of, paths, net).await
}

/// The network and the disks of a guest that gets a process.
pub(super) async fn ready(
    drivers: &Drivers,
    of: &GuestAssignment,
) -> Result<(NetPlan, Vec<PathBuf>), Failure> {
    let net = drivers.network.plug(of.server_id, &of.guest).await?;
    let mut paths = Vec::new();
    for disk in &of.guest.disks {
        drivers.disks.grow(of.server_id, disk).await?;
        paths.push(drivers.disks.path(of.server_id, disk.id));
    }
    Ok((net, paths))
}

async fn relabel(drivers: &Drivers, of: &GuestAssignment) -> Result<(), Failure> {
    for disk in &of.guest.disks {
        drivers.disks.relabel(of.server_id, disk).await?;
    }
    Ok(())
}

async fn upload(
    drivers: &Drivers,
    link: &dyn Link,
    of: &GuestAssignment,
    upload: &str,
) -> Result<(), Failure> {
    drivers.disks.upload(of.server_id, root(of)?.id, upload, link).await
}

/// Sends a snapshot, unless it is given up. Nothing of it is left on the host.
async fn send_snapshot(
    drivers: &Drivers,
    link: &dyn Link,
    of: &GuestAssignment,
    name: &str,
    mut cancel: watch::Receiver<bool>,
) -> Result<(), Failure> {
    let result = tokio::select! {
        result = snapshot(drivers, link, of, name) => result,
        _ = cancel.wait_for(|cancel| *cancel) => Err(Failure::new("The image is no longer wanted.", "cut short")),
    };
    clear_copy(drivers, of.server_id).await.and(result)
}

/// Sends a copy of the root disk: of a guest with a process as it is at one moment, else the disk itself.
async fn snapshot(
    drivers: &Drivers,
    link: &dyn Link,
    of: &GuestAssignment,
    name: &str,
) -> Result<(), Failure> {
    let disk = root(of)?;
    let copy = drivers.disks.make_copy(of.server_id, disk).await?;
    match drivers.hypervisor.copy_root(of.server_id, copy).await? {
        true => drivers.disks.send_copy(of.server_id, name, link).await,
        false => drivers.disks.upload(of.server_id, disk.id, name, link).await,
    }
}

fn root(of: &GuestAssignment) -> Result<&DiskSpec, Failure> {
    of.guest.root().ok_or_else(|| Failure::new("The server has no root disk.", "no disk in its order"))
}

async fn plug(drivers: &Drivers, assignment: &GuestAssignment) -> Result<(), Failure> {
    let net = drivers.network.plug(assignment.server_id, &assignment.guest).await?;
    drivers.hypervisor.set_nics(assignment.server_id, net).await?;
    // The interfaces that the guest has released are removed from the host, too.
    drivers.network.plug(assignment.server_id, &assignment.guest).await.map(drop)
}

pub(super) async fn remove(drivers: &Drivers, id: ServerId) -> Result<(), Failure> {
    drivers.network.unplug(id).await?;
    drivers.hypervisor.remove(id).await?;
    drivers.disks.remove(id).await
}
