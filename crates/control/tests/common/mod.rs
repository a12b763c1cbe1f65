//! Shared code of tests of servers: one server.

use lenticular_model::{
    FlavorId, HostId, ImageId, ProjectId, ServerId, Timestamp, UserId,
    compute::{
        flavor::Size,
        server::{BootStyle, Condition, Server, Wanted},
    },
};

pub fn server_id() -> ServerId {
    ServerId::from_random([7; 16])
}

/// A server that was ordered and has no report yet.
pub fn server(host_id: HostId) -> Server {
    Server {
        id: server_id(),
        created_at: Timestamp(1),
        updated_at: None,
        project_id: ProjectId::from_random([1; 16]),
        user_id: UserId::from_random([2; 16]),
        name: "web".to_owned(),
        description: None,
        hostname: "web".to_owned(),
        flavor_id: FlavorId::from("small"),
        flavor_name: "small".into(),
        size: Size { vcpus: 1, ram_mb: 128, disk_gb: 1, ephemeral_gb: 0, swap_mb: 0, image_gb: 0 },
        extra_specs: Default::default(),
        image_id: ImageId::from_random([3; 16]),
        base: "".into(),
        base_format: "raw".into(),
        base_image: None,
        image_properties: Default::default(),
        shelf: None,
        interfaces: 0,
        key: None,
        metadata: Default::default(),
        tags: Default::default(),
        locked: None,
        config_drive: false,
        guest_password: None,
        has_user_data: false,
        has_files: false,
        disk_config_manual: false,
        access_ipv4: String::new(),
        access_ipv6: String::new(),
        wanted_zone: None,
        server_group: None,
        hints: None,
        reservation_id: "".into(),
        launch_index: 0,
        host_id: Some(host_id),
        restored: None,
        former_disk: None,
        layout: 0,
        layout_boot: 0,
        ticket: None,
        unconfirmed: None,
        wanted: Wanted::Running,
        boot: 1,
        boot_style: BootStyle::Hard,
        suspensions: 0,
        snapshot: None,
        rebuild: None,
        rescue: None,
        condition: Condition::Building,
        task: None,
        fault: None,
        powered: false,
        awaits_ports: None,
        launched_at: None,
        reclaim_at: None,
        terminated_at: None,
        ssh_forward: None,
        unknown: Default::default(),
    }
}
