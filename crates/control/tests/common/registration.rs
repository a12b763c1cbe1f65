//! Shared code of tests of hosts: what an agent says of its host when it registers.

use lenticular_control::observe::host::Registration;
use lenticular_model::host::{
    fact::Facts,
    host::{Capacity, Hypervisor},
};

/// The registration of a host with 4 vCPUs, whose agent knows no incarnation of the store yet.
pub fn registration(name: &str, peer_address: &str) -> Registration {
    Registration {
        name: name.to_owned(),
        protocol: 3,
        zone: "nova".to_owned(),
        facts: Facts {
            boot_id: Some("boot".to_owned()),
            peer_address: Some(peer_address.to_owned()),
            capacity: Some(Capacity { vcpus: 4, memory_mb: 4_096, disk_gb: 100 }),
            hypervisor: Some(Hypervisor::default()),
            ..Facts::default()
        },
        evidence: Vec::new(),
        life: None,
    }
}
