//! A thin client of QEMU's machine protocol: commands by id with deadlines, and the state that events report, as
//! levels.

use crate::driver::guest_user;
use lenticular_model::Lock;
use serde::Deserialize;
use serde_json::{Value, json, value::RawValue};
use std::{
    collections::HashMap,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::{unix::OwnedReadHalf, unix::OwnedWriteHalf},
    sync::{oneshot, watch},
    task::AbortHandle,
};

/// How long QEMU may take for an ordinary command.
const COMMAND_MS_MAX: u64 = 5_000;

/// Errors between QEMU and the agent.
#[derive(Debug, thiserror::Error)]
pub(super) enum QmpError {
    #[error("QEMU's control socket cannot be used: {0}")]
    Socket(#[from] std::io::Error),
    #[error("QEMU's control socket is closed")]
    Closed,
    #[error("QEMU did not answer '{0}' in time")]
    TimedOut(&'static str),
    #[error("QEMU refused '{command}': {desc}")]
    Refused { command: &'static str, desc: String },
    #[error("QEMU's answer to '{0}' makes no sense")]
    Nonsense(&'static str),
}

/// The state that the events so far report.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Level {
    /// The guest has shut down.
    pub(super) shut_down: bool,
    /// How often the virtual CPUs were stopped; the state then tells why.
    pub(super) stops: u64,
    /// The state of the migration.
    pub(super) migration: Migration,
    /// The connection has ended.
    pub(super) closed: bool,
}

/// QEMU's `MigrationStatus`, as far as needed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Migration {
    #[default]
    None,
    /// Memory is being sent.
    Active,
    /// The guest stands still, and QEMU waits for permission to switch over.
    PreSwitchover,
    /// The rest is being sent.
    Device,
    Completed,
    Failed,
    Cancelled,
}

impl Migration {
    fn of(status: &str) -> Self {
        match status {
            "pre-switchover" => Self::PreSwitchover,
            "device" => Self::Device,
            "completed" => Self::Completed,
            "failed" => Self::Failed,
            "cancelled" => Self::Cancelled,
            "none" => Self::None,
            _ => Self::Active,
        }
    }

    /// True once a migration that began has ended.
    pub(super) fn has_ended(self) -> bool {
        matches!(self, Self::Completed | Self::Failed | Self::Cancelled)
    }

    /// True for a final state, or if no migration began.
    pub(super) fn is_over(self) -> bool {
        matches!(self, Self::None | Self::Completed | Self::Failed | Self::Cancelled)
    }
}

type Waiting = Arc<Lock<HashMap<u64, oneshot::Sender<Result<Value, String>>>>>;

/// A connection to one QEMU.
pub(super) struct Qmp {
    writer: tokio::sync::Mutex<OwnedWriteHalf>,
    waiting: Waiting,
    next_id: AtomicU64,
    level: watch::Receiver<Level>,
    reader: AbortHandle,
}

#[derive(Deserialize)]
struct Line {
    id: Option<u64>,
    #[serde(rename = "return")]
    answer: Option<Value>,
    error: Option<Refusal>,
    event: Option<String>,
    data: Option<Value>,
    #[serde(rename = "QMP")]
    greeting: Option<Box<RawValue>>,
}

#[derive(Deserialize)]
struct Refusal {
    desc: String,
}

impl Qmp {
    /// Connects to the socket in a guest's directory and gets through the greeting.
    pub(super) async fn connect(dir: &Path, deadline: Duration) -> Result<Self, QmpError> {
        match tokio::time::timeout(deadline, Self::greet(dir)).await {
            Ok(result) => result,
            Err(_) => Err(QmpError::TimedOut("greeting")),
        }
    }

    async fn greet(dir: &Path) -> Result<Self, QmpError> {
        let (reader, writer) = guest_user::connect(dir, "qmp").await?.into_split();
        let mut reader = BufReader::new(reader);
        let mut line = String::new();
        reader.read_line(&mut line).await?;
        let greeting: Line = serde_json::from_str(&line).map_err(|_| QmpError::Nonsense("greeting"))?;
        if greeting.greeting.is_none() {
            return Err(QmpError::Nonsense("greeting"));
        }
        let waiting = Waiting::default();
        let (level_tx, level) = watch::channel(Level::default());
        let task = tokio::spawn(listen(reader, waiting.clone(), level_tx));
        let client = Self {
            writer: tokio::sync::Mutex::new(writer),
            waiting,
            next_id: AtomicU64::new(1),
            level,
            reader: task.abort_handle(),
        };
        client.ask("qmp_capabilities", Value::Null).await?;
        Ok(client)
    }

    /// The state that events report, and its changes.
    pub(super) fn level(&self) -> watch::Receiver<Level> {
        self.level.clone()
    }

    /// Runs a command, and returns its result.
    pub(super) async fn ask(&self, command: &'static str, arguments: Value) -> Result<Value, QmpError> {
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let mut message = json!({ "execute": command, "id": id });
        if !arguments.is_null() {
            message["arguments"] = arguments;
        }
        let (sender, answer) = oneshot::channel();
        self.waiting.lock().insert(id, sender);
        let work = async {
            if self.level.borrow().closed {
                return Err(QmpError::Closed);
            }
            let mut line = message.to_string();
            line.push('\n');
            self.writer.lock().await.write_all(line.as_bytes()).await?;
            match answer.await {
                Ok(Ok(value)) => Ok(value),
                Ok(Err(desc)) => Err(QmpError::Refused { command, desc }),
                Err(_) => Err(QmpError::Closed),
            }
        };
        let result = tokio::time::timeout(Duration::from_millis(COMMAND_MS_MAX), work).await;
        self.waiting.lock().remove(&id);
        result.unwrap_or(Err(QmpError::TimedOut(command)))
    }

    async fn text(&self, command: &'static str, field: &str) -> Result<String, QmpError> {
        let value = self.ask(command, Value::Null).await?;
        value[field].as_str().map(str::to_owned).ok_or(QmpError::Nonsense(command))
    }

    /// `running`, `paused`, `shutdown`, `internal-error`, …
    pub(super) async fn status(&self) -> Result<String, QmpError> {
        self.text("query-status", "status").await
    }

    /// The guest's UUID and the name it was started under.
    pub(super) async fn identity(&self) -> Result<(String, String), QmpError> {
        Ok((self.text("query-uuid", "UUID").await?, self.text("query-name", "name").await?))
    }

    /// The state of the migration, as QEMU answers.
    pub(super) async fn migration(&self) -> Result<Migration, QmpError> {
        let value = self.ask("query-migrate", Value::Null).await?;
        Ok(value["status"].as_str().map_or(Migration::None, Migration::of))
    }

    /// Presses the guest's power button.
    pub(super) async fn power_down(&self) -> Result<(), QmpError> {
        self.ask("system_powerdown", Value::Null).await.map(drop)
    }

    /// Resumes the virtual CPUs.
    pub(super) async fn resume(&self) -> Result<(), QmpError> {
        self.ask("cont", Value::Null).await.map(drop)
    }

    /// Makes a process whose memory was sent, and whose guest stands still, able to send it again.
    pub(super) async fn leave_postmigrate(&self) -> Result<(), QmpError> {
        if self.status().await? == "postmigrate" {
            self.resume().await?;
            self.ask("stop", Value::Null).await?;
        }
        Ok(())
    }

    /// Ends QEMU, with its disks flushed.
    pub(super) async fn quit(&self) -> Result<(), QmpError> {
        self.ask("quit", Value::Null).await.map(drop)
    }

    /// The monitor's report on user networks.
    pub(super) async fn user_networks(&self) -> Result<String, QmpError> {
        let command = "human-monitor-command";
        let value = self.ask(command, json!({ "command-line": "info usernet" })).await?;
        value.as_str().map(str::to_owned).ok_or(QmpError::Nonsense(command))
    }
}

impl Drop for Qmp {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

async fn listen(mut reader: BufReader<OwnedReadHalf>, waiting: Waiting, level: watch::Sender<Level>) {
    let mut line = String::new();
    loop {
        line.clear();
        match reader.read_line(&mut line).await {
            Ok(0) | Err(_) => break,
            Ok(_) => {}
        }
        let Ok(parsed) = serde_json::from_str::<Line>(&line) else {
            tracing::warn!(line, "QEMU said what makes no sense");
            continue;
        };
        match parsed.event.as_deref() {
            Some("SHUTDOWN") => level.send_modify(|level| level.shut_down = true),
            Some("MIGRATION") => {
                let status =
                    parsed.data.as_ref().and_then(|data| data["status"].as_str()).unwrap_or_default();
                level.send_modify(|level| level.migration = Migration::of(status));
            }
            Some("STOP") => level.send_modify(|level| level.stops += 1),
            _ => {}
        }
        let sender = parsed.id.and_then(|id| waiting.lock().remove(&id));
        if let Some(sender) = sender {
            let answer = match parsed.error {
                Some(refusal) => Err(refusal.desc),
                None => Ok(parsed.answer.unwrap_or_default()),
            };
            // The asker may have given up.
            let _ = sender.send(answer);
        }
    }
    level.send_modify(|level| level.closed = true);
    waiting.lock().clear();
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::UnixListener;

    /// A QEMU with fixed answers.
    async fn fake(answers: Vec<(&'static str, String)>) -> (tempfile::TempDir, Qmp) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("qmp");
        let listener = UnixListener::bind(&path).unwrap();
        tokio::spawn(async move {
            let (stream, _) = listener.accept().await.unwrap();
            let (reader, mut writer) = stream.into_split();
            let mut lines = BufReader::new(reader).lines();
            writer.write_all(b"{\"QMP\": {\"version\": {}, \"capabilities\": []}}\n").await.unwrap();
            while let Some(line) = lines.next_line().await.unwrap() {
                let asked: Value = serde_json::from_str(&line).unwrap();
                let command = asked["execute"].as_str().unwrap();
                let answer = match command {
                    "qmp_capabilities" => "{\"return\": {}, \"id\": ID}".to_owned(),
                    _ => answers.iter().find(|(c, _)| *c == command).unwrap().1.clone(),
                };
                let answer = answer.replace("ID", &asked["id"].to_string());
                if answer.is_empty() {
                    break;
                }
                writer.write_all(format!("{answer}\n").as_bytes()).await.unwrap();
            }
        });
        let client = Qmp::connect(dir.path(), Duration::from_secs(20)).await.unwrap();
        (dir, client)
    }

    #[tokio::test]
    async fn answers_are_matched_and_events_become_levels() {
        let status = "{\"event\": \"SHUTDOWN\", \"data\": {\"guest\": true}}\n{\"return\": {\"status\": \"other\"}, \
                      \"id\": 999}\n{\"return\": {\"status\": \"shutdown\"}, \"id\": ID}";
        let refused = "{\"error\": {\"class\": \"GenericError\", \"desc\": \"not now\"}, \"id\": ID}";
        let (_dir, client) =
            fake(vec![("query-status", status.to_owned()), ("cont", refused.to_owned())]).await;
        assert_eq!(client.status().await.unwrap(), "shutdown");
        assert!(client.level().borrow().shut_down);
        let error = client.resume().await.unwrap_err();
        assert_eq!(error.to_string(), "QEMU refused 'cont': not now");
    }

    #[tokio::test]
    async fn a_closed_connection_ends_what_waits() {
        let (_dir, client) = fake(vec![("quit", String::new())]).await;
        assert!(matches!(client.quit().await, Err(QmpError::Closed)));
        let mut level = client.level();
        level.wait_for(|level| level.closed).await.unwrap();
        assert!(matches!(client.status().await, Err(QmpError::Closed | QmpError::Socket(_))));
    }

    #[tokio::test(start_paused = true)]
    async fn silence_has_a_deadline() {
        let (_dir, client) = fake(vec![("query-status", "{\"event\": \"RTC_CHANGE\"}".to_owned())]).await;
        assert!(matches!(client.status().await, Err(QmpError::TimedOut("query-status"))));
    }
}
