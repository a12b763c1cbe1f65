//! Large clouds of simulated hosts: how fast servers are created there, with all filters, and what the cloud costs at
//! rest.

use crate::{Row, cloud::Cloud, creates, http::Client, listing, ms, row, wait_active};
use anyhow::{Result, ensure};
use std::time::{Duration, Instant};

/// How many hosts there are, and how many servers are created.
const CLOUDS: [(usize, usize); 2] = [(1_000, 4_000), (10_000, 100_000)];
/// How long the cloud is watched at rest. Every agent polls once in this time.
const REST: Duration = Duration::from_secs(20);
/// How long all hosts may take to come up.
const UP_MAX: Duration = Duration::from_secs(300);

/// Measures each of the clouds.
pub async fn measure() -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for (hosts, servers) in CLOUDS {
        rows.extend(measure_one(hosts, servers).await?);
    }
    Ok(rows)
}

async fn measure_one(hosts: usize, servers: usize) -> Result<Vec<Row>> {
    let named = |what: &str| format!("{hosts} simulated hosts: {what}");
    let began = Instant::now();
    let mut cloud = Cloud::start(hosts).await?;
    let client = cloud.login().await?;
    wait_up(&client, hosts).await?;
    let joined = row(named("start until all are up"), format!("{:.1} s", began.elapsed().as_secs_f64()), "");
    let image = client.upload("blank", vec![0; 4096], "raw").await?;
    client.unlimited().await?;
    // Hosts that are still making disks would share the processors with what is measured.
    let Row { figure, measured, .. } = creates(&client, &image, servers).await?;
    let aim = if hosts == 10_000 { "3,000 /s" } else { "" };
    let created = row(named(&figure), measured, aim);
    wait_active(&client).await?;
    let Row { figure, measured, aim } = listing(&client).await?;
    let page = row(named(&figure), measured, aim);
    let before = cloud.cpu_s()?;
    tokio::time::sleep(REST).await;
    let poll_us = (cloud.cpu_s()? - before) * 1e6 / hosts as f64;
    Ok(vec![
        joined,
        created,
        page,
        row(named("a poll at rest, both sides, CPU"), format!("{poll_us:.0} µs"), ""),
        row(named("memory, agents included"), format!("{:.0} MB", cloud.memory_mb()?), ""),
        row(named("start to serving, with all servers"), ms(cloud.restart().await?), ""),
    ])
}

/// Waits until so many hosts are up.
pub async fn wait_up(client: &Client, hosts: usize) -> Result<()> {
    let began = Instant::now();
    let mut connection = client.connect().await?;
    loop {
        let services = connection.get("/compute/v2.1/os-services?binary=nova-compute").await?;
        let services = services["services"].as_array().cloned().unwrap_or_default();
        if services.iter().filter(|s| s["state"] == "up").count() >= hosts {
            return Ok(());
        }
        ensure!(began.elapsed() < UP_MAX, "not all hosts came up");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
