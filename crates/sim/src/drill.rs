//! Every operation, disturbed at every point: an agent dies at each step, the control plane at each commit, every
//! message comes twice, the store goes back from each commit to each before it. Nothing else goes wrong, and
//! nothing is random. Each time, the cloud must end stable and as the request asked.

use crate::{
    config::{Config, Mutation},
    event::{ClientRequest, Event},
    plane::Armed,
    world::World,
};
use lenticular_model::{
    HostId, ServerId,
    compute::server::{BootStyle, Condition},
    host::host::Intent,
    ops::host_step::Guests,
    policy::RoleLevel,
};
use lenticular_store::Crash;
use std::num::NonZeroU32;

/// How long the cloud may take to come to rest after a disturbance, in seconds.
const REST_S: i64 = 4_000;

/// The server's first host.
const HOME: usize = 1;

/// The number of hosts.
const HOSTS: usize = 3;

/// A request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Act {
    Create,
    Start,
    Stop,
    SoftReboot,
    HardReboot,
    Delete,
    SoftDelete,
    Restore,
    Migrate,
    LiveMigrate,
    Resize,
    Confirm,
    Revert,
    Shelve,
    Unshelve,
    Pause,
    Unpause,
    Suspend,
    Resume,
    Snapshot,
    Rebuild,
    Rescue,
    Unrescue,
    Abort,
    /// Only the server's own host takes servers.
    StayHome,
    /// The server's own host takes none.
    LeaveHome,
    /// The server's own host is drained.
    Drain,
    /// Its drain ends.
    Undrain,
    /// The server's own host is booted by a plan, after the server moved away, was suspended or stopped.
    BootMoved,
    BootSuspended,
    BootStopped,
    /// Its host runs an action under it.
    RunHere,
}

/// The required end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// The guest is elsewhere, as it was before.
    Leaves,
    LeavesStanding,
    LeavesPaused,
    Runs,
    Stands,
    Paused,
    Suspended,
    SoftDeleted,
    Gone,
}

