//! Measures a cloud of the release build, and prints a table: figure, measured, aim. Nothing is asserted.
//!
//! `cargo run --release -p lenticular-bench [-- SERVERS]` (10,000 servers unless said otherwise)

mod cloud;
mod guest;
mod http;
mod large;
mod reconnect;

use anyhow::Result;
use cloud::Cloud;
use http::Client;
use serde_json::json;
use std::time::{Duration, Instant};

/// Hosts that are simulated.
const HOSTS: usize = 20;

/// One line of the table.
struct Row {
    figure: String,
    measured: String,
    aim: &'static str,
}

#[expect(clippy::print_stdout, reason = "the table is what this program is for")]
#[tokio::main]
async fn main() -> Result<()> {
    let servers = std::env::args().nth(1).map_or(Ok(10_000), |n| n.parse())?;
    let mut rows = simulated(servers).await?;
    rows.extend(large::measure().await?);
    rows.push(reconnect::measure().await?);
    rows.extend(guest::measure().await?);
    println!("\n{:<68} {:>22}   aim", "figure", "measured");
    for row in rows {
        println!("{:<68} {:>22}   {}", row.figure, row.measured, row.aim);
    }
    Ok(())
}

fn row(figure: impl Into<String>, measured: impl Into<String>, aim: &'static str) -> Row {
    Row { figure: figure.into(), measured: measured.into(), aim }
}

fn ms(duration: Duration) -> String {
    format!("{:.2} ms", duration.as_secs_f64() * 1e3)
}

/// The `p`th hundredth of what was measured.
fn percentile(of: &mut [Duration], p: usize) -> Duration {
    of.sort();
    of.get((of.len() * p / 100).min(of.len().saturating_sub(1))).copied().unwrap_or_default()
}

async fn simulated(servers: usize) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    let mut cloud = Cloud::start(HOSTS).await?;
    rows.push(row(
        "memory, idle, 20 simulated hosts",
        format!("{:.1} MB", cloud.memory_mb()?),
        "under 40 MB",
    ));
    let client = cloud.login().await?;
    let image = client.upload("blank", vec![0; 4096], "raw").await?;
    client.unlimited().await?;
    rows.extend(latency(&client, &image).await?);
    rows.push(boot_500(&client, &image).await?);
    rows.push(creates(&client, &image, servers).await?);
    wait_active(&client).await?;
    rows.push(row(
        format!("memory with {} servers", client.count().await?),
        format!("{:.1} MB", cloud.memory_mb()?),
        "under 120 MB with 10,000",
    ));
    rows.push(listing(&client).await?);
    rows.push(tokens(&cloud).await?);
    let restarted = cloud.restart().await?;
    rows.push(row(format!("start to serving, with {servers} servers"), ms(restarted), "under 300 ms"));
    Ok(rows)
}

fn body(image: &str, name: &str) -> serde_json::Value {
    json!({"server": {"name": name, "imageRef": image, "flavorRef": "42", "networks": "none"}})
}

/// Creates at 8 clients: how long each takes.
async fn latency(client: &Client, image: &str) -> Result<Vec<Row>> {
    let mut all = parallel(8, 2_000, client, image).await?.0;
    let (p50, p99) = (percentile(&mut all, 50), percentile(&mut all, 99));
    Ok(vec![
        row("POST /servers, 8 clients, p50", ms(p50), ""),
        row("POST /servers, 8 clients, p99", ms(p99), "under 5 ms"),
    ])
}

/// Sends `count` creates over `clients` connections; each one's time, and the time of all.
async fn parallel(
    clients: usize,
    count: usize,
    client: &Client,
    image: &str,
) -> Result<(Vec<Duration>, Duration)> {
    let began = Instant::now();
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..clients {
        let (client, body) = (client.clone(), body(image, "bench"));
        let share = count / clients;
        tasks.spawn(async move {
            let mut connection = client.connect().await?;
            let mut took = Vec::with_capacity(share);
            for _ in 0..share {
                let one = Instant::now();
                connection.post("/compute/v2.1/servers", &body, 202).await?;
                took.push(one.elapsed());
            }
            anyhow::Ok(took)
        });
    }
    let mut all = Vec::with_capacity(count);
    while let Some(took) = tasks.join_next().await {
        all.extend(took??);
    }
    Ok((all, began.elapsed()))
}

async fn creates(client: &Client, image: &str, count: usize) -> Result<Row> {
    let (_, took) = parallel(64, count, client, image).await?;
    let rate = count as f64 / took.as_secs_f64();
    Ok(row(format!("durable creates, 64 clients, {count} servers"), format!("{rate:.0} /s"), "3,000 /s"))
}

/// From the first of 500 creates to the last ACTIVE.
async fn boot_500(client: &Client, image: &str) -> Result<Row> {
    wait_active(client).await?;
    let began = Instant::now();
    parallel(8, 500, client, image).await?;
    wait_active(client).await?;
    let rate = 500.0 / began.elapsed().as_secs_f64();
    Ok(row("500 servers, from POST to ACTIVE", format!("{rate:.0} /s"), "500 /s (as bench.py sees it)"))
}

async fn wait_active(client: &Client) -> Result<()> {
    let mut connection = client.connect().await?;
    loop {
        let building = connection.get("/compute/v2.1/servers?status=BUILD&limit=1").await?;
        if building["servers"].as_array().is_some_and(Vec::is_empty) {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn listing(client: &Client) -> Result<Row> {
    let mut connection = client.connect().await?;
    let mut took = Vec::new();
    for _ in 0..50 {
        let began = Instant::now();
        connection.bytes("/compute/v2.1/servers/detail?limit=1000").await?;
        took.push(began.elapsed());
    }
    Ok(row("GET servers/detail of 1,000, p50", ms(percentile(&mut took, 50)), "under 10 ms"))
}

async fn tokens(cloud: &Cloud) -> Result<Row> {
    let began = Instant::now();
    let mut logins = tokio::task::JoinSet::new();
    for _ in 0..4 {
        let login = cloud.login_again();
        logins.spawn(async move {
            for _ in 0..10 {
                login.clone().run().await?;
            }
            anyhow::Ok(())
        });
    }
    while let Some(done) = logins.join_next().await {
        done??;
    }
    let rate = 40.0 / began.elapsed().as_secs_f64();
    Ok(row("tokens issued by password, 4 clients", format!("{rate:.0} /s"), "argon2id's own cost"))
}
