//! The host's switch: its daemons, its bridges, and the host's settings for OVN.
//!
//! ```text
//! STATE/ovs/ conf.db  db.sock  ovsdb-server.pid  ovs-vswitchd.pid  ovn-controller.pid  *.log
//!
//!   guests' taps ── br-int ──(geneve)── br-underlay ── the device that leads to other hosts
//!                      └── patches ──── br-<physical network> ── its device, or this host itself
//! ```
//!
//! If the kernel has no Open vSwitch, the switch is a process. The kernel's own network stack would then also see
//! and answer the packets of the switch's devices. So the devices are put into a bridge that is down. That bridge
//! drops the packets after the switch has read them.

use super::OvnConfig;
use crate::{
    core::Failure,
    daemon::Daemon,
    driver::file_failure,
    exec::{self, ExecError, Limits},
    files,
    identity::Pem,
};
use std::{
    io,
    path::{Path, PathBuf},
    time::Duration,
};
use tokio::{sync::watch, task::JoinSet};

/// The bridge that guests are plugged into.
pub(super) const INTEGRATION: &str = "br-int";
const UNDERLAY: &str = "br-underlay";
/// The datapath type of a switch in user space.
const DATAPATH: &str = "ovs-netdev";
/// The bridge that drops packets, so that the kernel does not see them.
pub(super) const VOID: &str = "lenticular-void";
const CONTROLLER: &str = "ovn-controller";
const SCHEMA: &str = "/usr/share/openvswitch/vswitch.ovsschema";
const LIMITS: Limits = Limits { deadline: Duration::from_secs(40), memory_mb_and_cpu_s: None };
/// How long ovs-vsctl waits for the switch to carry a command out, in seconds.
const VSCTL_S: u64 = 30;
/// The environment variables for the directory, of both families of daemons.
pub(super) const DIR_VARIABLES: &[&str] =
    &["OVS_RUNDIR", "OVS_LOGDIR", "OVS_DBDIR", "OVN_RUNDIR", "OVN_LOGDIR", "OVN_DBDIR"];

/// The host's switch.
pub(super) struct Switch {
    pub(super) dir: PathBuf,
    config: OvnConfig,
    /// The certificates for the southbound database.
    pem: Pem,
    host_name: String,
    /// Whether the kernel does the switching.
    in_kernel: bool,
    /// How often this agent has started the switch's process.
    pub(super) starts: watch::Receiver<u64>,
    /// Ended with the driver; the daemons continue.
    keepers: JoinSet<()>,
}

/// A failure of the host's network, with words for the user and the operator.
pub(super) fn trouble(error: &ExecError) -> Failure {
    Failure::new(
        "The server's host could not connect it to its networks. Try again; if it fails again, ask the operator.",
        error.to_string(),
    )
}

/// Runs a program of the host.
pub(super) async fn run(program: &str, args: &[&str]) -> Result<String, Failure> {
    let path = exec::which(program).ok_or_else(|| trouble(&ExecError::Missing(program.to_owned())))?;
    exec::run(&path, args, LIMITS).await.map_err(|error| trouble(&error))
}

/// Runs `ip` with these words.
pub(super) async fn ip(words: &str) -> Result<String, Failure> {
    run("ip", &words.split_whitespace().collect::<Vec<_>>()).await
}

/// Whether a network device exists.
pub(super) fn has_device(name: &str) -> bool {
    Path::new("/sys/class/net").join(name).exists()
}

/// Whether the bridge that drops packets exists and has no device any more.
pub(super) fn void_is_empty() -> bool {
    let inside = Path::new("/sys/class/net").join(VOID).join("brif");
    std::fs::read_dir(inside).is_ok_and(|mut devices| devices.next().is_none())
}