/// An operation: its preparation, its request, and an additional request at the beginning of a step.
struct Operation {
    name: &'static str,
    before: &'static [Act],
    ask: Act,
    then: Option<(&'static str, Act)>,
    end: End,
}

macro_rules! operations {
    ($($name:literal: $before:expr, $ask:ident $(, on $step:literal $then:ident)? => $end:ident;)*) => {
        const OPERATIONS: &[Operation] = &[$(Operation {
            name: $name,
            before: &$before,
            ask: $ask,
            then: operations!(@then $($step $then)?),
            end: End::$end,
        },)*];
    };
    (@then) => { None };
    (@then $step:literal $then:ident) => { Some(($step, $then)) };
}

use Act::{
    Abort, BootMoved, BootStopped, BootSuspended, Confirm, Create, Delete, Drain, HardReboot, LeaveHome,
    LiveMigrate, Migrate, Pause, Rebuild, Rescue, Resize, Restore, Resume, Revert, RunHere, Shelve, Snapshot,
    SoftDelete, SoftReboot, Start, StayHome, Stop, Suspend, Undrain, Unpause, Unrescue, Unshelve,
};

operations! {
    "create": [], Create => Runs;
    "stop": [Create], Stop => Stands;
    "start": [Create, Stop], Start => Runs;
    "soft reboot": [Create], SoftReboot => Runs;
    "hard reboot": [Create], HardReboot => Runs;
    "delete": [Create], Delete => Gone;
    "delete while it is made": [], Create, on "preparing the disk" Delete => Gone;
    "soft-delete": [Create], SoftDelete => SoftDeleted;
    "soft-delete what stands": [Create, Stop], SoftDelete => SoftDeleted;
    "soft-delete what is suspended": [Create, Suspend], SoftDelete => SoftDeleted;
    "soft-delete what moved": [Create, Migrate], SoftDelete => SoftDeleted;
    "soft-delete while it is backed up": [Create], Snapshot, on "making an image of the disk" SoftDelete => SoftDeleted;
    "restore": [Create, SoftDelete], Restore => Runs;
    "restore while it stops": [Create], SoftDelete, on "shutting down" Restore => Runs;
    "restore what is shelved": [Create, Shelve, SoftDelete], Restore => Stands;
    "delete what is soft-deleted": [Create, SoftDelete], Delete => Gone;
    "migrate": [Create], Migrate => Runs;
    "migrate what stands": [Create, Stop], Migrate => Stands;
    "live-migrate": [Create], LiveMigrate => Runs;
    "live-migrate there and back": [Create, LiveMigrate], LiveMigrate => Runs;
    "resize at home": [Create, StayHome], Resize => Runs;
    "resize elsewhere": [Create, LeaveHome], Resize => Runs;
    "confirm": [Create, Migrate], Confirm => Runs;
    "revert": [Create, Migrate], Revert => Runs;
    "revert at home": [Create, StayHome, Resize], Revert => Runs;
    "revert a resize": [Create, LeaveHome, Resize], Revert => Runs;
    "abort while it prepares": [Create], LiveMigrate, on "making ready to receive" Abort => Runs;
    "abort while it sends": [Create], LiveMigrate, on "sending" Abort => Runs;
    "delete while it prepares": [Create], LiveMigrate, on "making ready to receive" Delete => Gone;
    "delete while it sends": [Create], LiveMigrate, on "sending" Delete => Gone;
    "delete while it is sent cold": [Create], Migrate, on "sending" Delete => Gone;
    "delete while it is handed over": [Create], LiveMigrate, on "handing over" Delete => Gone;
    "delete what moved": [Create, Migrate], Delete => Gone;
    "shelve": [Create], Shelve => Stands;
    "shelve what stands": [Create, Stop], Shelve => Stands;
    "unshelve": [Create, Shelve], Unshelve => Runs;
    "unshelve elsewhere": [Create, Shelve, LeaveHome], Unshelve => Runs;
    "shelve what came back": [Create, Shelve, Unshelve], Shelve => Stands;
    "migrate what came back": [Create, Shelve, Unshelve], Migrate => Runs;
    "delete while it is shelved": [Create], Shelve, on "sending the disk to the image store" Delete => Gone;
    "delete what is shelved": [Create, Shelve], Delete => Gone;
    "pause": [Create], Pause => Paused;
    "unpause": [Create, Pause], Unpause => Runs;
    "stop what is paused": [Create, Pause], Stop => Stands;
    "live-migrate what is paused": [Create, Pause], LiveMigrate => Paused;
    "unpause what moved": [Create, Pause, LiveMigrate], Unpause => Runs;
    "reboot what is paused": [Create, Pause], HardReboot => Runs;
    "rebuild": [Create], Rebuild => Runs;
    "rebuild what stands": [Create, Stop], Rebuild => Stands;
    "rebuild twice": [Create, Rebuild], Rebuild => Runs;
    "rebuild what moved": [Create, LiveMigrate], Rebuild => Runs;
    "live-migrate what was rebuilt": [Create, Rebuild], LiveMigrate => Runs;
    "delete while it is rebuilt": [Create], Rebuild, on "making new disks" Delete => Gone;
    "rescue": [Create], Rescue => Runs;
    "rescue what stands": [Create, Stop], Rescue => Runs;
    "unrescue": [Create, Rescue], Unrescue => Runs;
    "delete what is rescued": [Create, Rescue], Delete => Gone;
    "back up": [Create], Snapshot => Runs;
    "back up twice": [Create, Snapshot], Snapshot => Runs;
    "back up what stands": [Create, Stop], Snapshot => Stands;
    "back up what is suspended": [Create, Suspend], Snapshot => Suspended;
    "delete while it is backed up": [Create], Snapshot, on "making an image of the disk" Delete => Gone;
    "suspend": [Create], Suspend => Suspended;
    "resume": [Create, Suspend], Resume => Runs;
    "suspend what was unpaused": [Create, Pause, Unpause], Suspend => Suspended;
    "suspend again": [Create, Suspend, Resume], Suspend => Suspended;
    "stop what is suspended": [Create, Suspend], Stop => Stands;
    "reboot what is suspended": [Create, Suspend], HardReboot => Runs;
    "shelve what is suspended": [Create, Suspend], Shelve => Stands;
    "delete what is suspended": [Create, Suspend], Delete => Gone;
    "delete while it is suspended": [Create], Suspend, on "saving the memory" Delete => Gone;
    "delete while it is resumed": [Create, Suspend], Resume, on "resuming" Delete => Gone;
    "migrate what was resumed": [Create, Suspend, Resume], Migrate => Runs;
    "drain": [Create], Drain => Leaves;
    "drain what stands": [Create, Stop], Drain => LeavesStanding;
    "drain what is paused": [Create, Pause], Drain => LeavesPaused;
    "drain what is soft-deleted": [Create, SoftDelete], Drain => SoftDeleted;
    "drain what is suspended": [Create, Suspend], Drain => Suspended;
    "drain what moved here": [Create, LiveMigrate, LiveMigrate], Drain => Runs;
    "delete while it is drained": [Create], Drain, on "sending" Delete => Gone;
    "undrain while it is drained": [Create], Drain, on "sending" Undrain => Runs;
    "move away before its host boots": [Create], BootMoved => Leaves;
    "suspend while its host boots": [Create], BootSuspended => Runs;
    "stop while its host boots": [Create], BootStopped => Runs;
    "stop what is paused while its host boots": [Create, Pause], BootStopped => Runs;
    "boot the host of what stands": [Create, Stop], BootStopped => Stands;
    "boot the host of what is suspended": [Create, Suspend], BootSuspended => Suspended;
    "delete before its host boots": [Create], BootSuspended, on "saving the memory" Delete => Gone;
    "run an action under it": [Create], RunHere => Runs;
    "delete while it comes back": [Create, Shelve], Unshelve, on "preparing the disk" Delete => Gone;
}

/// The progress of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Moment {
    Begun,
    Acted,
    Ended,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Who {
    Agent,
    AllAgents,
    Host,
}

/// The disturbance of a run. Counts begin at the operation's beginning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Disturbance {
    Nothing,
    /// The agent, all agents, or the host die when this step has this progress.
    Dies(u32, Moment, Who),
    /// From this moment the agent cannot save its state. Its session is lost, it registers, and it dies and comes back
    /// while there is no control plane.
    Forgets(u32, Moment),
    /// The control plane dies in this commit.
    PlaneDies(u32, Crash),
    /// Every message comes twice, the second this much later.
    Twice(i64),
    /// After the second number of commits, the store goes back to the state after the first number of commits.
    GoesBack(u32, u32),
}

