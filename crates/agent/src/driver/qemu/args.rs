//! QEMU's command line for a guest.

use super::{CONFIG, CONSOLE, PID, READY};
use crate::driver::{NetPlan, Nic, guest_user::RUN};
use lenticular_model::ServerId;
use lenticular_wire::agent::GuestAssignment;
use serde_json::{Value, json};
use std::path::Path;

pub(super) fn strings(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

/// The machine of the hypervisor's test and of guests. Every supported QEMU knows its version, so guests can move between
/// hosts with different QEMUs.
///
/// With KVM, guests see the host's CPU. Under emulation they get all that QEMU emulates (`max`): the test guest
/// boots as fast with `qemu64` (7.1 to 8.7 s against 7.4 to 7.9 s), and today's distributions need more than
/// `qemu64` has.
pub(super) fn machine(kvm: bool) -> Vec<String> {
    let (accel, cpu) = if kvm { ("kvm", "host") } else { ("tcg,thread=multi", "max") };
    let mut args = strings(&["-machine", "pc-q35-7.2,usb=off,vmport=off", "-accel", accel, "-cpu", cpu]);
    args.extend(strings(&["-nodefaults", "-no-user-config", "-display", "none", "-vga", "none"]));
    args
}

/// The layout of the virtual machines that this agent starts: which devices they have, and where. QEMU moves a guest
/// only between machines of one layout.
///
/// - 1: the root disk and the config drive; places for interfaces.
/// - 2: each disk is behind a throttle node; disks other than the root disk are in places of their own, and some places
///   are free.
/// - 3: a screen, a pointer, and a port for the guest agent.
pub(super) const LAYOUT: u32 = 3;

/// The first layout with a screen and a port for the guest agent.
pub(super) const SCREEN_LAYOUT: u32 = 3;

/// A process's name; with the process id, it identifies the process. The name has the server, the generation and the
/// boot. Agents of every release read it, so it has no more.
pub(super) fn name(server: ServerId, generation: u64, boot: u64) -> String {
    format!("lenticular-{server}.{generation}.{boot}")
}

/// The boot in a process's name, if it is this server's.
pub(super) fn boot_of(name: &str, server: ServerId) -> Option<u64> {
    let (_generation, boot) = name
        .strip_prefix("lenticular-")?
        .strip_prefix(&server.to_string())?
        .strip_prefix('.')?
        .split_once('.')?;
    boot.parse().ok()
}

/// The layout of a process with these arguments.
pub(super) fn layout_of(args: &[&str]) -> u32 {
    let has = |part: &str| args.iter().any(|arg| arg.contains(part));
    match (has(&disk_place(1)), has(&format!("\"id\":\"{SCREEN}\""))) {
        (_, true) => 3,
        (true, false) => 2,
        (false, false) => 1,
    }
}

/// The name of the guest's screen.
const SCREEN: &str = "screen0";

/// The socket of the guest's screen, keyboard and pointer, in the guest's directory.
pub(super) const VNC: &str = "vnc";
/// The socket of the guest's serial line.
pub(super) const SERIAL: &str = "serial";
/// The socket of the guest agent's port, and the name of its character device.
pub(super) const GUEST_AGENT: &str = "guest-agent";

/// A place for a disk.
fn disk_place(n: usize) -> String {
    format!("disk-place{n}")
}

/// The node of a guest's disk, by the disk's place in the order.
pub(super) fn node(index: usize) -> String {
    match index {
        0 => "root".to_owned(),
        index => format!("disk{index}"),
    }
}

/// What a virtual machine is made of, beside what the assignment says.
pub(super) struct Machine<'a> {
    /// The files of its disks, in order, relative to the guest's directory; a rescue disk's file is the last.
    pub(super) disks: Vec<&'a Path>,
    /// Its interfaces.
    pub(super) net: &'a NetPlan,
    pub(super) kvm: bool,
    pub(super) layout: u32,
}

