//! A northbound database server for the tests: in a temporary folder, on a Unix socket, removed afterwards.
#![expect(clippy::disallowed_methods, reason = "the tests start ovsdb-server themselves")]

use lenticular_ovn::ovsdb::{Connected, Connector, Remote};
use std::{
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};
use tempfile::TempDir;

const SCHEMA: &str = "/usr/share/ovn/ovn-nb.ovsschema";

pub struct Server {
    folder: TempDir,
    child: Option<Child>,
}

/// True if LENTICULAR_SKIP_OVN=1.
pub fn skipped() -> bool {
    std::env::var("LENTICULAR_SKIP_OVN").is_ok_and(|skip| skip == "1")
}

fn run(program: &str, args: &[&str]) {
    let output = Command::new(program).args(args).stdin(Stdio::null()).output();
    let output = output.unwrap_or_else(|error| {
        panic!(
            "{program} cannot be run ({error}); install it with `tools/install ovn`, or set LENTICULAR_SKIP_OVN=1 to \
             leave these tests out"
        )
    });
    assert!(output.status.success(), "{program} {args:?}: {}", String::from_utf8_lossy(&output.stderr));
}

impl Server {
    /// A server of an empty database.
    pub fn start() -> Self {
        assert!(
            Path::new(SCHEMA).exists(),
            "{SCHEMA} is missing; run `tools/install ovn`, or set LENTICULAR_SKIP_OVN=1"
        );
        let mut server = Self { folder: tempfile::tempdir().unwrap(), child: None };
        run("ovsdb-tool", &["create", &server.file().display().to_string(), SCHEMA]);
        server.resume();
        server
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("nb.db")
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join("nb.sock")
    }

    pub fn remote(&self) -> Remote {
        Remote::Unix(self.socket())
    }

    /// Ends the server like a crash.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// Starts the server that was killed, on the same database.
    pub fn resume(&mut self) {
        let (socket, control) = (self.socket(), self.folder.path().join("ctl"));
        self.child = Some(serve(&self.file(), &socket, &control, &[]));
    }

    /// Makes it listen with TLS too, with a key and certificate, and a CA of its clients.
    pub fn listen_with_tls(&mut self, port: u16, (key, certificate): &(String, String), ca: &str) {
        self.kill();
        let write = |name: &str, text: &str| {
            let path = self.folder.path().join(name);
            std::fs::write(&path, text).unwrap();
            path.display().to_string()
        };
        let more = [
            format!("--remote=pssl:{port}:127.0.0.1"),
            format!("--private-key={}", write("key.pem", key)),
            format!("--certificate={}", write("certificate.pem", certificate)),
            format!("--ca-cert={}", write("ca.pem", ca)),
        ];
        let (socket, control) = (self.socket(), self.folder.path().join("ctl"));
        self.child = Some(serve(&self.file(), &socket, &control, &more));
    }

    /// Removes all rows, like an operator's mistake.
    pub fn wipe(&mut self) {
        self.kill();
        std::fs::remove_file(self.file()).unwrap();
        run("ovsdb-tool", &["create", &self.file().display().to_string(), SCHEMA]);
        self.resume();
    }

    /// Runs `ovn-nbctl` on it.
    pub fn nbctl(&self, args: &[&str]) {
        let db = format!("--db=unix:{}", self.socket().display());
        let all: Vec<&str> = [db.as_str(), "--timeout=10"].into_iter().chain(args.iter().copied()).collect();
        run("ovn-nbctl", &all);
    }

    /// A separate connection for the test.
    pub async fn connect(&self) -> Connected {
        connect(vec![self.remote()]).await
    }
}

/// Three members of one northbound database.
pub struct Cluster {
    folder: TempDir,
    members: Vec<Option<Child>>,
}

impl Cluster {
    pub fn start() -> Self {
        let mut cluster = Self { folder: tempfile::tempdir().unwrap(), members: vec![None, None, None] };
        let at = |n: usize| format!("unix:{}", cluster.folder.path().join(format!("raft{n}")).display());
        let file = |n: usize| cluster.folder.path().join(format!("nb{n}.db")).display().to_string();
        run("ovsdb-tool", &["create-cluster", &file(0), SCHEMA, &at(0)]);
        run("ovsdb-tool", &["join-cluster", &file(1), "OVN_Northbound", &at(1), &at(0)]);
        run("ovsdb-tool", &["join-cluster", &file(2), "OVN_Northbound", &at(2), &at(0)]);
        (0..3).for_each(|n| cluster.resume(n));
        (0..3).for_each(|n| cluster.wait(n));
        cluster
    }

    fn path(&self, name: &str, n: usize) -> PathBuf {
        self.folder.path().join(format!("{name}{n}"))
    }

    pub fn remotes(&self) -> Vec<Remote> {
        (0..3).map(|n| Remote::Unix(self.path("sock", n))).collect()
    }

    pub fn resume(&mut self, n: usize) {
        let child = serve(
            &self.folder.path().join(format!("nb{n}.db")),
            &self.path("sock", n),
            &self.path("ctl", n),
            &[],
        );
        self.members[n] = Some(child);
    }

    /// Waits until a member takes part in the cluster: a member that is lost earlier tests nothing.
    pub fn wait(&self, n: usize) {
        let at = Remote::Unix(self.path("sock", n)).to_string();
        run("ovsdb-client", &["--timeout=60", "wait", &at, "OVN_Northbound", "connected"]);
    }

    pub fn kill(&mut self, n: usize) {
        if let Some(mut child) = self.members[n].take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// The number of the leader, from its address in `remote`.
    pub fn number(&self, remote: &str) -> usize {
        let found = self.remotes().iter().position(|known| known.to_string() == remote);
        found.expect("the connection leads to a member")
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        (0..3).for_each(|n| self.kill(n));
    }
}

/// Connects to the leader.
pub async fn connect(remotes: Vec<Remote>) -> Connected {
    let columns = lenticular_ovn::northbound::schema::COLUMNS;
    let mut connector = Connector::new(remotes, "OVN_Northbound", columns, Box::new(|| 0));
    for _ in 0..1_200 {
        match connector.connect().await {
            Ok(connected) => return connected,
            Err(_) => tokio::time::sleep(std::time::Duration::from_millis(25)).await,
        }
    }
    panic!("the test's database server does not come up");
}

fn serve(file: &Path, socket: &Path, control: &Path, more: &[String]) -> Child {
    let program = ["/usr/sbin/ovsdb-server", "/usr/bin/ovsdb-server"];
    let program = program.iter().find(|path| Path::new(path).exists()).expect("ovsdb-server is installed");
    let child = Command::new(program)
        .arg(file)
        .arg(format!("--remote=punix:{}", socket.display()))
        .arg(format!("--unixctl={}", control.display()))
        .args(more)
        .args(["--no-chdir", "-vconsole:emer", "-vsyslog:off"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn();
    child.unwrap()
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}
