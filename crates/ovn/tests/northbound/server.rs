//! A northbound database server of the tests' own: made in a temporary folder, reached by a Unix socket, gone afterwards.
#![allow(clippy::disallowed_methods, reason = "the tests start ovsdb-server themselves")]

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

    /// Ends the server as a crash does.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// Starts the server that was killed, on the same database.
    pub fn resume(&mut self) {
        let program = ["/usr/sbin/ovsdb-server", "/usr/bin/ovsdb-server"];
        let program =
            program.iter().find(|path| Path::new(path).exists()).expect("ovsdb-server is installed");
        let child = Command::new(program)
            .arg(self.file())
            .arg(format!("--remote=punix:{}", self.socket().display()))
            .arg(format!("--unixctl={}", self.folder.path().join("ctl").display()))
            .args(["--no-chdir", "-vconsole:emer", "-vsyslog:off"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn();
        self.child = Some(child.unwrap());
    }

    /// Removes all there is, as an operator's slip would.
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

    /// A connection of the test's own.
    pub async fn connect(&self) -> Connected {
        let columns = lenticular_ovn::northbound::schema::COLUMNS;
        let mut connector = Connector::new(vec![self.remote()], "OVN_Northbound", columns, Box::new(|| 0));
        for _ in 0..200 {
            match connector.connect().await {
                Ok(connected) => return connected,
                Err(_) => tokio::time::sleep(std::time::Duration::from_millis(25)).await,
            }
        }
        panic!("the test's database server does not come up");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}