/// An active disturbance.
pub(crate) struct Drill {
    disturbance: Disturbance,
    then: Option<(&'static str, Act)>,
    steps: u32,
    commits: u32,
    /// The number of requests that resume what a disturbance halted.
    resumes: usize,
}

/// The totals of all drills.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Drills {
    /// The number of worlds.
    pub runs: u32,
    /// The number of operations.
    pub operations: u32,
    /// The number of their steps.
    pub steps: u32,
    /// The number of commits.
    pub commits: u32,
}

/// Runs every operation with every disturbance, perhaps with a rule that is broken on purpose.
///
/// # Errors
/// An operation did not end as required. The error names the operation and the disturbance, and has the trace.
pub fn drill_all(mutation: Option<Mutation>) -> Result<Drills, String> {
    let mut drills = Drills::default();
    for operation in OPERATIONS {
        let one = |disturbance| one(operation, disturbance, mutation);
        let (steps, commits) = one(Disturbance::Nothing)?;
        drills.operations += 1;
        drills.steps += steps;
        drills.commits += commits;
        let moments = [Moment::Begun, Moment::Acted, Moment::Ended];
        let dies = (1..=steps).flat_map(|n| {
            let who = [Who::Agent, Who::AllAgents, Who::Host];
            let each = moments.into_iter().flat_map(move |moment| who.map(|who| (moment, who)));
            each.map(move |(moment, who)| Disturbance::Dies(n, moment, who))
        });
        let forgets = (1..=steps).flat_map(|n| moments.map(|moment| Disturbance::Forgets(n, moment)));
        let plane = (1..=commits).flat_map(|n| {
            [Crash::BeforeCommit, Crash::AfterCommit].map(|crash| Disturbance::PlaneDies(n, crash))
        });
        let back = (0..commits).flat_map(|to| (to..=commits).map(move |at| Disturbance::GoesBack(to, at)));
        let twice = [0, 40, 1_000, 15_000].map(Disturbance::Twice);
        for disturbance in dies.chain(forgets).chain(plane).chain(back).chain(twice) {
            one(disturbance)?;
            drills.runs += 1;
        }
    }
    Ok(drills)
}

/// Runs one operation. Returns the number of its steps and commits.
fn one(
    operation: &Operation,
    disturbance: Disturbance,
    mutation: Option<Mutation>,
) -> Result<(u32, u32), String> {
    let mut world = World::new(Config { mutation, ..Config::quiet(1, HOSTS) });
    let told = |world: &World, why: String| {
        format!("{} with {disturbance:?}: {why}\n\n{}", operation.name, world.trace.tail())
    };
    world.settle().map_err(|why| told(&world, why))?;
    for act in operation.before {
        world.act(*act);
        world.settle().map_err(|why| told(&world, why))?;
    }
    let then = operation.then;
    world.drill = Some(Drill { disturbance, then, steps: 0, commits: 0, resumes: 0 });
    world.drill_commit(true);
    let before = world.acknowledged();
    world.act(operation.ask);
    world.settle().map_err(|why| told(&world, why))?;
    let resumes = world.drill.as_ref().map_or(0, |drill| drill.resumes);
    let asked = 1 + usize::from(operation.then.is_some()) + resumes;
    // A request without an answer may have been lost.
    let done = world.acknowledged() >= before + asked && world.plane.restores == 0;
    world.check_end();
    let checked = match &world.violation {
        Some(violation) => Err(format!("invariant {} is violated: {}", violation.invariant, violation.what)),
        None if done => world.is_at_end(operation.end, disturbance),
        None if disturbance == Disturbance::Nothing => Err("it was refused".to_owned()),
        None => Ok(()),
    };
    checked.map_err(|why| told(&world, why))?;
    Ok(world.drill.map_or((0, 0), |drill| (drill.steps, drill.commits)))
}

