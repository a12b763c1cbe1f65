//! The agent inside a guest (QEMU's guest agent, `qemu-ga`), if it runs there: JSON over a port of the guest.
//!
//! The guest may lie or send garbage: answers are read with limits, and nothing on the host depends on them.

use super::{Live, args::GUEST_AGENT, qmp::Qmp};
use crate::driver::guest_user;
use base64::Engine as _;
use serde_json::{Value, json};
use std::{io, path::Path, time::Duration};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::UnixStream,
    sync::OwnedMutexGuard,
    time::timeout,
};

/// How long a guest agent may take until it is in step.
const SYNC_MAX: Duration = Duration::from_secs(3);
/// How long a guest agent may take for a password.
const PASSWORD_MAX: Duration = Duration::from_secs(5);
/// How long a guest agent may take to freeze or thaw: a busy guest first writes out what it has in memory.
const FREEZE_MAX: Duration = Duration::from_secs(30);
/// The longest answer that is read, in bytes.
const ANSWER_BYTES_MAX: u64 = 64 * 1024;
/// The byte before an answer to `guest-sync-delimited`. Sent to the agent, it ends half a command of an earlier client.
const SYNC_BYTE: u8 = 0xff;

/// Why the guest agent did not do something.
#[derive(Debug, thiserror::Error)]
pub(super) enum GuestAgentError {
    #[error(
        "The server has no guest agent, or its agent does not run. Install qemu-guest-agent in the guest. If the server \
         was started before servers had a port for it, restart it (reboot --hard)."
    )]
    Absent,
    #[error(
        "The guest agent does not answer ({0}). Look whether qemu-guest-agent runs in the guest, and try again."
    )]
    Silent(String),
    #[error("The guest agent refused '{command}': {why}. Its log in the guest may say more.")]
    Refused { command: &'static str, why: String },
}

impl From<io::Error> for GuestAgentError {
    fn from(error: io::Error) -> Self {
        Self::Silent(error.to_string())
    }
}

/// A connection to a guest's agent. A port has one client at a time.
pub(super) struct GuestAgent {
    stream: BufReader<UnixStream>,
    _port: OwnedMutexGuard<()>,
}

impl GuestAgent {
    /// Connects, and gets in step with the agent: answers to an earlier client are passed over.
    pub(super) async fn connect(dir: &Path, live: &Live) -> Result<Self, GuestAgentError> {
        if !listens(live.qmp.as_ref().ok_or(GuestAgentError::Absent)?).await {
            return Err(GuestAgentError::Absent);
        }
        let port = live.agent_port.clone().lock_owned().await;
        Self::begin(guest_user::connect(dir, GUEST_AGENT).await?, port).await
    }

    async fn begin(stream: UnixStream, port: OwnedMutexGuard<()>) -> Result<Self, GuestAgentError> {
        let mut agent = Self { stream: BufReader::new(stream), _port: port };
        match timeout(SYNC_MAX, agent.sync()).await {
            Ok(synced) => synced.map(|()| agent),
            Err(_) => Err(GuestAgentError::Silent("it takes too long".to_owned())),
        }
    }

    /// Sets the password of one of the guest's users.
    pub(super) async fn set_password(&mut self, user: &str, password: &str) -> Result<(), GuestAgentError> {
        let password = base64::engine::general_purpose::STANDARD.encode(password);
        let arguments = json!({ "username": user, "password": password, "crypted": false });
        self.command("guest-set-user-password", arguments, PASSWORD_MAX).await
    }

    /// Makes the guest's file systems consistent on its disks, and holds all writes.
    pub(super) async fn freeze(&mut self) -> Result<(), GuestAgentError> {
        self.command("guest-fsfreeze-freeze", Value::Null, FREEZE_MAX).await
    }

    /// Lets the guest write again. May be called again.
    pub(super) async fn thaw(&mut self) -> Result<(), GuestAgentError> {
        self.command("guest-fsfreeze-thaw", Value::Null, FREEZE_MAX).await
    }

    async fn sync(&mut self) -> Result<(), GuestAgentError> {
        let mut number = [0; 4];
        getrandom::fill(&mut number).map_err(|error| GuestAgentError::Silent(error.to_string()))?;
        let number = u32::from_be_bytes(number);
        self.stream.get_mut().write_all(&[SYNC_BYTE]).await?;
        self.send("guest-sync-delimited", json!({ "id": number })).await?;
        loop {
            let mut skipped = Vec::new();
            (&mut self.stream).take(ANSWER_BYTES_MAX).read_until(SYNC_BYTE, &mut skipped).await?;
            if skipped.last() != Some(&SYNC_BYTE) {
                return Err(GuestAgentError::Silent("its answers make no sense".to_owned()));
            }
            // An agent may still answer to an earlier client.
            if self.receive("guest-sync-delimited").await.is_ok_and(|answer| answer == json!(number)) {
                return Ok(());
            }
        }
    }