/// All arguments. QEMU works in the guest's directory, and all paths are relative to it. The guest's user may
/// have no way through the directories above, and the path of a socket has 107 bytes at most.
pub(super) fn guest(assignment: &GuestAssignment, parts: &Machine<'_>) -> Vec<String> {
    let Machine { net, kvm, layout, .. } = *parts;
    let id = assignment.server_id;
    let size = assignment.guest.size;
    // Name, machine and firmware.
    let name = name(id, assignment.generation, assignment.boot);
    let mut args = strings(&["-name", &name, "-uuid", &id.to_string()]);
    args.extend(machine(kvm));
    args.extend(strings(&["-smp", &size.vcpus.to_string(), "-m", &format!("{}M", size.ram_mb)]));
    // cloud-init looks for this product to know where it is.
    args.push("-smbios".to_owned());
    args.push(format!(
        "type=1,manufacturer=OpenStack Foundation,product=OpenStack Nova,serial={id},uuid={id},family=Virtual Machine"
    ));
    args.extend(strings(&["-rtc", "base=utc", "-boot", "strict=on"]));
    // A guest that powers itself off leaves a paused QEMU, which looks different from a vanished one.
    args.extend(strings(&["-action", "shutdown=pause"]));
    let sandbox = "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny";
    args.extend(strings(&["-sandbox", sandbox]));
    // Disks and interfaces.
    match layout {
        0 | 1 => args.extend(first_disk_args(&parts.disks)),
        _ => args.extend(disk_args(&entries(assignment, &parts.disks))),
    }
    let config = json!({
        "driver": "raw", "node-name": "config", "read-only": true,
        "file": { "driver": "file", "filename": CONFIG },
    });
    args.extend(strings(&["-blockdev", &config.to_string(), "-device", "virtio-blk-pci,drive=config"]));
    args.extend(nic_args(net));
    args.extend(strings(&["-device", "virtio-rng-pci"]));
    // Screen, guest agent, serial line, QMP and the process's number.
    if layout >= SCREEN_LAYOUT {
        args.extend(screen_args());
        args.extend(guest_agent_args());
    }
    args.push("-chardev".to_owned());
    args.push(format!(
        "socket,id=serial0,path={RUN}/{SERIAL},server=on,wait=off,logfile={CONSOLE},logappend=on"
    ));
    args.extend(strings(&["-serial", "chardev:serial0", "-chardev"]));
    args.push(format!("socket,id=qmp0,path={RUN}/qmp,server=on,wait=off"));
    args.extend(strings(&["-mon", "chardev=qmp0,mode=control", "-pidfile", PID]));
    // Last, so that the sockets above exist when QEMU connects. The option -daemonize is no choice: the sandbox
    // forbids its setsid.
    args.push("-chardev".to_owned());
    args.push(format!("socket,id=ready0,path={READY}"));
    args
}

/// The screen, and a pointer with absolute positions. Every operating system has drivers for both. The machine itself has a
/// keyboard.
fn screen_args() -> Vec<String> {
    let devices = [
        json!({ "driver": "VGA", "id": SCREEN, "bus": "pcie.0", "addr": "0a.0" }),
        json!({ "driver": "qemu-xhci", "id": "usb0", "bus": "pcie.0", "addr": "0b.0" }),
        json!({ "driver": "usb-tablet", "id": "pointer0", "bus": "usb0.0" }),
    ];
    let mut args: Vec<String> = devices.iter().flat_map(|d| ["-device".to_owned(), d.to_string()]).collect();
    args.extend(["-vnc".to_owned(), format!("unix:{RUN}/{VNC}")]);
    args
}

/// The port that guest agents look for.
fn guest_agent_args() -> Vec<String> {
    let devices = [
        json!({ "driver": "virtio-serial-pci", "id": "ports0", "bus": "pcie.0", "addr": "0c.0" }),
        json!({
            "driver": "virtserialport", "bus": "ports0.0", "nr": 1, "chardev": GUEST_AGENT, "name": "org.qemu.guest_agent.0",
        }),
    ];
    let chardev = format!("socket,id={GUEST_AGENT},path={RUN}/{GUEST_AGENT},server=on,wait=off");
    let mut args = strings(&["-chardev", &chardev]);
    args.extend(devices.iter().flat_map(|device| ["-device".to_owned(), device.to_string()]));
    args
}

/// The disk's file as QEMU's node of this name.
fn format(node: &str, file: &Path) -> Value {
    json!({
        "driver": "qcow2", "node-name": node, "discard": "unmap",
        "file": { "driver": "file", "filename": file, "discard": "unmap" },
    })
}

/// The root disk in the first layout.
fn first_disk_args(disks: &[&Path]) -> Vec<String> {
    let roots = disks.iter().take(1).flat_map(|file| {
        let root = format(&node(0), file).to_string();
        strings(&["-blockdev", &root, "-device", "virtio-blk-pci,drive=root,bootindex=1"])
    });
    roots.collect()
}