impl World {
    fn act(&mut self, act: Act) {
        let hosts: Vec<HostId> = self.hosts.iter().filter_map(|host| host.id).collect();
        let server = self.plane.published.servers.keys().next().copied();
        let id = server.unwrap_or_else(|| ServerId::from_random([0; 16]));
        let ask = match act {
            Act::Drain | Act::Undrain | BootMoved | BootSuspended | BootStopped | RunHere => {
                let Some(home) = self.hosts[HOME].id else { return };
                match act {
                    Act::Drain => ClientRequest::Drain(home),
                    BootMoved => ClientRequest::BootHost(home, Guests::Move),
                    BootSuspended => ClientRequest::BootHost(home, Guests::Suspend),
                    BootStopped => ClientRequest::BootHost(home, Guests::Stop),
                    RunHere => ClientRequest::BootHost(home, Guests::Stay),
                    _ => ClientRequest::Undrain(home),
                }
            }
            Act::Create => self.create("wide", 1, Some(HOME)),
            Act::Start => ClientRequest::Start(id),
            Act::Stop => ClientRequest::Stop(id),
            Act::SoftReboot => ClientRequest::Reboot(id, BootStyle::Soft),
            Act::HardReboot => ClientRequest::Reboot(id, BootStyle::Hard),
            Act::Delete => ClientRequest::Delete(id),
            Act::SoftDelete => ClientRequest::SoftDelete(id, NonZeroU32::MAX),
            Act::Restore => ClientRequest::Restore(id),
            Act::Migrate => ClientRequest::Migrate(id),
            Act::LiveMigrate => ClientRequest::LiveMigrate(id),
            Act::Resize => ClientRequest::Resize(id, "wider"),
            Act::Confirm => ClientRequest::Confirm(id),
            Act::Revert => ClientRequest::Revert(id),
            Act::Abort => ClientRequest::Abort(id),
            Act::Shelve => ClientRequest::Shelve(id),
            Act::Unshelve => ClientRequest::Unshelve(id),
            Act::Rebuild => ClientRequest::Rebuild(id, false),
            Act::Rescue => ClientRequest::Rescue(id),
            Act::Unrescue => ClientRequest::Unrescue(id),
            Act::Snapshot => ClientRequest::Snapshot(id),
            Act::Pause => ClientRequest::Pause(id),
            Act::Unpause => ClientRequest::Unpause(id),
            Act::Suspend => ClientRequest::Suspend(id),
            Act::Resume => ClientRequest::Resume(id),
            Act::StayHome | Act::LeaveHome => {
                let away = |n: usize| (n == HOME) == (act == Act::LeaveHome);
                let closed = hosts.iter().enumerate().filter(|(n, _)| away(*n)).map(|(_, id)| *id);
                for host in closed.collect::<Vec<_>>() {
                    let caller = self.clients.caller(0, RoleLevel::Admin);
                    self.ask(caller, ClientRequest::Intent(host, Intent::Disabled { reason: None }));
                }
                return;
            }
        };
        let caller = self.clients.caller(0, RoleLevel::Admin);
        self.ask(caller, ask);
    }

    /// The number of granted requests.
    fn acknowledged(&self) -> usize {
        self.coverage.count("answer", "ok") as usize
    }

    /// Runs until all is at rest.
    fn settle(&mut self) -> Result<(), String> {
        let until = self.now.plus_s(REST_S);
        let mut quiet = 0;
        while quiet < 3 {
            self.run_until(self.now.plus_s(2));
            if let Some(violation) = &self.violation {
                let (n, what) = (violation.invariant, &violation.what);
                return Err(format!("invariant {n} is violated: {what}"));
            }
            match self.restless() {
                None => quiet += 1,
                Some(why) if self.now > until => return Err(format!("it does not come to rest: {why}")),
                Some(_) => {
                    quiet = 0;
                    let resumes = self.resume_plans();
                    if let Some(drill) = &mut self.drill {
                        drill.resumes += resumes;
                    }
                }
            }
        }
        Ok(())
    }

