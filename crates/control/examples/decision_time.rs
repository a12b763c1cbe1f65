//! Times one scheduling decision: `cargo run --release -p lenticular-control --example decision_time`.

#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a command for people, which has nothing to recover"
)]

use lenticular_control::{
    observe::host::{Registration, begin_session},
    schedule::{RequestSpec, schedule},
};
use lenticular_model::host::fact::Facts;
use lenticular_model::{
    AggregateId, HostId, Incarnation, Record, ServerGroupId, ServerId, State, Timestamp, Txn,
    compute::{
        aggregate::Aggregate,
        flavor::{Flavor, Size},
        server::Server,
        server_group::{Policy, ServerGroup},
    },
    host::{
        evidence::{BRIDGE, CANARY, Finding, Level, TUNNELS},
        host::{Capacity, Host, Hypervisor},
        rule::HostRule,
    },
    image::Image,
};
use serde_json::json;
use std::{collections::BTreeMap, hint::black_box, sync::Arc, time::Instant};

/// The binary's allocator: a decision allocates a few hundred KB, so the allocator decides that cost.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The number of timed decisions.
const ROUNDS: u32 = 300;

fn main() {
    println!("{:>7}  {:<44} {:>10} {:>10}", "hosts", "what", "median", "worst 1%");
    for hosts in [1_000, 10_000] {
        let plain = cloud(hosts, 0);
        let rich = cloud(hosts, 40);
        let group = |policy| Some(ServerGroupId::from_random([policy as u8 + 1; 16]));
        let specs = |list: &[(&str, &str)]| {
            Arc::new(list.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect::<BTreeMap<_, _>>())
        };
        let wants = specs(&[
            ("aggregate_instance_extra_specs:disk", "<or> ssd <or> nvme"),
            ("capabilities:hypervisor_version", ">= 1"),
            ("trait:HW_ARCH_X86_64", "required"),
        ]);
        let small = ask(1);
        let all = RequestSpec {
            zone: Some("zone-1".to_owned()),
            extra_specs: wants.clone(),
            image: Some(Arc::new(image())),
            group: group(Policy::AntiAffinity),
            ..small.clone()
        };
        measure(hosts, "no aggregates", &plain, &small);
        measure(hosts, "40 aggregates", &rich, &small);
        measure(
            hosts,
            "40 aggregates, extra specs",
            &rich,
            &RequestSpec { extra_specs: wants, ..small.clone() },
        );
        let apart = RequestSpec { group: group(Policy::AntiAffinity), ..small.clone() };
        measure(hosts, "anti-affinity to 100 servers", &rich, &apart);
        let softly = RequestSpec { group: group(Policy::SoftAntiAffinity), ..small.clone() };
        measure(hosts, "soft anti-affinity to 100 servers", &rich, &softly);
        measure(hosts, "zone, extra specs, image, anti-affinity", &rich, &all);
        measure(hosts, "no host will do", &rich, &ask(1_000));
        measure(hosts, "20 rules, 5 kernels, 1 in 50 hosts dark", &judged(&rich), &small);
    }
}

fn ask(vcpus: u32) -> RequestSpec {
    let size = Size { vcpus, ram_mb: 2_048, disk_gb: 20, ephemeral_gb: 0, swap_mb: 0, image_gb: 0 };
    RequestSpec { size: Some(size), ..RequestSpec::default() }
}

fn measure(hosts: usize, what: &str, state: &State, ask: &RequestSpec) {
    let mut took: Vec<f64> = (0..ROUNDS)
        .map(|_| {
            let began = Instant::now();
            black_box(schedule(black_box(state), black_box(ask)));
            began.elapsed().as_secs_f64() * 1e6
        })
        .collect();
    took.sort_by(f64::total_cmp);
    let at = |share: f64| took[((took.len() - 1) as f64 * share) as usize];
    println!("{hosts:>7}  {what:<44} {:>7.0} µs {:>7.0} µs", at(0.5), at(0.99));
}

/// Random bytes that are the same in each run.
struct Random(u64);

impl Random {
    fn bytes(&mut self) -> [u8; 16] {
        let mut next = || {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (self.0 >> 11).to_le_bytes()
        };
        let (a, b) = (next(), next());
        std::array::from_fn(|n| if n < 8 { a[n] } else { b[n - 8] })
    }
}

