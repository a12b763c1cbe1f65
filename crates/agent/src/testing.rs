//! Shared parts of tests: a guest and its order.

use lenticular_model::{
    DiskId, ImageId, Incarnation, ProjectId, ServerId, UserId,
    compute::{
        flavor::Size,
        server::{BootStyle, Wanted},
    },
};
use lenticular_wire::agent::{Base, Content, DiskSpec, GuestAssignment, GuestSpec, Order, Own, RunGoal};
use std::collections::BTreeMap;

pub(crate) fn server(n: u8) -> ServerId {
    ServerId::from_random([n; 16])
}

pub(crate) fn incarnation(n: u8) -> Incarnation {
    Incarnation::from_random([n; 16])
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
