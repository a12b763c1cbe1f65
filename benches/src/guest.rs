//! A real guest: from the request to its first words on the console, beside what bare QEMU needs for the same image.

use crate::{Row, cloud::Cloud, ms, percentile, row};
use anyhow::{Context, Result, ensure};
use serde_json::json;
use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

/// How often each is measured.
const RUNS: usize = 3;

/// How long a guest may take to say its first word.
const FIRST_WORD_MAX: Duration = Duration::from_secs(60);

/// Measures, if there is an image and a hypervisor.
pub async fn measure() -> Result<Vec<Row>> {
    let image = PathBuf::from("guest/out/lenticular-guest.qcow2");
    if !image.exists() || which().is_err() {
        return Ok(vec![row("real guests", "not measured", "needs QEMU and guest/build")]);
    }
    let mut bare = Vec::new();
    for _ in 0..RUNS {
        bare.push(bare_qemu(&image).await?);
    }
    let mut cloud = in_cloud(&image).await?;
    let (bare, cloud) = (percentile(&mut bare, 50), percentile(&mut cloud, 50));
    Ok(vec![
        row("bare qemu-system-x86_64 to the first console line, p50", ms(bare), ""),
        row("POST /servers to the first console line, p50", ms(cloud), "bare + 500 ms"),
        row("the cloud's share", ms(cloud.saturating_sub(bare)), "under 500 ms"),
    ])
}

#[expect(clippy::disallowed_methods, reason = "a benchmark starts what it measures")]
fn which() -> Result<()> {
    let done = Command::new("qemu-system-x86_64").arg("--version").stdout(Stdio::null()).status()?;
    ensure!(done.success());
    Ok(())
}

/// Waits for the first line of text in a console's log.
async fn first_line(log: impl Fn() -> Option<PathBuf>) -> Result<()> {
    let began = Instant::now();
    loop {
        let text = log().and_then(|path| fs::read(path).ok()).unwrap_or_default();
        if text.contains(&b'\n') {
            return Ok(());
        }
        ensure!(began.elapsed() < FIRST_WORD_MAX, "the guest says nothing");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

#[expect(clippy::disallowed_methods, reason = "a benchmark starts what it measures")]
async fn bare_qemu(image: &Path) -> Result<Duration> {
    let folder = tempfile::tempdir()?;
    let (disk, log) = (folder.path().join("disk.qcow2"), folder.path().join("console.log"));
    fs::copy(image, &disk)?;
    let began = Instant::now();
    let mut process = Command::new("qemu-system-x86_64")
        .args([
            "-machine",
            "q35",
            "-accel",
            "tcg,thread=multi",
            "-m",
            "128",
            "-display",
            "none",
            "-nodefaults",
        ])
        .args(["-drive", &format!("if=virtio,format=qcow2,file={}", disk.display())])
        .args(["-serial", &format!("file:{}", log.display())])
        .spawn()?;
    let said = first_line(|| Some(log.clone())).await;
    let took = began.elapsed();
    process.kill()?;
    process.wait()?;
    said.map(|()| took)
}

async fn in_cloud(image: &Path) -> Result<Vec<Duration>> {
    let cloud = Cloud::start(0).await?;
    let client = cloud.login().await?;
    let id = client.upload("guest", fs::read(image)?, "qcow2").await?;
    let mut connection = client.connect().await?;
    let began = Instant::now();
    while connection.get("/operator/v1/hosts").await?.as_array().is_none_or(Vec::is_empty) {
        ensure!(began.elapsed() < FIRST_WORD_MAX, "no host comes up");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let mut took = Vec::new();
    // The first fetches the base into the host's cache, as on any host that never ran the image.
    for run in 0..=RUNS {
        let body =
            json!({"server": {"name": "bench", "imageRef": id, "flavorRef": "42", "networks": "none"}});
        let began = Instant::now();
        let made = connection.post("/compute/v2.1/servers", &body, 202).await?;
        let server = made["server"]["id"].as_str().context("no id")?.to_owned();
        let guest = cloud.data().join("agent/guests").join(&server);
        first_line(|| Some(guest.join("console.log"))).await?;
        if run > 0 {
            took.push(began.elapsed());
        }
        delete(&mut connection, &server).await?;
    }
    Ok(took)
}

async fn delete(connection: &mut crate::http::Connection, server: &str) -> Result<()> {
    // A forced delete goes by POST, which is all that this client knows beside GET.
    let path = format!("/compute/v2.1/servers/{server}/action");
    connection.post_raw(&path, &json!({"forceDelete": null})).await?;
    while !connection.get("/compute/v2.1/servers").await?["servers"].as_array().is_none_or(Vec::is_empty) {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}