fn cloud(hosts: usize, aggregates: usize) -> State {
    let state = State::new(Incarnation::from_random([1; 16]), Timestamp(1));
    let mut random = Random(7);
    let mut entropy = || random.bytes();
    let mut txn = Txn::new(&state, Timestamp(1), &mut entropy);
    let ids: Vec<HostId> = (0..hosts).map(|n| host(&mut txn, n)).collect();
    for n in 0..aggregates {
        let id = AggregateId::from_random(txn.random());
        let mine = ids.iter().skip(n % 20).step_by(20).copied();
        let disk = ["ssd", "hdd", "nvme"][n % 3].to_owned();
        let mut aggregate: Aggregate = read(json!({"id": id, "number": n, "name": format!("a{n}")}));
        aggregate.metadata.insert("disk".to_owned(), disk);
        aggregate.hosts = mine.collect();
        txn.put(aggregate);
    }
    for (n, id) in ids.iter().enumerate() {
        txn.update::<Host>(id, |h| h.zone = format!("zone-{}", n % 3));
    }
    for policy in Policy::ALL {
        let id = ServerGroupId::from_random([policy as u8 + 1; 16]);
        let owner = uuid_of(9);
        txn.put::<ServerGroup>(read(
            json!({"id": id, "project_id": owner, "user_id": owner, "name": "g", "policy": policy}),
        ));
    }
    for n in 0..hosts * 10 {
        let policy = Policy::ALL[n % 4];
        let group = (n < 400).then(|| ServerGroupId::from_random([policy as u8 + 1; 16]));
        put_server(&mut txn, ids[(n * 7_919) % hosts], group);
    }
    txn.finish().0
}

/// The same cloud with hosts that say their kernel and their checks, and with rules about both.
fn judged(state: &State) -> State {
    let mut random = Random(8);
    let mut entropy = || random.bytes();
    let mut txn = Txn::new(state, Timestamp(2), &mut entropy);
    let ids: Vec<HostId> = txn.hosts.keys().copied().collect();
    for (n, id) in ids.iter().enumerate() {
        let found = |trouble: Option<&str>| Finding {
            trouble: trouble.map(str::to_owned),
            level: Level::Fail,
            since: Timestamp(1),
        };
        let bridge = found((n % 50 == 0).then_some("br-int does not answer"));
        txn.update::<Host>(id, |host| {
            host.versions.insert("kernel".to_owned(), format!("6.1.{}-1", n % 5));
            host.evidence.insert(BRIDGE.to_owned(), bridge);
            host.evidence.insert(TUNNELS.to_owned(), found(None));
            host.evidence.insert(CANARY.to_owned(), found(None));
        });
    }
    for n in 0..20 {
        let subject = match n {
            0 => json!({"check": CANARY}),
            _ => json!({"version": "kernel"}),
        };
        let (effect, range) =
            if n == 0 { ("require", "*".to_owned()) } else { ("deny", format!("=6.0.{n}-1")) };
        txn.put::<HostRule>(read(json!({
            "id": format!("rule-{n}"), "effect": effect, "subject": subject, "range": range, "scope": "all",
            "reason": "guests lose time", "user_id": uuid_of(9),
        })));
    }
    txn.finish().0
}

fn uuid_of(byte: u8) -> String {
    format!("{:032x}", u128::from_be_bytes([byte; 16]))
}

fn read<R: Record>(doc: serde_json::Value) -> R {
    serde_json::from_value(doc).unwrap()
}

fn host(txn: &mut Txn<'_>, n: usize) -> HostId {
    let intro = Registration {
        name: format!("host-{n:05}"),
        protocol: 3,
        zone: "nova".to_owned(),
        facts: Facts {
            boot_id: Some(String::new()),
            peer_address: Some("10.0.0.1:1".to_owned()),
            capacity: Some(Capacity { vcpus: 64, memory_mb: 262_144, disk_gb: 4_000 }),
            hypervisor: Some(Hypervisor {
                driver: "qemu".to_owned(),
                acceleration: "kvm".to_owned(),
                version: 10_000_000,
                arch: "x86_64".to_owned(),
                ..Hypervisor::default()
            }),
            ..Facts::default()
        },
        evidence: Vec::new(),
        life: None,
    };
    begin_session(txn, intro).unwrap().id
}

fn put_server(txn: &mut Txn<'_>, host: HostId, group: Option<ServerGroupId>) {
    let flavor: Flavor = read(json!({
        "id": "1", "name": "small", "is_public": true, "rxtx_factor": 1.0,
        "size": {"vcpus": 2, "ram_mb": 4_096, "disk_gb": 40},
    }));
    let id = ServerId::from_random(txn.random());
    let mut server: Server = read(json!({
        "id": id, "project_id": uuid_of(9), "user_id": uuid_of(9), "name": "s", "hostname": "s",
        "flavor_id": "1", "flavor_name": "small", "size": flavor.size, "image_id": uuid_of(3), "base": "",
        "base_format": "raw", "reservation_id": "", "host_id": host,
        "wanted": "running", "boot": 1, "boot_style": "hard", "condition": "active",
    }));
    server.server_group = group;
    txn.put(server);
}

fn image() -> Image {
    read(json!({
        "id": uuid_of(3), "owner": null, "visibility": "public", "phase": {"is": "queued"},
        "properties": {"hw_architecture": "x86_64", "hw_vm_mode": "hvm", "img_hv_type": "kvm"},
    }))
}
