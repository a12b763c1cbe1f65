//! A cloud with some hosts, an image and one project, which runs commands like the writer.

use lenticular_control::{
    bootstrap::bootstrap,
    command::compute::{
        aggregate,
        server_create::{self, NewServers},
    },
    observe::host::{Registration, begin_session},
};
use lenticular_model::host::fact::Facts;
use lenticular_model::{
    HostId, ImageId, Incarnation, ProjectId, ServerId, State, Timestamp, Txn, UserId,
    compute::server::{Networks, Server},
    error::Result,
    host::host::{Capacity, Hypervisor},
    image::{Data, Image, Phase, Visibility},
    policy::{Caller, RoleLevel, Scope},
};
use std::collections::BTreeMap;

pub struct World {
    pub state: State,
    seed: u128,
    now: i64,
    pub admin: Caller,
    pub project: ProjectId,
}

pub const IMAGE: ImageId = ImageId(uuid_of(3));

const fn uuid_of(byte: u8) -> uuid::Uuid {
    uuid::Uuid::from_bytes([byte; 16])
}

impl World {
    /// A cloud with this many equal hosts, `h0`, `h1`, …
    pub fn new(hosts: usize) -> Self {
        let state = State::new(Incarnation::from_random([1; 16]), Timestamp(1));
        let project = ProjectId::from_random([9; 16]);
        let admin = Caller {
            user_id: UserId::from_random([8; 16]),
            scope: Scope::Project(project),
            level: RoleLevel::Admin,
            request_id: "req-test".to_owned(),
        };
        let mut world = Self { state, seed: 1, now: 2, admin, project };
        world.must(|txn, _| {
            bootstrap(txn, "hash");
            lenticular_control::lifecycle::network::group_build::ensure_default(txn, project);
            txn.put(image());
            (0..hosts).try_for_each(|n| begin_session(txn, intro(n)).map(drop))
        });
        world
    }

    /// Runs a command like the writer: its transaction counts only if it does not refuse.
    pub fn run<T>(&mut self, command: impl FnOnce(&mut Txn<'_>, &Caller) -> Result<T>) -> Result<T> {
        let seed = &mut self.seed;
        let mut entropy = || {
            *seed = seed.wrapping_mul(0x2360_ed05_1fc6_5da4_4385_df64_9fcc_f645).wrapping_add(1);
            (*seed ^ (*seed >> 64)).to_be_bytes()
        };
        self.now += 1;
        let mut txn = Txn::new(&self.state, Timestamp(self.now), &mut entropy);
        let done = command(&mut txn, &self.admin)?;
        self.state = txn.finish().0;
        Ok(done)
    }

    pub fn must<T>(&mut self, command: impl FnOnce(&mut Txn<'_>, &Caller) -> Result<T>) -> T {
        self.run(command).unwrap()
    }

    pub fn host(&self, n: usize) -> HostId {
        self.state.host_named(&format!("h{n}")).expect("the host is there").id
    }

    pub fn zone(&self, n: usize) -> &str {
        &self.state.hosts[&self.host(n)].zone
    }

    /// Makes an aggregate with these hosts and this metadata; returns its number.
    pub fn aggregate(&mut self, name: &str, hosts: &[usize], metadata: &[(&str, &str)]) -> u64 {
        let number = self.must(|txn, caller| aggregate::create(txn, caller, name.to_owned(), None)).number;
        let entries = metadata.iter().map(|(key, value)| ((*key).to_owned(), Some((*value).to_owned())));
        let entries: BTreeMap<_, _> = entries.collect();
        self.must(|txn, caller| aggregate::set_metadata(txn, caller, number, entries));
        for n in hosts {
            self.must(|txn, caller| aggregate::add_host(txn, caller, number, &format!("h{n}")));
        }
        number
    }

    /// Creates servers; returns the host of each.
    pub fn create(
        &mut self,
        change: impl FnOnce(&mut NewServers),
    ) -> Result<Vec<(ServerId, Option<HostId>)>> {
        let mut new = new_servers();
        change(&mut new);
        let ids = self.run(|txn, caller| server_create::create(txn, caller, new))?;
        Ok(ids.into_iter().map(|id| (id, self.state.servers[&id].host_id)).collect())
    }

    /// Creates one server; returns the number of its host.
    pub fn place(&mut self, change: impl FnOnce(&mut NewServers)) -> (ServerId, Option<usize>) {
        let (id, host) = self.create(change).unwrap()[0];
        (id, host.map(|id| self.state.hosts[&id].name[1..].parse().unwrap()))
    }

    /// Makes a server run, by its host's report.
    pub fn activate(&mut self, id: ServerId) {
        self.must(|txn, _| {
            let task = txn.servers[&id].task.clone();
            task.into_iter()
                .for_each(|t| lenticular_control::lifecycle::operation::finish(txn, t.operation_id, None));
            txn.update::<Server>(&id, |s| {
                s.condition = lenticular_model::compute::server::Condition::Active;
                s.task = None;
                s.powered = true;
                s.launched_at = Some(Timestamp(1));
            });
            Ok(())
        });
    }

    /// The same records, loaded into a new State, have the same indexes.
    pub fn check_indexes(&self) {
        assert_eq!(self.state.check_indexes(), Ok(()));
    }
}

pub fn new_servers() -> NewServers {
    NewServers {
        name: "s".to_owned(),
        description: None,
        hostname: None,
        image_id: IMAGE,
        flavor_id: "42".into(),
        key_name: None,
        networks: Networks::None,
        security_groups: Vec::new(),
        user_data: None,
        nic_tags: Vec::new(),
        disk_tag: None,
        files: Vec::new(),
        metadata: BTreeMap::new(),
        tags: Default::default(),
        config_drive: false,
        zone: None,
        host: None,
        group: None,
        hints: Default::default(),
        disk_config_manual: false,
        access_ipv4: String::new(),
        access_ipv6: String::new(),
        min_count: 1,
        max_count: 1,
    }
}

fn intro(n: usize) -> Registration {
    Registration {
        name: format!("h{n}"),
        protocol: 3,
        zone: "nova".to_owned(),
        facts: Facts {
            boot_id: Some(String::new()),
            peer_address: Some("peer:1".to_owned()),
            capacity: Some(Capacity { vcpus: 8, memory_mb: 8_192, disk_gb: 100 }),
            hypervisor: Some(Hypervisor {
                driver: "qemu".to_owned(),
                acceleration: "tcg".to_owned(),
                version: 10_000_002,
                arch: "x86_64".to_owned(),
                ..Hypervisor::default()
            }),
            ..Facts::default()
        },
        evidence: Vec::new(),
        life: None,
    }
}

fn image() -> Image {
    let data =
        Data { size: 1, virtual_size: Some(1), checksum: String::new(), sha512: "0".repeat(128), file: None };
    Image {
        id: IMAGE,
        created_at: Timestamp(1),
        updated_at: None,
        name: Some("image".to_owned()),
        owner: None,
        visibility: Visibility::Public,
        phase: Phase::Active { data },
        disk_format: Some("raw".to_owned()),
        container_format: Some("bare".to_owned()),
        min_disk: 0,
        min_ram: 0,
        protected: false,
        hidden: false,
        tags: Default::default(),
        properties: Default::default(),
        unknown: Default::default(),
    }
}