impl Switch {
    /// Starts the missing daemons, and keeps them running.
    pub(super) async fn start(
        dir: PathBuf,
        host_name: &str,
        config: OvnConfig,
        pem: Pem,
    ) -> Result<Self, Failure> {
        let failed = |error: io::Error| file_failure("making the switch's directory", &error);
        files::create_private_dir(&dir).map_err(failed)?;
        let dir = dir.canonicalize().map_err(failed)?;
        let database = dir.join("conf.db");
        if !database.exists() {
            run("ovsdb-tool", &["create", &database.display().to_string(), SCHEMA]).await?;
        } else if run("ovsdb-tool", &["needs-conversion", &database.display().to_string(), SCHEMA])
            .await?
            .trim()
            == "yes"
        {
            run("ovsdb-tool", &["convert", &database.display().to_string(), SCHEMA]).await?;
        }
        // The module's absence is detected below, so a failed load is no error.
        let _ = run("modprobe", &["openvswitch"]).await;
        let in_kernel = Path::new("/sys/module/openvswitch").exists();
        let (sender, starts) = watch::channel(0);
        let (host_name, keepers) = (host_name.to_owned(), JoinSet::new());
        let mut switch = Self { dir, config, pem, host_name, in_kernel, starts, keepers };
        let [database, process, controller] = daemons(&switch.dir);
        switch.keepers.spawn(database.keep(watch::channel(0).0));
        // OVN's controller fails on an empty database.
        switch.set_identity().await?;
        switch.keepers.spawn(process.keep(sender));
        switch.keepers.spawn(controller.keep(watch::channel(0).0));
        Ok(switch)
    }

    /// Writes the host's settings for OVN's controller, and makes the bridges. May be repeated. It must be
    /// repeated after each start of the switch's process, which loses the addresses on its bridges.
    pub(super) async fn configure(&self) -> Result<(), Failure> {
        self.set_identity().await?;
        self.add_bridge(INTEGRATION, None).await?;
        if let Some((device, address)) = &self.config.underlay {
            self.add_bridge(UNDERLAY, Some(device)).await?;
            ip(&format!("address replace {address} dev {UNDERLAY}")).await?;
            ip(&format!("link set {UNDERLAY} up")).await?;
        }
        for physical in &self.config.physical {
            let bridge = bridge_of(&physical.name);
            self.add_bridge(&bridge, physical.device.as_deref()).await?;
            if let Some(address) = &physical.address {
                ip(&format!("address replace {address} dev {bridge}")).await?;
                ip(&format!("link set {bridge} up")).await?;
            }
        }
        Ok(())
    }

    async fn set_identity(&self) -> Result<(), Failure> {
        let mappings = self.config.physical.iter().map(|p| format!("{}:{}", p.name, bridge_of(&p.name)));
        let mappings = mappings.collect::<Vec<_>>().join(",");
        let encap_ip = self.config.encap_ip();
        let settings = [
            ("system-id", self.host_name.as_str()),
            ("hostname", &self.host_name),
            ("ovn-remote", &self.config.southbound),
            ("ovn-encap-type", "geneve"),
            ("ovn-encap-ip", &encap_ip),
            ("ovn-bridge", INTEGRATION),
            ("ovn-bridge-datapath-type", self.datapath()),
            ("ovn-bridge-mappings", &mappings),
            // A busy host must not count as dead.
            ("ovn-remote-probe-interval", "60000"),
            ("ovn-openflow-probe-interval", "60"),
        ];
        let settings: Vec<String> =
            settings.iter().map(|(key, value)| format!("external_ids:{key}=\"{value}\"")).collect();
        let mut words = vec!["--no-wait", "--", "init", "--", "set", "Open_vSwitch", "."];
        words.extend(settings.iter().map(String::as_str));
        let (own, ca) = (self.pem.own.display().to_string(), self.pem.ca.display().to_string());
        words.extend(["--", "set-ssl", &own, &own, &ca]);
        self.vsctl(&words).await.map(drop)
    }

