//! A guest's measurements as Nova shows them: one form for all hypervisors from 2.48 on, libvirt's own before.

use crate::{
    agent::{Diagnostics, Traffic},
    microversion::Microversion,
};
use lenticular_model::{compute::server::Server, host::host::Hypervisor};
use serde_json::{Map, Value, json};

/// The body of `GET /servers/{id}/diagnostics`.
pub fn view(
    seen: &Diagnostics,
    server: &Server,
    config_drive: bool,
    hypervisor: &Hypervisor,
    version: Microversion,
) -> Value {
    match version.has(48) {
        true => same_for_all(seen, server, config_drive, hypervisor),
        false => as_libvirt(seen, server),
    }
}

fn same_for_all(seen: &Diagnostics, server: &Server, config_drive: bool, hypervisor: &Hypervisor) -> Value {
    let cpu = |(id, time): (usize, &u64)| json!({"id": id, "time": time, "utilisation": null});
    let cpus: Vec<Value> = seen.cpus_ns.iter().enumerate().map(cpu).collect();
    let disks: Vec<Value> = seen
        .disks
        .iter()
        .map(|disk| {
            json!({
                "read_bytes": disk.read_bytes, "read_requests": disk.read_requests,
                "write_bytes": disk.write_bytes, "write_requests": disk.write_requests,
                "errors_count": disk.errors,
            })
        })
        .collect();
    let nics: Vec<Value> = seen
        .nics
        .iter()
        .map(|nic| {
            let mut view = json!({"mac_address": nic.mac});
            for (way, traffic) in [("rx", nic.received), ("tx", nic.sent)] {
                let number = |of: fn(Traffic) -> u64| json!(traffic.map(of));
                view[format!("{way}_octets")] = number(|t| t.bytes);
                view[format!("{way}_packets")] = number(|t| t.packets);
                view[format!("{way}_errors")] = number(|t| t.errors);
                view[format!("{way}_drop")] = number(|t| t.dropped);
                view[format!("{way}_rate")] = Value::Null;
            }
            view
        })
        .collect();
    json!({
        "state": state(&seen.state),
        // The API has five words for drivers. This is the word for QEMU on Linux.
        "driver": "libvirt",
        "hypervisor": match hypervisor.acceleration.as_str() {
            "kvm" => "kvm",
            _ => "qemu",
        },
        "hypervisor_os": "linux",
        "uptime": seen.uptime_s,
        "config_drive": config_drive,
        "num_cpus": server.size.vcpus,
        "num_disks": disks.len(),
        "num_nics": nics.len(),
        "cpu_details": cpus,
        "disk_details": disks,
        "nic_details": nics,
        "memory_details": {
            "maximum": seen.memory_kib.map_or(u64::from(server.size.ram_mb), |kib| kib / 1_024),
            "used": seen.resident_kib.map(|kib| kib / 1_024),
        },
    })
}

/// Nova's word for a state of QEMU's.
fn state(qemu: &str) -> &'static str {
    match qemu {
        "running" => "running",
        "shutdown" => "shutdown",
        "internal-error" | "io-error" | "guest-panicked" | "watchdog" => "crashed",
        "suspended" => "suspended",
        "prelaunch" | "inmigrate" => "pending",
        _ => "paused",
    }
}

fn as_libvirt(seen: &Diagnostics, server: &Server) -> Value {
    let mut out = Map::new();
    let mut put = |name: String, value: u64| drop(out.insert(name, json!(value)));
    for (n, time) in seen.cpus_ns.iter().enumerate() {
        put(format!("cpu{n}_time"), *time);
    }
    let memory = u64::from(server.size.ram_mb) * 1_024;
    put("memory".to_owned(), memory);
    put("memory-actual".to_owned(), seen.memory_kib.unwrap_or(memory));
    seen.resident_kib.into_iter().for_each(|kib| put("memory-rss".to_owned(), kib));
    for (letter, disk) in ('a'..='z').zip(&seen.disks) {
        put(format!("vd{letter}_read"), disk.read_bytes);
        put(format!("vd{letter}_read_req"), disk.read_requests);
        put(format!("vd{letter}_write"), disk.write_bytes);
        put(format!("vd{letter}_write_req"), disk.write_requests);
        put(format!("vd{letter}_errors"), disk.errors);
    }
    for (n, nic) in seen.nics.iter().enumerate() {
        let device = nic.device.clone().unwrap_or_else(|| format!("net{n}"));
        for (way, traffic) in [("rx", nic.received), ("tx", nic.sent)] {
            let Some(traffic) = traffic else { continue };
            put(format!("{device}_{way}"), traffic.bytes);
            put(format!("{device}_{way}_packets"), traffic.packets);
            put(format!("{device}_{way}_errors"), traffic.errors);
            put(format!("{device}_{way}_drop"), traffic.dropped);
        }
    }
    Value::Object(out)
}
