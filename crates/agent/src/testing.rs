//! Shared parts of tests: a guest and its order.

use lenticular_model::{
    DiskId, ImageId, Incarnation, NetworkId, PortId, ProjectId, ServerId, UserId,
    compute::{
        flavor::Size,
        server::{BootStyle, Wanted},
    },
};
use lenticular_wire::agent::{
    AddressSpec, Base, Content, DiskSpec, GuestAssignment, GuestSpec, Order, Own, PortSpec, RunGoal,
};
use std::{collections::BTreeMap, time::Duration};

pub(crate) fn server(n: u8) -> ServerId {
    ServerId::from_random([n; 16])
}

pub(crate) fn incarnation(n: u8) -> Incarnation {
    Incarnation::from_random([n; 16])
}

/// A guest's port with these addresses.
pub(crate) fn port(addresses: Vec<AddressSpec>) -> PortSpec {
    PortSpec {
        tag: None,
        port_id: PortId::from_random([1; 16]),
        slot: 0,
        network_id: NetworkId::from_random([2; 16]),
        mac: "fa:16:3e:00:00:01".parse().unwrap(),
        mtu: 1442,
        addresses,
    }
}

/// A guest's assignment.
pub(crate) fn assignment(n: u8) -> GuestAssignment {
    GuestAssignment {
        server_id: server(n),
        generation: 1,
        boot: 1,
        paused: false,
        guest: GuestSpec {
            name: "web".to_owned(),
            hostname: "web".to_owned(),
            project_id: ProjectId::from_random([1; 16]),
            user_id: UserId::from_random([2; 16]),
            size: Size { vcpus: 1, ram_mb: 128, disk_gb: 1, ephemeral_gb: 0, swap_mb: 0, image_gb: 0 },
            disks: vec![DiskSpec {
                tag: None,
                id: DiskId::root_of(server(n)),
                generation: 1,
                bytes: 1 << 30,
                content: Content::Image(Base {
                    image_id: ImageId::from_random([3; 16]),
                    sha512: "ab".repeat(64),
                    format: "qcow2".to_owned(),
                }),
            }],
            rescue: None,
            ports: Vec::new(),
            key: None,
            metadata: BTreeMap::new(),
            launch_index: 0,
            availability_zone: "nova".to_owned(),
            config_drive: false,
            has_user_data: false,
            has_files: false,
            password: None,
            public_ips: Vec::new(),
            flavor_name: "small".to_owned(),
            reservation_id: "r-00000001".to_owned(),
            floating: Vec::new(),
        },
    }
}

/// The wanted state of one guest, all in one.
#[derive(Debug, Clone)]
pub(crate) struct Wish {
    pub(crate) server_id: ServerId,
    pub(crate) generation: u64,
    pub(crate) wanted: Wanted,
    pub(crate) boot: u64,
    pub(crate) boot_style: BootStyle,
    pub(crate) disk_made: bool,
    pub(crate) guest: GuestSpec,
}

impl Wish {
    /// The order for it.
    pub(crate) fn order(&self) -> Order {
        let Self { server_id, generation, boot, boot_style, disk_made, .. } = *self;
        if self.wanted == Wanted::Absent {
            return Order::Remove { server_id, generation };
        }
        let mut guest = self.guest.clone();
        guest.disks.iter_mut().for_each(|disk| {
            (disk.id, disk.generation) = (DiskId::root_of(server_id), generation);
        });
        let paused = self.wanted == Wanted::Paused;
        let assignment = GuestAssignment { server_id, generation, boot, paused, guest };
        Order::Own(Own {
            assignment: assignment.into(),
            run: match self.wanted {
                Wanted::Running | Wanted::Paused => RunGoal::Running,
                Wanted::Suspended => RunGoal::Suspended { attempt: boot },
                Wanted::Stopped | Wanted::Absent => RunGoal::Stopped,
            },
            boot_style,
            disk_made,
            revives: None,
            replaces: None,
            outgoing: None,
            upload: None,
            snapshot: None,
        })
    }
}

/// The wish for a running server.
pub(crate) fn wish(n: u8) -> Wish {
    let GuestAssignment { server_id, generation, boot, guest, .. } = assignment(n);
    let (wanted, boot_style) = (Wanted::Running, BootStyle::Hard);
    Wish { server_id, generation, wanted, boot, boot_style, disk_made: false, guest }
}

/// Waits until none of these processes runs: the kernel ends a killed process when it runs next.
pub(crate) async fn all_end(pids: &str) {
    let goes_on = |pid: &str| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let state = stat.rsplit(')').next().and_then(|rest| rest.split_whitespace().next());
        state.is_some_and(|state| state != "Z")
    };
    let ended = async {
        while pids.lines().any(goes_on) {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), ended).await.expect("all end");
}
