//! The messages of version 2 of the agent protocol, for hosts with an older agent.
//!
//! A version 2 agent sends its facts with the registration alone, and carries out no orders about its host. Its
//! reports are reports of this version without the later fields.

use super::{Evidence, Facts, Orders, Question, Registration};
use lenticular_model::{
    Incarnation,
    host::{
        evidence::{HYPERVISOR, NETWORK},
        host::{Capacity, Hypervisor, Wiring},
        observation::Observation,
        order::Order,
    },
};
use serde::{Deserialize, Serialize};

/// The version.
pub const VERSION: u32 = 2;

/// A registration.
#[derive(Debug, Clone, Deserialize)]
pub struct Hello {
    host_name: String,
    boot_id: String,
    address: String,
    #[serde(default)]
    peer_address: String,
    zone: String,
    capacity: Capacity,
    hypervisor: HypervisorV2,
    #[serde(default)]
    incarnation: Option<Incarnation>,
    #[serde(default)]
    applied_upto: u64,
    #[serde(default)]
    receipt: Option<String>,
    inventory: Vec<Observation>,
}

/// The hypervisor, with what is wrong.
#[derive(Debug, Clone, Deserialize)]
struct HypervisorV2 {
    driver: String,
    acceleration: String,
    version: u64,
    arch: String,
    cpu_model: String,
    #[serde(default)]
    trouble: Option<String>,
    #[serde(default)]
    wiring: WiringV2,
}

/// The network driver, with what is wrong.
#[derive(Debug, Clone, Default, Deserialize)]
struct WiringV2 {
    #[serde(default)]
    driver: String,
    #[serde(default)]
    physical_networks: Vec<String>,
    #[serde(default)]
    trouble: Option<String>,
}

impl From<Hello> for Registration {
    fn from(hello: Hello) -> Self {
        let HypervisorV2 { driver, acceleration, version, arch, cpu_model, trouble, wiring } =
            hello.hypervisor;
        let evidence = [(HYPERVISOR, trouble), (NETWORK, wiring.trouble)];
        let wiring = Wiring { driver: wiring.driver, physical_networks: wiring.physical_networks };
        let facts = Facts {
            boot_id: Some(hello.boot_id),
            address: Some(hello.address),
            peer_address: Some(hello.peer_address),
            capacity: Some(hello.capacity),
            hypervisor: Some(Hypervisor { driver, acceleration, version, arch, cpu_model, wiring }),
            ..Facts::default()
        };
        Self {
            version: VERSION,
            host_name: hello.host_name,
            zone: hello.zone,
            facts,
            evidence: evidence.map(|(check, trouble)| Evidence { check: check.to_owned(), trouble }).into(),
            incarnation: hello.incarnation,
            applied_upto: hello.applied_upto,
            receipt: hello.receipt,
            inventory: hello.inventory,
        }
    }
}

/// The changed orders of a host.
#[derive(Debug, Clone, Serialize)]
pub struct OrdersV2 {
    incarnation: Incarnation,
    after: u64,
    upto: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    receipt: Option<String>,
    orders: Vec<Order>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    questions: Vec<Question>,
}

impl From<Orders> for OrdersV2 {
    fn from(orders: Orders) -> Self {
        let Orders { incarnation, after, upto, receipt, servers, host: _, questions } = orders;
        Self { incarnation, after, upto, receipt, orders: servers, questions }
    }
}
