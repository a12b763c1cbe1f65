//! Measures a large cloud: servers created, moved and rebooted in waves, and all agents reconnecting at once.

use crate::{
    config::Config,
    event::{ClientRequest, Event},
    world::World,
};
use lenticular_model::{ServerId, Timestamp, compute::server::BootStyle, policy::RoleLevel};
use std::time::Duration;

/// The most servers of one tenant: its quota has room for this many.
const PER_TENANT: usize = 80;

/// The number of servers in one request.
const PER_REQUEST: usize = 10;

/// The time between two requests, in microseconds.
const APART_US: i64 = 2_000;

/// How long a wave may take to come to rest, in seconds.
const REST_S: i64 = 20_000;

/// The result of a part of the run.
#[derive(Debug, Clone, Default)]
pub struct Phase {
    /// The part's name.
    pub name: &'static str,
    /// Its duration in the world.
    pub virtual_ms: i64,
    /// How many events there were.
    pub events: u64,
    /// How many commits.
    pub commits: u64,
}

/// A large cloud.
pub struct Scale {
    world: World,
    servers: usize,
}

/// A wave of work.
type Wave = fn(&mut Scale);

impl Scale {
    /// An empty cloud with this many hosts that are about to register.
    pub fn new(hosts: usize, servers: usize) -> Self {
        let tenants = servers.div_ceil(PER_TENANT).max(2);
        let config = Config {
            tenants: Some(tenants),
            roomy: true,
            rebuild_every: servers as u64 * 2,
            ..Config::quiet(1, hosts)
        };
        Self { world: World::new(config), servers }
    }

    /// The waves, in their order.
    pub fn waves() -> &'static [(&'static str, Wave)] {
        &[
            ("hosts join", |_| {}),
            ("servers are made", Scale::create),
            ("a tenth moves live, a tenth cold, a tenth reboots", Scale::stir),
            ("the control plane restarts, all agents come back at once", Scale::reconnect),
            ("a tenth is deleted", Scale::delete),
            ("the store goes back to before the wave of moves", Scale::go_back),
        ]
    }

    /// Runs a wave, and waits until everything is at rest. `clock` measures the real time.
    ///
    /// # Errors
    /// An invariant is violated, or the world does not come to rest.
    pub fn run(&mut self, name: &'static str, wave: Wave) -> Result<Phase, String> {
        let world = &mut self.world;
        let (from, events, commits) = (world.now, world.steps, world.commits);
        wave(self);
        let world = &mut self.world;
        world.rest(from.plus_s(REST_S))?;
        world.check_rest();
        if let Some(violation) = &world.violation {
            return Err(format!("invariant {} is violated: {}", violation.invariant, violation.what));
        }
        Ok(Phase {
            name,
            virtual_ms: world.now.since_ms(from),
            events: world.steps - events,
            commits: world.commits - commits,
        })
    }

    fn create(&mut self) {
        let world = &mut self.world;
        let tenants = world.clients.tenants.len();
        for n in 0..self.servers.div_ceil(PER_REQUEST) {
            let count = PER_REQUEST.min(self.servers - n * PER_REQUEST) as u32;
            let ask = world.create("42", count, None);
            world.ask_later(n % tenants, n, ask);
        }
    }

    /// The servers at every tenth position, counted from this remainder, with their tenants.
    fn each_tenth(&self, remainder: usize) -> Vec<(usize, ServerId)> {
        let world = &self.world;
        let tenant = |project| world.clients.tenants.iter().position(|t| *t == project).unwrap_or_default();
        let servers = world.plane.published.servers.values().enumerate();
        let tenth = servers.filter(|(n, _)| n % 10 == remainder);
        tenth.map(|(_, server)| (tenant(server.project_id), server.id)).collect()
    }

    fn stir(&mut self) {
        self.world.back_up();
        let asks: [fn(ServerId) -> ClientRequest; 3] =
            [ClientRequest::LiveMigrate, ClientRequest::Migrate, |id| {
                ClientRequest::Reboot(id, BootStyle::Hard)
            }];
        for (remainder, ask) in asks.into_iter().enumerate() {
            for (n, (tenant, id)) in self.each_tenth(remainder).into_iter().enumerate() {
                self.world.ask_later(tenant, n, ask(id));
            }
        }
    }

    fn delete(&mut self) {
        for (n, (tenant, id)) in self.each_tenth(3).into_iter().enumerate() {
            self.world.ask_later(tenant, n, ClientRequest::Delete(id));
        }
    }

    fn reconnect(&mut self) {
        let world = &mut self.world;
        world.kill_plane("for the measure");
        world.after_ms(1_000, Event::PlaneStarts);
        for host in 0..world.hosts.len() {
            world.kill_agent(host, 1_500);
        }
    }

    fn go_back(&mut self) {
        let world = &mut self.world;
        world.plane.goes_back = true;
        world.kill_plane("for the measure");
        world.after_ms(1_000, Event::PlaneStarts);
    }
}

impl World {
    fn ask_later(&mut self, tenant: usize, n: usize, ask: ClientRequest) {
        let caller = self.clients.caller(tenant, RoleLevel::Admin);
        if let ClientRequest::Delete(id) = &ask {
            self.clients.known.entry(*id).or_default().delete_asked = true;
        }
        let request = crate::event::Request::Client(caller, ask);
        self.after_us(n as i64 * APART_US, Event::ToPlane(request));
    }

    fn rest(&mut self, until: Timestamp) -> Result<(), String> {
        let mut quiet = 0;
        while quiet < 2 {
            self.run_until(self.now.plus_s(2));
            match self.restless() {
                None => quiet += 1,
                Some(why) if self.violation.is_some() || self.now > until => {
                    let what = self.violation.as_ref().map_or(why, |violation| violation.what.clone());
                    return Err(format!("it does not come to rest: {what}\n\n{}", self.trace.tail()));
                }
                Some(_) => quiet = 0,
            }
        }
        Ok(())
    }
}

/// The line of a phase, with its real duration.
pub fn line(phase: &Phase, took: Duration) -> String {
    let seconds = took.as_secs_f64().max(1e-6);
    format!(
        "{:<58} {:>8.1} s virtual {:>7.1} s wall {:>9} events {:>7} commits {:>7.0}/s",
        phase.name,
        phase.virtual_ms as f64 / 1e3,
        seconds,
        phase.events,
        phase.commits,
        phase.commits as f64 / seconds
    )
}
