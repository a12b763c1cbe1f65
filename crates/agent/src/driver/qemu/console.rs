//! A guest's consoles: the log of its serial line, with limited size, and connections to its serial line and its screen.

use super::{
    Live,
    args::{SCREEN_LAYOUT, SERIAL, VNC},
};
use crate::{driver::guest_user, files};
use lenticular_wire::agent::ConsoleKind;
use std::{
    fs, io,
    io::{Read, Seek, SeekFrom, Write},
    path::Path,
};
use tokio::net::UnixStream;

/// A longer log is cut, in bytes.
const LOG_BYTES_MAX: u64 = 512 * 1024;
/// The largest answer, in bytes.
const ANSWER_BYTES_MAX: u64 = 1 << 20;

/// Moves a long log aside, and replaces the earlier one. QEMU appends, so it continues at the beginning.
pub(super) fn trim(dir: &Path) -> io::Result<()> {
    let log = dir.join("console.log");
    if fs::metadata(&log).map_or(0, |meta| meta.len()) <= LOG_BYTES_MAX {
        return Ok(());
    }
    let old = dir.join("console.old");
    let tail = tail(&log, LOG_BYTES_MAX)?;
    files::create(&files::beside(&old))?.write_all(&tail)?;
    fs::rename(files::beside(&old), &old)?;
    fs::OpenOptions::new().write(true).open(&log)?.set_len(0)
}

/// The last lines; `None` means everything that is kept.
pub(super) fn read(dir: &Path, lines: Option<u32>) -> io::Result<String> {
    let mut bytes = Vec::new();
    for name in ["console.old", "console.log"] {
        match tail(&dir.join(name), ANSWER_BYTES_MAX) {
            Ok(part) => bytes.extend(part),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    let text = String::from_utf8_lossy(&bytes).replace("\r\n", "\n");
    let Some(lines) = lines else { return Ok(text) };
    let starts: Vec<usize> =
        text.trim_end_matches('\n').rmatch_indices('\n').map(|(at, _)| at + 1).take(lines as usize).collect();
    let from = match starts.get((lines as usize).wrapping_sub(1)) {
        Some(start) => *start,
        None if lines == 0 => text.len(),
        None => 0,
    };
    Ok(text[from..].to_owned())
}

/// Connects to a console of a running guest. The error is for the user.
pub(super) async fn open(dir: &Path, live: &Live, kind: ConsoleKind) -> Result<UnixStream, String> {
    let socket = match kind {
        ConsoleKind::Vnc if live.layout < SCREEN_LAYOUT => {
            return Err(
                "The server was started before servers had screens. Restart it (reboot --hard).".to_owned()
            );
        }
        ConsoleKind::Vnc => VNC,
        ConsoleKind::Serial => SERIAL,
    };
    let connected = guest_user::connect(dir, socket).await;
    connected.map_err(|error| format!("The server's QEMU does not answer ({error}). Try again."))
}

fn tail(path: &Path, bytes_max: u64) -> io::Result<Vec<u8>> {
    let mut file = fs::File::open(path)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(bytes_max)))?;
    let mut bytes = Vec::new();
    file.take(bytes_max).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_counted_from_the_end_and_a_long_log_is_cut() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(read(dir.path(), None).unwrap(), "");
        fs::write(dir.path().join("console.log"), "a\r\nb\r\nc\r\n").unwrap();
        assert_eq!(read(dir.path(), Some(2)).unwrap(), "b\nc\n");
        assert_eq!(read(dir.path(), Some(0)).unwrap(), "");
        assert_eq!(read(dir.path(), Some(9)).unwrap(), "a\nb\nc\n");
        fs::write(dir.path().join("console.log"), "x\n".repeat(1 << 20)).unwrap();
        trim(dir.path()).unwrap();
        assert_eq!(fs::metadata(dir.path().join("console.log")).unwrap().len(), 0);
        assert_eq!(read(dir.path(), None).unwrap().len() as u64, LOG_BYTES_MAX);
    }
}