    fn datapath(&self) -> &'static str {
        if self.in_kernel { "system" } else { "netdev" }
    }

    async fn add_bridge(&self, bridge: &str, device: Option<&str>) -> Result<(), Failure> {
        let kind = format!("datapath_type={}", self.datapath());
        let mut words = vec!["--", "--may-exist", "add-br", bridge, "--", "set", "Bridge", bridge, &kind];
        words.push("other_config:disable-in-band=true");
        if bridge == INTEGRATION {
            words.push("fail_mode=secure");
        }
        if let Some(device) = device {
            self.take_device(device).await?;
            words.extend(["--", "--may-exist", "add-port", bridge, device]);
        }
        self.vsctl(&words).await.map(drop)
    }

    /// Gives a device to the switch alone.
    pub(super) async fn take_device(&self, device: &str) -> Result<(), Failure> {
        if !self.in_kernel {
            if !has_device(VOID) {
                // Two agents may try this at once.
                let _ = ip(&format!("link add {VOID} type bridge")).await;
            }
            ip(&format!("link set {device} master {VOID}")).await?;
        }
        // The kernel must not send on the device by itself.
        ip(&format!("link set {device} addrgenmode none")).await?;
        ip(&format!("link set {device} up")).await.map(drop)
    }

    /// Runs ovs-vsctl, which waits until the switch has carried the command out.
    pub(super) async fn vsctl(&self, words: &[&str]) -> Result<String, Failure> {
        let (db, wait) =
            (format!("--db=unix:{}", self.dir.join("db.sock").display()), format!("--timeout={VSCTL_S}"));
        let mut args = vec![db.as_str(), wait.as_str(), "--retry"];
        args.extend(words);
        run("ovs-vsctl", &args).await
    }

    /// Why OVN's controller does not follow the southbound database; `None` if it does. The text stays the same
    /// during one trouble.
    pub(super) async fn controller_trouble(&self) -> Option<String> {
        let asked = async {
            let pid = std::fs::read_to_string(self.dir.join(format!("{CONTROLLER}.pid"))).ok()?;
            let socket = self.dir.join(format!("{CONTROLLER}.{}.ctl", pid.trim()));
            let socket = socket.to_string_lossy();
            run("ovs-appctl", &["--timeout=5", "-t", &socket, "connection-status"]).await.ok()
        };
        match asked.await.as_deref().map(str::trim) {
            Some("connected") => None,
            Some(_) => Some(format!(
                "{CONTROLLER} does not reach the southbound database at {}",
                self.config.southbound
            )),
            None => Some(format!(
                "{CONTROLLER} does not answer; {} may say why",
                self.dir.join("ovn-controller.log").display()
            )),
        }
    }

    /// The names of the physical networks.
    pub(super) fn physical_networks(&self) -> Vec<String> {
        let mut names: Vec<String> = self.config.physical.iter().map(|p| p.name.clone()).collect();
        names.sort();
        names
    }
}

/// The devices of a directory's switch, if the switch is a process and answers: its bridges, its internal
/// devices, and the bridge that drops packets. They remain after its end.
pub(super) async fn devices(dir: &Path) -> Vec<String> {
    let (db, wait) = (format!("--db=unix:{}", dir.join("db.sock").display()), format!("--timeout={VSCTL_S}"));
    let asked = match dir.join("db.sock").exists() {
        true => run("ovs-vsctl", &[&db, &wait, "list-br"]).await.unwrap_or_default(),
        false => String::new(),
    };
    let bridges: Vec<String> = asked.split_whitespace().map(str::to_owned).collect();
    if bridges.is_empty() || Path::new("/sys/module/openvswitch").exists() {
        return Vec::new();
    }
    bridges.into_iter().chain([DATAPATH, VOID].map(str::to_owned)).collect()
}

/// The bridge of a physical network; device names have 15 bytes at most.
pub(super) fn bridge_of(physical: &str) -> String {
    let name: String = physical.chars().filter(char::is_ascii_alphanumeric).take(12).collect();
    format!("br-{name}")
}

/// The database, the switch's process, and OVN's controller.
fn daemons(dir: &Path) -> [Daemon; 3] {
    let file = |name: &str| dir.join(name).display().to_string();
    let socket = file("db.sock");
    let daemon = |name: &'static str, args: Vec<String>| {
        let mut all = args;
        all.push(format!("--log-file={}", file(&format!("{name}.log"))));
        all.extend(["-vconsole:emer", "-vsyslog:emer"].map(str::to_owned));
        Daemon { name, program: name, args: all, dir: dir.to_owned(), dir_variables: DIR_VARIABLES }
    };
    let ovsdb = vec![file("conf.db"), format!("--remote=punix:{socket}"), "--no-chdir".to_owned()];
    [
        daemon("ovsdb-server", ovsdb),
        daemon("ovs-vswitchd", vec![format!("unix:{socket}"), "--no-chdir".to_owned()]),
        daemon(CONTROLLER, vec![format!("unix:{socket}"), "--no-chdir".to_owned()]),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bridges_have_names_that_devices_may_have() {
        assert_eq!(bridge_of("external"), "br-external");
        assert_eq!(bridge_of("a-very-long_physical.network"), "br-averylongphy");
    }

    #[test]
    fn daemons_keep_to_their_directory() {
        for daemon in daemons(Path::new("/s/ovs")) {
            assert!(daemon.args.iter().any(|arg| arg.contains("/s/ovs/db.sock")), "{daemon:?}");
            assert!(daemon.args.iter().all(|arg| !arg.contains("/run/")), "{daemon:?}");
        }
    }
}