    fn is_at_end(&self, end: End, disturbance: Disturbance) -> Result<(), String> {
        let server = self.plane.published.servers.values().next();
        let is = server.map(|server| server.condition);
        // A guest whose memory was lost with its host's starts anew.
        let restarted = matches!(disturbance, Disturbance::Dies(.., Who::Host));
        let home = self.hosts[HOME].id;
        let left = server.is_some_and(|server| server.host_id.is_some() && server.host_id != home);
        let left = left && self.plane.published.plans.is_empty();
        let right = match end {
            End::Leaves => left && is == Some(Condition::Active),
            End::LeavesStanding => left && is == Some(Condition::Stopped),
            End::LeavesPaused if restarted && is == Some(Condition::Active) => left,
            End::LeavesPaused => left && is == Some(Condition::Paused),
            End::Paused | End::Suspended if restarted && is == Some(Condition::Active) => true,
            End::Runs => is == Some(Condition::Active),
            End::Stands => is == Some(Condition::Stopped),
            End::Paused => is == Some(Condition::Paused),
            End::Suspended => is == Some(Condition::Suspended),
            End::SoftDeleted => server.is_some_and(|s| s.reclaim_at.is_some() && !s.powered),
            End::Gone => is.is_none(),
        };
        match right {
            true => Ok(()),
            false => Err(format!("it ends as {is:?}, and not as {end:?}")),
        }
    }

    /// A step of a host's agent has reached this moment.
    pub(crate) fn drill_step(&mut self, n: usize, name: &'static str, moment: Moment) {
        let Some(drill) = &mut self.drill else { return };
        drill.steps += u32::from(moment == Moment::Begun);
        let then = drill.then.filter(|(step, _)| moment == Moment::Begun && *step == name);
        if then.is_some() {
            drill.then = None;
        }
        match drill.disturbance {
            Disturbance::Dies(at, when, who) if drill.steps == at && when == moment => {
                drill.disturbance = Disturbance::Nothing;
                let dying = if who == Who::AllAgents { 0..self.hosts.len() } else { n..n + 1 };
                for host in dying {
                    self.after_us(0, Event::AgentDies { host, back_ms: 3_000, host_too: who == Who::Host });
                }
            }
            Disturbance::Forgets(at, when) if drill.steps == at && when == moment => {
                drill.disturbance = Disturbance::Nothing;
                self.hosts[n].full_until = self.now.plus_s(70);
                for (dies_ms, back_ms) in [(100, 2_100), (60_000, 180_000)] {
                    self.after_ms(dies_ms, Event::PlaneDies);
                    self.after_ms(back_ms, Event::PlaneStarts);
                }
                self.after_ms(61_000, Event::AgentDies { host: n, back_ms: 3_000, host_too: false });
            }
            _ => {}
        }
        if let Some((_, act)) = then {
            self.act(act);
        }
    }

    /// A batch is about to be committed, or the operation begins.
    pub(crate) fn drill_commit(&mut self, begins: bool) {
        let Some(drill) = &mut self.drill else { return };
        drill.commits += u32::from(!begins);
        let commits = drill.commits;
        match drill.disturbance {
            Disturbance::PlaneDies(at, crash) if commits == at => {
                drill.disturbance = Disturbance::Nothing;
                self.plane.armed = Some(Armed::Crash(crash));
                self.after_ms(2_000, Event::PlaneStarts);
            }
            // The backup has the commits before this batch.
            Disturbance::GoesBack(to, at) => {
                if commits == to + u32::from(!begins) && self.plane.backup.is_none() {
                    self.back_up();
                }
                if commits == at {
                    drill_done(&mut self.drill);
                    self.plane.goes_back = true;
                    self.after_ms(10, Event::PlaneDies);
                    self.after_ms(2_000, Event::PlaneStarts);
                }
            }
            _ => {}
        }
    }

    /// The delay of every message's repetition, if messages are repeated.
    pub(crate) fn drill_repeats(&self) -> Option<i64> {
        match self.drill.as_ref()?.disturbance {
            Disturbance::Twice(later_ms) => Some(later_ms * 1_000),
            _ => None,
        }
    }
}

fn drill_done(drill: &mut Option<Drill>) {
    drill.iter_mut().for_each(|drill| drill.disturbance = Disturbance::Nothing);
}
