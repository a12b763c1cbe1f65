//! What can be measured of a running guest: by QEMU's counters, and by the kernel's for QEMU's process and its taps.

use super::qmp::{Qmp, QmpError};
use lenticular_wire::agent::{Diagnostics, DiskCounters, NicCounters, Traffic};
use serde_json::{Value, json};
use std::{fs, path::Path};

/// Clock ticks per second in `/proc`: Linux shows this rate to all programs.
const TICKS_PER_S: u64 = 100;

/// Looks at a guest whose QEMU is the process `pid`, started `start_ticks` after the host's boot.
pub(super) async fn look(qmp: &Qmp, pid: u32, start_ticks: u64) -> Result<Diagnostics, QmpError> {
    let state = qmp.status().await?;
    let cpus = qmp.ask("query-cpus-fast", Value::Null).await?;
    let threads = cpus.as_array().into_iter().flatten().filter_map(|cpu| cpu["thread-id"].as_u64());
    let memory = qmp.ask("query-memory-size-summary", Value::Null).await?;
    let blocks = qmp.ask("query-blockstats", Value::Null).await?;
    let network = qmp.ask("human-monitor-command", json!({ "command-line": "info network" })).await?;
    let file = |path: String| fs::read_to_string(path).unwrap_or_default();
    Ok(Diagnostics {
        state,
        uptime_s: uptime_s(&file("/proc/uptime".to_owned()), start_ticks),
        cpus_ns: threads
            .filter_map(|thread| cpu_ns(&file(format!("/proc/{pid}/task/{thread}/stat"))))
            .collect(),
        memory_kib: memory["base-memory"].as_u64().map(|bytes| bytes >> 10),
        resident_kib: resident_kib(&file(format!("/proc/{pid}/status"))),
        disks: disks(&blocks),
        nics: nics(network.as_str().unwrap_or_default(), Path::new("/sys/class/net")),
    })
}

fn uptime_s(uptime: &str, start_ticks: u64) -> Option<u64> {
    let up: f64 = uptime.split_whitespace().next()?.parse().ok()?;
    Some((up as u64).saturating_sub(start_ticks / TICKS_PER_S))
}

/// The time that a thread has run, from its `stat`. Its name may contain anything, so the fields are counted from the end
/// of the name.
fn cpu_ns(stat: &str) -> Option<u64> {
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    let (user, system): (u64, u64) = (fields.nth(11)?.parse().ok()?, fields.next()?.parse().ok()?);
    Some((user + system) * (1_000_000_000 / TICKS_PER_S))
}

fn resident_kib(status: &str) -> Option<u64> {
    status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.split_whitespace().next()?.parse().ok())
}

/// The counters of the guest's own disks, which the config drive is none of.
fn disks(blocks: &Value) -> Vec<DiskCounters> {
    let node = |block: &Value| block["node-name"].as_str().map(str::to_owned);
    let own = |block: &&Value| node(block).is_some_and(|name| name == "root" || name.starts_with("disk"));
    let counters = |block: &Value| {
        let number = |name: &str| block["stats"][name].as_u64().unwrap_or_default();
        DiskCounters {
            read_bytes: number("rd_bytes"),
            read_requests: number("rd_operations"),
            write_bytes: number("wr_bytes"),
            write_requests: number("wr_operations"),
            errors: number("failed_rd_operations") + number("failed_wr_operations"),
        }
    };
    blocks.as_array().into_iter().flatten().filter(own).map(counters).collect()
}

/// The interfaces in the monitor's report: a line for the guest's side, followed by one for the host's.
fn nics(report: &str, devices: &Path) -> Vec<NicCounters> {
    let mut found: Vec<NicCounters> = Vec::new();
    for line in report.lines() {
        let value = |name: &str| {
            let part = line.split([',', ' ']).find_map(|part| part.strip_prefix(name)?.strip_prefix('='));
            part.map(str::to_owned)
        };
        if let Some(mac) = value("macaddr") {
            found.push(NicCounters { mac, ..NicCounters::default() });
        } else if let (Some(nic), Some(device)) = (found.last_mut(), value("ifname")) {
            // What the host's side receives, the guest has sent.
            let count = |way: &str| traffic(&devices.join(&device).join("statistics"), way);
            (nic.sent, nic.received) = (count("rx"), count("tx"));
            nic.device = Some(device);
        }
    }
    found
}

fn traffic(statistics: &Path, way: &str) -> Option<Traffic> {
    let number = |what: &str| -> Option<u64> {
        fs::read_to_string(statistics.join(format!("{way}_{what}"))).ok()?.trim().parse().ok()
    };
    Some(Traffic {
        bytes: number("bytes")?,
        packets: number("packets")?,
        errors: number("errors")?,
        dropped: number("dropped")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_texts_are_read() {
        let stat = "71 (CPU 0/KVM) (x)) S 1 71 71 0 -1 4194368 5 0 0 0 250 50 0 0 20 0 3 0 900 1 2";
        assert_eq!(cpu_ns(stat), Some(3_000_000_000));
        assert_eq!(cpu_ns("71 (broken"), None);
        assert_eq!(uptime_s("120.50 200.00\n", 2_000), Some(100));
        assert_eq!(resident_kib("Name:\tqemu\nVmRSS:\t  51200 kB\n"), Some(51_200));
    }

    #[test]
    fn disks_and_interfaces_are_the_guests_own() {
        let stats = json!({"rd_bytes": 512, "rd_operations": 1, "wr_bytes": 0, "wr_operations": 0,
            "failed_rd_operations": 1, "failed_wr_operations": 1});
        let blocks = json!([
            {"node-name": "root", "stats": stats},
            {"node-name": "config", "stats": stats},
            {"node-name": "disk1", "stats": stats},
        ]);
        let found = disks(&blocks);
        assert_eq!((found.len(), found[0].read_bytes, found[1].errors), (2, 512, 2));
        let dir = tempfile::tempdir().unwrap();
        let statistics = dir.path().join("tap1/statistics");
        fs::create_dir_all(&statistics).unwrap();
        for (n, name) in ["bytes", "packets", "errors", "dropped"].iter().enumerate() {
            fs::write(statistics.join(format!("rx_{name}")), format!("{n}\n")).unwrap();
            fs::write(statistics.join(format!("tx_{name}")), format!("{}\n", 10 + n)).unwrap();
        }
        let report = "nic0: index=0,type=nic,model=virtio-net-pci,macaddr=fa:16:3e:00:00:01\r\n \\ net0: \
                      index=0,type=tap,ifname=tap1,script=no,downscript=no\r\nnic1: \
                      index=0,type=nic,model=virtio-net-pci,macaddr=fa:16:3e:00:00:02\r\n \\ net1: \
                      index=0,type=user,net=10.0.2.0\r\n";
        let found = nics(report, dir.path());
        assert_eq!(found[0].device.as_deref(), Some("tap1"));
        assert_eq!(found[0].received, Some(Traffic { bytes: 10, packets: 11, errors: 12, dropped: 13 }));
        assert_eq!(found[0].sent, Some(Traffic { bytes: 0, packets: 1, errors: 2, dropped: 3 }));
        assert_eq!((found[1].mac.as_str(), found[1].received), ("fa:16:3e:00:00:02", None));
    }
}
