//! A PostgreSQL cluster for the tests: in a temporary folder, on a Unix socket, removed afterwards.
#![expect(clippy::disallowed_methods, reason = "the tests start PostgreSQL themselves")]

use lenticular_model::Lock;
use std::{
    os::unix::fs::{MetadataExt, chown},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{
        Arc, Weak,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
};
use tempfile::TempDir;
use tokio_postgres::Client;

static SHARED: Lock<Weak<Cluster>> = Lock::new(Weak::new());
static SCHEMAS: AtomicUsize = AtomicUsize::new(0);

pub struct Cluster {
    folder: TempDir,
    binaries: PathBuf,
}

impl Cluster {
    /// The cluster of all tests that run now; `None` if LENTICULAR_SKIP_POSTGRES=1.
    pub fn shared() -> Option<Arc<Self>> {
        let mut shared = SHARED.lock();
        shared.upgrade().or_else(|| {
            let cluster = Self::separate()?;
            *shared = Arc::downgrade(&cluster);
            Some(cluster)
        })
    }

    /// A cluster of one test, which changes its settings; `None` if LENTICULAR_SKIP_POSTGRES=1.
    pub fn separate() -> Option<Arc<Self>> {
        let is_skipped = std::env::var("LENTICULAR_SKIP_POSTGRES").is_ok_and(|skip| skip == "1");
        (!is_skipped).then(|| Arc::new(Self::start()))
    }

    fn start() -> Self {
        let binaries = find_binaries();
        let folder = tempfile::tempdir().unwrap();
        if is_root(folder.path()) {
            let (user, group) = (id_of("-u"), id_of("-g"));
            chown(folder.path(), Some(user), Some(group)).unwrap();
        }
        let cluster = Self { folder, binaries };
        cluster.run(
            "initdb",
            &["--no-sync", "--auth=trust", "--username=postgres", "--encoding=UTF8", "--locale=C"],
        );
        let socket = cluster.folder.path().display().to_string();
        // The tests never crash the server, so its syncs would only slow them down.
        let options = format!("-c listen_addresses= -c unix_socket_directories={socket} -c fsync=off");
        let log = cluster.folder.path().join("log").display().to_string();
        cluster.run("pg_ctl", &["start", "--wait", "--silent", "--log", &log, "--options", &options]);
        cluster
    }

    /// A connection string that leads to a schema.
    pub fn config(&self, schema: &str) -> String {
        let socket = self.folder.path().display();
        let own = format!("application_name={schema} options='-c search_path={schema}'");
        format!("host={socket} user=postgres dbname=postgres {own}")
    }

    /// Makes an empty schema.
    pub fn new_schema(&self) -> String {
        let schema = format!("test_{}", SCHEMAS.fetch_add(1, Ordering::Relaxed));
        self.execute("public", &format!("CREATE SCHEMA {schema}"));
        schema
    }

    /// Runs statements on a separate connection.
    pub fn execute(&self, schema: &str, sql: &str) {
        self.on_connection(schema, async |client| client.batch_execute(sql).await.unwrap());
    }

    /// The number that a query gives.
    pub fn number(&self, schema: &str, sql: &str) -> i64 {
        self.on_connection(schema, async |client| client.query_one(sql, &[]).await.unwrap().get(0))
    }

    fn on_connection<T>(&self, schema: &str, run: impl AsyncFnOnce(&Client) -> T) -> T {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let connected = tokio_postgres::connect(&self.config(schema), tokio_postgres::NoTls).await;
            let (client, connection) = connected.unwrap();
            let connection = tokio::spawn(connection);
            let value = run(&client).await;
            drop(client);
            connection.await.unwrap().unwrap();
            value
        })
    }

    /// Ends the sessions of a schema's writer (which holds a lock) or of its readers (which hold none).
    pub fn end_sessions(&self, schema: &str, of_writer: bool) {
        let none = if of_writer { "" } else { "NOT" };
        let end = format!(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity a
             WHERE application_name = '{schema}' AND pid <> pg_backend_pid()
             AND {none} EXISTS (SELECT 1 FROM pg_locks l WHERE l.pid = a.pid AND l.locktype = 'advisory')"
        );
        self.execute("public", &end);
    }

    /// Runs `act` while a table is locked, and ends its writer's session as soon as the session waits for the
    /// table.
    pub fn while_locked<T: Send>(&self, schema: &str, table: &str, act: impl FnOnce() -> T + Send) -> T {
        let waits = format!(
            "SELECT count(*) FROM pg_stat_activity WHERE application_name = '{schema}' AND wait_event_type = 'Lock'"
        );
        let ((locked, is_locked), (done, is_done)) = (mpsc::channel(), mpsc::channel::<()>());
        std::thread::scope(|scope| {
            scope.spawn(move || {
                self.on_connection(schema, async |client| {
                    let lock = format!("BEGIN; LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE");
                    client.batch_execute(&lock).await.unwrap();
                    locked.send(()).unwrap();
                    // Arrives when the other end is dropped, in any outcome of the test.
                    let _ = is_done.recv();
                });
            });
            let _done = done;
            is_locked.recv().unwrap();
            let acting = scope.spawn(act);
            while self.number("public", &waits) == 0 {
                assert!(!acting.is_finished(), "nobody waited for the table");
            }
            self.end_sessions(schema, true);
            acting.join().unwrap()
        })
    }

    /// From soon on, all commits of the cluster wait for a standby that never comes, or no more.
    pub fn wait_for_standby(&self, waits: bool) {
        let names = if waits { "nobody" } else { "" };
        self.execute("public", &format!("ALTER SYSTEM SET synchronous_standby_names = '{names}'"));
        self.execute("public", "SELECT pg_reload_conf()");
    }

    /// Runs `act`, and cancels the wait of its commit for a standby.
    pub fn cancel_wait<T: Send>(&self, schema: &str, act: impl FnOnce() -> T + Send) -> T {
        let cancel = format!(
            "SELECT count(*) FROM (SELECT pg_cancel_backend(pid) FROM pg_stat_activity
             WHERE application_name = '{schema}' AND wait_event = 'SyncRep') AS cancelled"
        );
        std::thread::scope(|scope| {
            let acting = scope.spawn(act);
            while self.number("public", &cancel) == 0 {
                assert!(!acting.is_finished(), "no commit waited for a standby");
            }
            acting.join().unwrap()
        })
    }

    fn run(&self, program: &str, arguments: &[&str]) {
        let path = self.binaries.join(program);
        let mut command = if is_root(Path::new("/proc/self")) {
            // PostgreSQL refuses to run as root.
            let mut command = Command::new("setpriv");
            command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups"]).arg(path);
            command
        } else {
            Command::new(path)
        };
        let data = self.folder.path().join("data");
        command.arg("-D").arg(data).args(arguments).current_dir("/").stdout(Stdio::null());
        let status = command.status().unwrap();
        assert!(status.success(), "{program} failed: {status}");
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.run("pg_ctl", &["stop", "--wait", "--silent", "--mode=immediate"]);
    }
}

fn find_binaries() -> PathBuf {
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten();
    let folders = versions.map(|entry| entry.unwrap().path().join("bin"));
    let newest = folders.filter(|folder| folder.join("initdb").exists()).max();
    newest.expect(
        "PostgreSQL's binaries are not in /usr/lib/postgresql/*/bin; install the package 'postgresql', or set \
         LENTICULAR_SKIP_POSTGRES=1 to leave these tests out",
    )
}

fn is_root(own: &Path) -> bool {
    std::fs::metadata(own).unwrap().uid() == 0
}

fn id_of(which: &str) -> u32 {
    let output = Command::new("id").args([which, "postgres"]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    text.trim().parse().expect("the user 'postgres' is there where PostgreSQL's package is installed")
}
