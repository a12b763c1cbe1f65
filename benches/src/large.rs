//! Large clouds of simulated hosts: how fast servers are created there, with all filters.

use crate::{Row, cloud::Cloud, creates, http::Client, row};
use anyhow::{Result, ensure};
use std::time::{Duration, Instant};

/// How many servers are created.
const SERVERS: usize = 4_000;
/// How long all hosts may take to come up.
const UP_MAX: Duration = Duration::from_secs(300);

/// Creates in clouds of 1,000 and of 10,000 hosts.
pub async fn measure() -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for hosts in [1_000, 10_000] {
        let began = Instant::now();
        let cloud = Cloud::start(hosts).await?;
        let client = cloud.login().await?;
        wait_up(&client, hosts).await?;
        let took = began.elapsed().as_secs_f64();
        rows.push(row(
            format!("{hosts} simulated hosts: start until all are up"),
            format!("{took:.1} s"),
            "",
        ));
        let image = client.upload("blank", vec![0; 4096], "raw").await?;
        client.unlimited().await?;
        // Hosts that are still making disks would share the processors with what is measured.
        let Row { measured, .. } = creates(&client, &image, SERVERS).await?;
        let aim = if hosts == 10_000 { "2,000 /s" } else { "" };
        rows.push(row(format!("{hosts} simulated hosts: durable creates, 64 clients"), measured, aim));
        rows.push(row(
            format!("{hosts} simulated hosts: memory, agents included"),
            format!("{:.0} MB", cloud.memory_mb()?),
            "",
        ));
    }
    Ok(rows)
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
