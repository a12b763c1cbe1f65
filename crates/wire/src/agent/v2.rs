//! The messages of version 2 of the agent protocol, for hosts with an older agent.
//!
//! A version 2 agent sends its facts with the registration alone, and carries out no orders about its host. A version 2
//! report is a version 3 report without the later fields; `guests` is called `observations`.

use super::{Evidence, Facts, Orders, Question, Registration};
use lenticular_model::{
    Incarnation,
    host::{
        evidence::{HYPERVISOR, NETWORK},
        host::{Capacity, Hypervisor, Wiring},
        observation::Observation,
        order::{Order, Own, Receive, RunGoal},
    },
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

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
            evidence: evidence.map(|(check, trouble)| Evidence::new(check, trouble)).into(),
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
    orders: Vec<Value>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    questions: Vec<Question>,
}

impl From<Orders> for OrdersV2 {
    fn from(orders: Orders) -> Self {
        let Orders { incarnation, after, upto, receipt, servers, host: _, at: _, questions } = orders;
        let orders = servers.iter().filter_map(order).collect();
        // Whoever asks looks at the host's version first, so only questions that crossed with a change of agents are lost.
        let questions = questions.into_iter().filter(|question| question.ask.is_in_v2()).collect();
        Self { incarnation, after, upto, receipt, orders, questions }
    }
}

/// An order as version 2 writes it: `guest.base`, the image below the only disk, in place of `guest.disks`. `None` if the
/// guest has several disks, a root disk without an image, or a saved memory. The host then keeps to its last order.
fn order(order: &Order) -> Option<Value> {
    let mut written = serde_json::to_value(order).ok()?;
    if let Order::Own(Own { assignment, .. }) | Order::Receive(Receive { assignment, .. }) = order {
        let [disk] = &assignment.guest.disks[..] else { return None };
        let guest = written.get_mut("guest")?.as_object_mut()?;
        guest.remove("disks");
        guest.insert("base".to_owned(), serde_json::to_value(disk.base()?).ok()?);
    }
    if let Order::Own(own) = order {
        if matches!(own.run, RunGoal::Suspended { .. }) {
            return None;
        }
        written.as_object_mut()?.insert("run".to_owned(), Value::Bool(own.run == RunGoal::Running));
    }
    Some(written)
}

#[cfg(test)]
mod tests {
    use super::*;
    use lenticular_model::{DiskId, ServerId, host::guest_spec::Content};
    use serde_json::json;

    /// What an agent of version 2 sends, and an order that it saved.
    const HELLO: &str = include_str!("v2/hello.json");
    const ORDER: &str = include_str!("v2/order.json");

    #[test]
    fn a_registration_of_version_2_has_its_troubles_as_evidence() {
        let mut hello: Value = serde_json::from_str(HELLO).unwrap();
        let read = crate::agent::read_registration(&hello).unwrap();
        assert_eq!((read.version, read.facts.kernel), (2, None));
        assert!(read.evidence.iter().all(|seen| seen.trouble.is_none()));
        hello["hypervisor"]["wiring"]["trouble"] = json!("br-int is gone");
        let read = crate::agent::read_registration(&hello).unwrap();
        let network = read.evidence.iter().find(|seen| seen.check == NETWORK).unwrap();
        assert_eq!(network.trouble.as_deref(), Some("br-int is gone"));
    }

    #[test]
    fn other_versions_are_refused_by_name() {
        for version in [0, 1, 4, 99] {
            let refused = crate::agent::read_registration(&json!({ "version": version })).unwrap_err();
            assert!(
                refused.contains(&format!("version {version}")) && refused.contains("2 to 3"),
                "{refused}"
            );
        }
        let refused = crate::agent::read_registration(&json!({ "version": 3 })).unwrap_err();
        assert!(refused.contains("missing field"), "{refused}");
    }

    #[test]
    fn an_order_of_version_2_is_read_and_written_as_it_was() {
        let recorded: Value = serde_json::from_str(ORDER).unwrap();
        let read: Order = serde_json::from_value(recorded.clone()).unwrap();
        let Order::Own(own) = &read else { panic!("{read:?}") };
        let [disk] = &own.assignment.guest.disks[..] else { panic!("{read:?}") };
        assert_eq!(disk.id, DiskId::root_of(read.server_id()));
        assert_eq!((disk.generation, disk.bytes), (1, 1 << 30));
        assert_eq!(order(&read), Some(recorded));
    }

    #[test]
    fn a_guest_with_two_disks_has_no_order_of_version_2() {
        let mut read: Order = serde_json::from_str(ORDER).unwrap();
        let Order::Own(own) = &mut read else { panic!("{read:?}") };
        let mut assignment = (*own.assignment).clone();
        let second = DiskId::root_of(ServerId::default());
        let root = assignment.guest.disks[0].clone();
        assignment.guest.disks.push(super::super::DiskSpec { id: second, content: Content::Blank, ..root });
        own.assignment = assignment.into();
        assert_eq!(order(&read), None);
    }
}
