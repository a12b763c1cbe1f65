//! A cloud of the release build in a directory of its own.

use crate::http::Client;
use anyhow::{Context, Result, ensure};
use serde_json::json;
use std::{
    fs,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};
use tempfile::TempDir;

/// How long a start may take.
const START_MAX: Duration = Duration::from_secs(60);

/// A cloud that runs until it is dropped.
pub struct Cloud {
    process: Child,
    folder: TempDir,
    address: SocketAddr,
    /// Where agents join.
    pub agents: SocketAddr,
    hosts: usize,
}

/// The release binary.
pub fn binary() -> Result<PathBuf> {
    let here = std::env::current_exe()?;
    let path = here.parent().map(|dir| dir.join("lenticular")).unwrap_or_default();
    ensure!(path.exists(), "{} is missing: run cargo build --release -p lenticular", path.display());
    Ok(path)
}

#[expect(clippy::disallowed_methods, reason = "a benchmark starts what it measures")]
fn spawn(data: &Path, address: SocketAddr, agents: SocketAddr, hosts: usize) -> Result<Child> {
    let mut command = Command::new(binary()?);
    command.arg("--data").arg(data).args(["up", "--listen", &address.to_string()]);
    command.args(["--agent-listen", &agents.to_string()]);
    if hosts > 0 {
        command.args(["--sim-hosts", &hosts.to_string()]);
    }
    command.env("LENTICULAR_LOG", "warn").stdout(Stdio::null()).stdin(Stdio::null());
    Ok(command.spawn()?)
}

impl Cloud {
    /// Starts one, of simulated hosts or (with 0) of this machine.
    pub async fn start(hosts: usize) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let address = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
        let agents = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
        let process = spawn(&folder.path().join("data"), address, agents, hosts)?;
        let mut cloud = Self { process, folder, address, agents, hosts };
        cloud.wait().await?;
        Ok(cloud)
    }

    /// Its data directory.
    pub fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// Waits until it answers and its hosts are there.
    async fn wait(&mut self) -> Result<Duration> {
        let began = Instant::now();
        loop {
            let client = Client { address: self.address, token: String::new() };
            if let Ok(mut connection) = client.connect().await
                && connection.bytes("/healthz").await.is_ok()
            {
                return Ok(began.elapsed());
            }
            ensure!(self.process.try_wait()?.is_none(), "the cloud ended at once");
            ensure!(began.elapsed() < START_MAX, "the cloud does not answer");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// Stops it and starts it again; how long the start took until it answered.
    pub async fn restart(&mut self) -> Result<Duration> {
        self.stop()?;
        let began = Instant::now();
        self.process = spawn(&self.data(), self.address, self.agents, self.hosts)?;
        self.wait().await?;
        Ok(began.elapsed())
    }

    #[expect(clippy::disallowed_methods, reason = "a benchmark ends what it started")]
    fn stop(&mut self) -> Result<()> {
        let pid = self.process.id().to_string();
        Command::new("kill").arg(&pid).status()?;
        self.process.wait()?;
        Ok(())
    }

    /// CPU time that it has used, in seconds.
    pub fn cpu_s(&self) -> Result<f64> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.process.id()))?;
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
        let ticks = |n: usize| fields.get(n).and_then(|f| f.parse::<f64>().ok()).unwrap_or_default();
        Ok((ticks(11) + ticks(12)) / 100.0)
    }

    /// Memory that it holds, in MB.
    pub fn memory_mb(&self) -> Result<f64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.process.id()))?;
        let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:")).context("no VmRSS")?;
        let kb: f64 = line.trim().trim_end_matches("kB").trim().parse()?;
        Ok(kb / 1024.0)
    }

    /// Logs in as its administrator.
    pub async fn login(&self) -> Result<Client> {
        self.login_again().run().await
    }

    /// What logs in as its administrator.
    pub fn login_again(&self) -> Login {
        let password = fs::read_to_string(self.data().join("admin-password")).unwrap_or_default();
        Login { address: self.address, password: password.trim().to_owned() }
    }
}

impl Drop for Cloud {
    fn drop(&mut self) {
        let _ = self.stop();
    }
}

/// A login to make.
#[derive(Clone)]
pub struct Login {
    address: SocketAddr,
    password: String,
}

impl Login {
    /// Logs in.
    pub async fn run(self) -> Result<Client> {
        let domain = json!({"id": "default"});
        let body = json!({"auth": {
            "identity": {"methods": ["password"], "password": {"user": {
                "name": "admin", "domain": domain, "password": self.password}}},
            "scope": {"project": {"name": "admin", "domain": domain}},
        }});
        let client = Client { address: self.address, token: String::new() };
        let (head, _) = client.connect().await?.post_raw("/identity/v3/auth/tokens", &body).await?;
        ensure!(head.status() == 201, "the login was refused: {}", head.status());
        let token = head.headers().get("x-subject-token").context("no token")?.to_str()?.to_owned();
        Ok(Client { address: self.address, token })
    }
}