/// The places for disks beside the root disk that every guest has.
const DISK_PLACES: usize = 8;
/// The longest serial number of a virtio disk.
const SERIAL_MAX: usize = 20;
/// The bus's slots of these places.
const DISK_SLOT: usize = 0x0e;

/// A disk on the command line.
struct Entry<'a> {
    /// The disk's serial number; the first disk has none.
    serial: String,
    file: &'a Path,
    /// The disk's place among those that the guest starts from.
    boot: Option<u8>,
}

/// The disks in the order in which the guest has them. A rescued guest starts from the rescue disk, which is the first, or
/// a further one.
fn entries<'a>(of: &GuestAssignment, files: &[&'a Path]) -> Vec<Entry<'a>> {
    let serial = |id: String| id.chars().take(SERIAL_MAX).collect::<String>();
    let own = of.guest.disks.iter().zip(files).map(|(disk, file)| Entry {
        serial: serial(disk.id.to_string()),
        file,
        boot: None,
    });
    let mut entries: Vec<Entry<'a>> = own.collect();
    if let Some(root) = entries.first_mut() {
        root.boot = Some(1);
    }
    if let (Some(rescue), Some(file)) = (&of.guest.rescue, files.get(of.guest.disks.len())) {
        let entry = Entry { serial: "rescue".to_owned(), file, boot: Some(0) };
        let place = if rescue.stable { entries.len() } else { 0 };
        entries.insert(place, entry);
    }
    entries
}

