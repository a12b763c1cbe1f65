//! A small cloud for tests of moves: three hosts, and a server that runs on the first.

#[path = "registration.rs"]
mod registration;

use super::common::{server, server_id};
use lenticular_control::{
    lifecycle::disk,
    observe::{guest::observe, host::begin_session},
};
use lenticular_model::{
    HostId, Incarnation, ProjectId, State, Timestamp, Txn, UserId,
    compute::{disk::Fate, server::Server},
    error::Result,
    host::observation::{Observation, ObservedState},
    policy::{Caller, RoleLevel, Scope},
};
use registration::registration;
use std::sync::Arc;

pub struct Cloud {
    pub state: State,
    pub at: i64,
    pub entropy: u8,
    pub hosts: Vec<HostId>,
}

pub fn admin() -> Caller {
    Caller {
        user_id: UserId::from_random([2; 16]),
        scope: Scope::Project(ProjectId::from_random([1; 16])),
        level: RoleLevel::Admin,
        request_id: "req-1".to_owned(),
    }
}

pub fn seen(generation: u64, observed: ObservedState) -> Observation {
    Observation {
        server_id: server_id(),
        generation,
        boot: 1,
        observed,
        layout: 0,
        handover: None,
        unsaved: None,
        failed_attempt: None,
        memory_lost: None,
    }
}

impl Cloud {
    /// Three hosts, and a server that runs on the first.
    pub fn new() -> Self {
        let state = State::new(Incarnation::from_random([1; 16]), Timestamp(1));
        let mut cloud = Self { state, at: 1, entropy: 10, hosts: Vec::new() };
        for name in ["a", "b", "c"] {
            let intro = registration(name, &format!("{name}:1"));
            let host = cloud.run(|txn| begin_session(txn, intro)).unwrap().id;
            cloud.hosts.push(host);
        }
        let record = server(cloud.hosts[0]);
        cloud
            .run(|txn| {
                disk::create(txn, &record);
                txn.put(record);
                Ok(())
            })
            .unwrap();
        cloud.hear(0, seen(1, ObservedState::Running { ssh_forward: None, paused: false }));
        assert_eq!(cloud.server().status(), "ACTIVE");
        cloud
    }

    pub fn run<T>(&mut self, command: impl FnOnce(&mut Txn<'_>) -> Result<T>) -> Result<T> {
        self.at += 1;
        let mut entropy = || {
            self.entropy += 1;
            [self.entropy; 16]
        };
        let mut txn = Txn::new(&self.state, Timestamp(self.at), &mut entropy);
        let done = command(&mut txn)?;
        self.state = txn.finish().0;
        Ok(done)
    }

    pub fn hear(&mut self, host: usize, seen: Observation) {
        let host = self.hosts[host];
        self.run(|txn| {
            observe(txn, host, &[seen]);
            Ok(())
        })
        .unwrap();
    }

    pub fn server(&self) -> Arc<Server> {
        self.state.servers[&server_id()].clone()
    }

    pub fn is_on(&self, host: usize, generation: u64) {
        let server = self.server();
        let granted = self.state.generation_of_server(server.id);
        assert_eq!((server.host_id, granted), (Some(self.hosts[host]), generation));
    }

    pub fn fate_on(&self, host: usize) -> Option<Fate> {
        self.state.left_disk_on(self.hosts[host], server_id())?.fate().cloned()
    }
}