    async fn command(
        &mut self,
        command: &'static str,
        arguments: Value,
        deadline: Duration,
    ) -> Result<(), GuestAgentError> {
        let work = async {
            self.send(command, arguments).await?;
            self.receive(command).await.map(drop)
        };
        match timeout(deadline, work).await {
            Ok(done) => done,
            Err(_) => Err(GuestAgentError::Silent(format!("'{command}' takes too long"))),
        }
    }

    async fn send(&mut self, command: &'static str, arguments: Value) -> Result<(), GuestAgentError> {
        let mut message = json!({ "execute": command });
        if !arguments.is_null() {
            message["arguments"] = arguments;
        }
        Ok(self.stream.get_mut().write_all(format!("{message}\n").as_bytes()).await?)
    }

    async fn receive(&mut self, command: &'static str) -> Result<Value, GuestAgentError> {
        let mut line = Vec::new();
        (&mut self.stream).take(ANSWER_BYTES_MAX).read_until(b'\n', &mut line).await?;
        let answer: Value = serde_json::from_slice(&line)
            .map_err(|_| GuestAgentError::Silent("its answer makes no sense".to_owned()))?;
        match answer.get("error") {
            Some(error) => {
                let why = error["desc"].as_str().unwrap_or("no reason");
                let why = why.chars().filter(|c| !c.is_control()).take(200).collect();
                Err(GuestAgentError::Refused { command, why })
            }
            None => Ok(answer["return"].clone()),
        }
    }
}

/// True if a program in the guest has opened the port.
async fn listens(qmp: &Qmp) -> bool {
    let devices = qmp.ask("query-chardev", Value::Null).await.unwrap_or_default();
    let mut devices = devices.as_array().into_iter().flatten();
    devices.any(|device| device["label"] == GUEST_AGENT && device["frontend-open"] == true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    /// A guest's program that answers each line with what `answer` makes of it.
    fn guest(answer: impl Fn(&Value) -> Vec<u8> + Send + 'static) -> UnixStream {
        let (ours, theirs) = UnixStream::pair().unwrap();
        tokio::spawn(async move {
            let mut lines = BufReader::new(theirs);
            let mut line = Vec::new();
            while lines.read_until(b'\n', &mut line).await.is_ok_and(|n| n > 0) {
                let asked = line.iter().position(|byte| *byte == b'{').unwrap_or(0);
                let asked = serde_json::from_slice(&line[asked..]).unwrap();
                if lines.get_mut().write_all(&answer(&asked)).await.is_err() {
                    return;
                }
                line.clear();
            }
        });
        ours
    }

    async fn connect(stream: UnixStream) -> Result<GuestAgent, GuestAgentError> {
        let port = Arc::new(tokio::sync::Mutex::new(())).lock_owned().await;
        GuestAgent::begin(stream, port).await
    }

    fn synced(asked: &Value) -> Vec<u8> {
        [&[SYNC_BYTE], format!("{}\n", json!({"return": asked["arguments"]["id"]})).as_bytes()].concat()
    }

    #[tokio::test]
    async fn answers_to_an_earlier_client_are_passed_over() {
        let stream = guest(|asked| match asked["execute"].as_str() {
            Some("guest-sync-delimited") => {
                let stale = b"{\"return\": {}}\n\xff{\"return\": 7}\n".to_vec();
                [stale, synced(asked)].concat()
            }
            Some("guest-set-user-password") => b"{\"error\": {\"desc\": \"no such user\"}}\n".to_vec(),
            _ => b"{\"return\": 1}\n".to_vec(),
        });
        let mut agent = connect(stream).await.unwrap();
        agent.freeze().await.unwrap();
        agent.thaw().await.unwrap();
        let refused = agent.set_password("ada", "s3cret").await.unwrap_err().to_string();
        assert!(refused.contains("no such user") && !refused.contains("s3cret"), "{refused}");
    }

    #[tokio::test]
    async fn garbage_and_floods_are_told() {
        for garbage in [b"nonsense\n".to_vec(), vec![b'x'; 1 << 20], [&[SYNC_BYTE; 1], &b"[]\n"[..]].concat()]
        {
            let stream = guest(move |asked| match asked["execute"].as_str() {
                Some("guest-sync-delimited") => synced(asked),
                _ => garbage.clone(),
            });
            let mut agent = connect(stream).await.unwrap();
            assert!(matches!(agent.freeze().await, Err(GuestAgentError::Silent(_))));
        }
        let flood = guest(|_| vec![b'x'; 1 << 20]);
        assert!(matches!(connect(flood).await, Err(GuestAgentError::Silent(_))));
    }
}
