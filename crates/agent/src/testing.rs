//! What several tests share: a server's order, and a control plane that answers from memory.

use lenticular_model::{
    flavor::Size,
    server::{BootStyle, Wanted},
    ImageId, Incarnation, ProjectId, ServerId, UserId,
};
use lenticular_wire::agent::{Base, GuestSpec, Order};
use std::collections::BTreeMap;

pub(crate) fn server(n: u8) -> ServerId {
    ServerId::from_random([n; 16])
}

pub(crate) fn life(n: u8) -> Incarnation {
    Incarnation::from_random([n; 16])
}

/// A server that is to run.
pub(crate) fn order(n: u8) -> Order {
    Order {
        server_id: server(n),
        generation: 1,
        wanted: Wanted::Running,
        boot: 1,
        boot_style: BootStyle::Hard,
        disk_made: false,
        guest: GuestSpec {
            name: "web".to_owned(),
            hostname: "web".to_owned(),
            project_id: ProjectId::from_random([1; 16]),
            user_id: UserId::from_random([2; 16]),
            size: Size { vcpus: 1, ram_mb: 128, disk_gb: 1, ephemeral_gb: 0, swap_mb: 0 },
            base: Base {
                image_id: ImageId::from_random([3; 16]),
                sha512: "ab".repeat(64),
                format: "qcow2".to_owned(),
            },
            ports: Vec::new(),
            key: None,
            metadata: BTreeMap::new(),
            launch_index: 0,
            availability_zone: "nova".to_owned(),
            config_drive: false,
            has_user_data: false,
        },
    }
}
