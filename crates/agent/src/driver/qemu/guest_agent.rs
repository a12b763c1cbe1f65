//! The agent inside a guest (QEMU's guest agent, `qemu-ga`), if it runs there: JSON over a port of the guest.
//!
//! What comes from there is the guest's own word: it is read with limits, and nothing on the host depends on it.

use super::{Live, args::AGENT, qmp::Qmp};
use crate::driver::guest_user;
use base64::Engine as _;
use serde_json::{Value, json};
use std::{io, path::Path, time::Duration};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::UnixStream,
    time::timeout,
};

/// How long a guest agent may take for a command.
const COMMAND_MAX: Duration = Duration::from_secs(5);
/// The longest answer that is read, in bytes.
const ANSWER_BYTES_MAX: u64 = 64 * 1024;
/// The byte before an answer to `guest-sync-delimited`.
const SENTINEL: u8 = 0xff;

/// Why the guest agent did not do something.
#[derive(Debug, thiserror::Error)]
pub(super) enum AgentError {
    #[error(
        "The server has no guest agent, or its agent does not run. Install qemu-guest-agent in the guest."
    )]
    Absent,
    #[error("The guest agent does not answer ({0}). Try again.")]
    Silent(String),
    #[error("The guest agent refused '{command}': {why}")]
    Refused { command: &'static str, why: String },
}

impl From<io::Error> for AgentError {
    fn from(error: io::Error) -> Self {
        Self::Silent(error.to_string())
    }
}

/// A connection to a guest's agent. A port has one client at a time.
pub(super) struct GuestAgent {
    stream: BufReader<UnixStream>,
}

impl GuestAgent {
    /// Connects, and gets in step with the agent: answers to an earlier client are passed over.
    pub(super) async fn connect(dir: &Path, live: &Live) -> Result<Self, AgentError> {
        if !listens(live.qmp.as_ref().ok_or(AgentError::Absent)?).await {
            return Err(AgentError::Absent);
        }
        let stream = BufReader::new(guest_user::connect(dir, AGENT).await?);
        let mut agent = Self { stream };
        let number = u32::from_be_bytes(random()?);
        // The sentinel makes the agent drop half a command of an earlier client.
        agent.stream.get_mut().write_all(&[SENTINEL]).await?;
        let sync = agent.ask("guest-sync-delimited", json!({ "id": number }));
        match timeout(COMMAND_MAX, sync).await {
            Ok(Ok(answer)) if answer == json!(number) => Ok(agent),
            Ok(Ok(_)) => Err(AgentError::Silent("it is out of step".to_owned())),
            Ok(Err(error)) => Err(error),
            Err(_) => Err(AgentError::Silent("too late".to_owned())),
        }
    }

    /// Sets the password of one of the guest's users.
    pub(super) async fn set_password(&mut self, user: &str, password: &str) -> Result<(), AgentError> {
        let password = base64::engine::general_purpose::STANDARD.encode(password);
        let arguments = json!({ "username": user, "password": password, "crypted": false });
        self.command("guest-set-user-password", arguments).await.map(drop)
    }

    /// Makes the guest's file systems whole on its disks, and holds all writes.
    pub(super) async fn freeze(&mut self) -> Result<(), AgentError> {
        self.command("guest-fsfreeze-freeze", Value::Null).await.map(drop)
    }

    /// Lets the guest write again. May be called again.
    pub(super) async fn thaw(&mut self) -> Result<(), AgentError> {
        self.command("guest-fsfreeze-thaw", Value::Null).await.map(drop)
    }

    async fn command(&mut self, command: &'static str, arguments: Value) -> Result<Value, AgentError> {
        match timeout(COMMAND_MAX, self.ask(command, arguments)).await {
            Ok(answer) => answer,
            Err(_) => Err(AgentError::Silent(format!("'{command}' takes too long"))),
        }
    }

    async fn ask(&mut self, command: &'static str, arguments: Value) -> Result<Value, AgentError> {
        let mut message = json!({ "execute": command });
        if !arguments.is_null() {
            message["arguments"] = arguments;
        }
        self.stream.get_mut().write_all(format!("{message}\n").as_bytes()).await?;
        if command == "guest-sync-delimited" {
            let mut skipped = Vec::new();
            (&mut self.stream).take(ANSWER_BYTES_MAX).read_until(SENTINEL, &mut skipped).await?;
        }
        let mut line = Vec::new();
        (&mut self.stream).take(ANSWER_BYTES_MAX).read_until(b'\n', &mut line).await?;
        let answer: Value =
            serde_json::from_slice(&line).map_err(|error| AgentError::Silent(error.to_string()))?;
        match answer.get("error") {
            Some(error) => {
                let why = error["desc"].as_str().unwrap_or("no reason").chars().take(200).collect();
                Err(AgentError::Refused { command, why })
            }
            None => Ok(answer["return"].clone()),
        }
    }
}

/// True if a program in the guest has opened the port.
async fn listens(qmp: &Qmp) -> bool {
    let devices = qmp.ask("query-chardev", Value::Null).await.unwrap_or_default();
    let mut devices = devices.as_array().into_iter().flatten();
    devices.any(|device| device["label"] == AGENT && device["frontend-open"] == true)
}

fn random() -> io::Result<[u8; 4]> {
    let mut bytes = [0; 4];
    getrandom::fill(&mut bytes).map_err(|error| io::Error::other(error.to_string()))?;
    Ok(bytes)
}