/// The disks, each behind a node that can limit its speed. The first disk stands on the main bus; each other disk in a
/// place that a disk can be added to and removed from. Each other disk's serial number is the first 20 characters of its
/// id; the first disk has none.
fn disk_args(disks: &[Entry<'_>]) -> Vec<String> {
    let mut args = Vec::new();
    let places = DISK_PLACES.max(disks.len().saturating_sub(1));
    for place in 1..=places {
        let (slot, function) = ((place - 1) / FUNCTIONS as usize, (place - 1) % FUNCTIONS as usize);
        let port = json!({
            "driver": "pcie-root-port", "id": disk_place(place), "bus": "pcie.0",
            "chassis": 100 + place, "addr": format!("{:x}.{function:x}", DISK_SLOT - slot),
            "multifunction": function == 0,
        });
        args.extend(["-device".to_owned(), port.to_string()]);
    }
    for (n, Entry { serial, file, boot }) in disks.iter().enumerate() {
        let node = node(n);
        let limit = json!({ "qom-type": "throttle-group", "id": format!("limit-{node}") });
        let limited = json!({
            "driver": "throttle", "node-name": node, "throttle-group": format!("limit-{node}"),
            "file": format(&format!("{node}-format"), file),
        });
        let boot = boot.map(|boot| format!(",bootindex={boot}")).unwrap_or_default();
        let device = match n {
            // Not as JSON: QEMU makes devices in the short form first, and the guest's first disk must be this one.
            0 => format!("virtio-blk-pci,id=device-root,drive=root{boot},addr=01.0"),
            n => {
                let mut device = json!({
                    "driver": "virtio-blk-pci", "id": format!("device-{node}"), "drive": node, "serial": serial,
                    "bus": disk_place(n),
                });
                if let Some(boot) = disks[n].boot {
                    device["bootindex"] = json!(boot);
                }
                device.to_string()
            }
        };
        args.extend(["-object".to_owned(), limit.to_string(), "-blockdev".to_owned(), limited.to_string()]);
        args.extend(["-device".to_owned(), device]);
    }
    args
}

/// The number of slots for interfaces that every guest has, so that interfaces can be added while it runs.
const SLOTS: u32 = 8;
/// Root ports on one slot, as its functions.
const FUNCTIONS: u32 = 8;

/// The slots for interfaces, and the interfaces in them. A slot is a PCIe port that a device can be added to. An
/// interface keeps its slot for the guest's whole life, on every host.
fn nic_args(net: &NetPlan) -> Vec<String> {
    let slots = net.nics.iter().map(|nic| nic.slot + 1).max().unwrap_or(0).max(SLOTS);
    let mut args = Vec::new();
    for slot in 0..slots {
        let place = json!({
            "driver": "pcie-root-port", "id": format!("place{slot}"), "bus": "pcie.0", "chassis": slot + 1,
            "addr": format!("{:x}.{:x}", 0x10 + slot / FUNCTIONS, slot % FUNCTIONS),
            "multifunction": slot % FUNCTIONS == 0,
        });
        args.extend(["-device".to_owned(), place.to_string()]);
    }
    for nic in &net.nics {
        let (netdev, device) = (netdev(nic), device(nic));
        args.extend(["-netdev".to_owned(), netdev.to_string(), "-device".to_owned(), device.to_string()]);
    }
    args
}

/// The host's side of an interface.
pub(super) fn netdev(nic: &Nic) -> Value {
    let mut netdev = nic.netdev.clone();
    netdev["id"] = json!(format!("net{}", nic.slot));
    netdev
}

/// The place of an interface among what a guest starts from: after its disks.
const BOOTS_LAST: u32 = 9;

/// The guest's side of an interface.
pub(super) fn device(nic: &Nic) -> Value {
    let mut device = json!({
        "driver": "virtio-net-pci", "id": format!("nic{}", nic.slot), "bus": format!("place{}", nic.slot),
        "netdev": format!("net{}", nic.slot), "mac": nic.mac, "romfile": "", "host_mtu": nic.mtu,
    });
    if let (true, Some(fields)) = (nic.boots, device.as_object_mut()) {
        // QEMU's own firmware for the network, after the disks.
        fields.remove("romfile");
        fields.insert("bootindex".to_owned(), json!(BOOTS_LAST));
    }
    device
}

/// The arguments for a guest from another host: QEMU waits for the memory, and does not run the guest by itself.
pub(super) fn incoming(mut args: Vec<String>) -> Vec<String> {
    args.extend(strings(&["-incoming", "defer", "-S"]));
    args
}

#[cfg(test)]
mod tests {
    use super::*;
    use lenticular_model::DiskId;
    use lenticular_wire::agent::{DiskSpec, RescueSpec};

    #[test]
    fn the_command_line_is_as_reviewed() {
        let mut assignment = crate::testing::assignment(1);
        let swap = DiskSpec { id: DiskId::from_random([9; 16]), ..assignment.guest.disks[0].clone() };
        assignment.guest.disks.push(swap);
        let mac = "fa:16:3e:00:00:01".parse().unwrap();
        let nic = Nic { slot: 1, mac, mtu: 1442, boots: false, netdev: json!({"type": "user"}) };
        let net = NetPlan { nics: vec![nic], forwards_ssh: true, carries_ipv6: false };
        let disks = ["root.qcow2", "swap.qcow2"].map(Path::new);
        let lines = |kvm, layout| {
            guest(&assignment, &Machine { disks: disks.to_vec(), net: &net, kvm, layout }).join("\n")
        };
        insta::assert_snapshot!(lines(false, LAYOUT));
        // What older agents have started; a guest can move only into the same.
        insta::assert_snapshot!("the_first_layout_stays", lines(false, 1));
        insta::assert_snapshot!("the_second_layout_stays", lines(false, 2));
        assert!(lines(true, LAYOUT).contains("-accel\nkvm\n-cpu\nhost"));
        for layout in [1, 2, LAYOUT] {
            assert_eq!(layout_of(&lines(false, layout).split('\n').collect::<Vec<_>>()), layout);
        }
    }

    #[test]
    fn a_rescued_guest_starts_from_its_rescue_disk() {
        let mut assignment = crate::testing::assignment(1);
        let base = assignment.guest.disks[0].base().unwrap().clone();
        let files = ["root.qcow2", "rescue.qcow2"].map(Path::new);
        for (stable, order, boots) in [
            (false, ["rescue.qcow2", "root.qcow2"], [Some(0), Some(1)]),
            (true, ["root.qcow2", "rescue.qcow2"], [Some(1), Some(0)]),
        ] {
            assignment.guest.rescue = Some(RescueSpec { base: base.clone(), stable });
            let entries = entries(&assignment, &files);
            assert_eq!(entries.iter().map(|entry| entry.file).collect::<Vec<_>>(), order.map(Path::new));
            assert_eq!(entries.iter().map(|entry| entry.boot).collect::<Vec<_>>(), boots);
        }
    }

    #[test]
    fn a_name_tells_server_and_boot() {
        let (one, two) = (crate::testing::server(1), crate::testing::server(2));
        assert_eq!(boot_of(&name(one, 3, 7), one), Some(7));
        assert_eq!(boot_of(&name(one, 3, 7), two), None);
        assert_eq!(boot_of("lenticular", one), None);
    }
}
