//! Replays a seed, runs many, or runs scenario files.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "this is a command for people at a terminal")]

use lenticular_sim::{
    Config, Fault, Mutation, World, complaint,
    run::storms_in_parallel,
    scale::{Scale, line},
};
use std::process::ExitCode;

const USAGE: &str =
    "usage: lenticular-sim [--seed N] [--seeds FROM..TO] [--trace] [--without FAULT]... [--only FAULT]...
                      [--mutation NAME] [--scale HOSTSxSERVERS] [SCENARIO FILE]...
  --seed N         runs one storm; 1 if nothing else is said
  --seeds A..B     runs storms of the seeds from A up to, and not, B
  --trace          prints every line of the trace
  --without FAULT  leaves a fault out
  --only FAULT     leaves all other faults out
  --mutation NAME  breaks a rule on purpose
  --scale HxS      measures a cloud of H hosts and S servers";

#[derive(Default)]
struct Args {
    seed: Option<u64>,
    seeds: Option<(u64, u64)>,
    trace: bool,
    without: Vec<Fault>,
    only: Vec<Fault>,
    mutation: Option<Mutation>,
    scale: Option<(usize, usize)>,
    files: Vec<String>,
}

fn main() -> ExitCode {
    match parse(std::env::args().skip(1)) {
        Ok(args) => act(&args),
        Err(why) => {
            eprintln!("{why}\n{USAGE}");
            ExitCode::from(2)
        }
    }
}

fn parse(mut words: impl Iterator<Item = String>) -> Result<Args, String> {
    let mut args = Args::default();
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or_else(|| format!("{word} needs a value"));
        let number = |text: &str| text.parse::<u64>().map_err(|_| format!("'{text}' is no number"));
        let fault = |text: &str| {
            Fault::from_name(text).ok_or_else(|| unknown("fault", text, Fault::ALL.iter().map(|f| f.name())))
        };
        match word.as_str() {
            "--seed" => args.seed = Some(number(&value()?)?),
            "--seeds" => {
                let text = value()?;
                let (from, to) = text.split_once("..").ok_or("--seeds needs FROM..TO")?;
                args.seeds = Some((number(from)?, number(to)?));
            }
            "--scale" => {
                let text = value()?;
                let (hosts, servers) = text.split_once('x').ok_or("--scale needs HOSTSxSERVERS")?;
                args.scale = Some((number(hosts)? as usize, number(servers)? as usize));
            }
            "--trace" => args.trace = true,
            "--without" => args.without.push(fault(&value()?)?),
            "--only" => args.only.push(fault(&value()?)?),
            "--mutation" => {
                let text = value()?;
                let found = Mutation::from_name(&text);
                args.mutation = Some(
                    found
                        .ok_or_else(|| unknown("mutation", &text, Mutation::ALL.iter().map(|m| m.name())))?,
                );
            }
            other if other.starts_with('-') => return Err(format!("there is no option {other}")),
            _ => args.files.push(word),
        }
    }
    Ok(args)
}

fn unknown<'n>(what: &str, text: &str, names: impl Iterator<Item = &'n str>) -> String {
    format!("there is no {what} '{text}'; there are: {}", names.collect::<Vec<_>>().join(", "))
}

fn config(args: &Args, seed: u64) -> Config {
    let mut config = Config { mutation: args.mutation, ..Config::storm(seed) };
    if !args.only.is_empty() {
        config.faults = args.only.iter().copied().collect();
    }
    config.faults.retain(|fault| !args.without.contains(fault));
    config
}

fn act(args: &Args) -> ExitCode {
    if let Some((hosts, servers)) = args.scale {
        return measure(hosts, servers);
    }
    if let Some((from, to)) = args.seeds {
        return many(args, from, to);
    }
    let seed = args.seed.unwrap_or(1);
    let config = Config { keep_trace: args.trace, ..config(args, seed) };
    let mut world = World::new(config.clone());
    world.run();
    if args.trace {
        world.trace_lines().iter().for_each(|line| println!("{line}"));
    }
    let summary = world.summary();
    println!("seed {seed}: {} events, trace {:016x}", summary.events, summary.hash);
    match summary.violation {
        Some(violation) => {
            println!("{}", complaint(&config, &violation, if args.trace { "" } else { &summary.tail }));
            ExitCode::FAILURE
        }
        None => ExitCode::SUCCESS,
    }
}

fn many(args: &Args, from: u64, to: u64) -> ExitCode {
    let totals = storms_in_parallel(from..to, |seed| config(args, seed));
    for (group, what, count) in totals.coverage.counts() {
        println!("{count:>9} {group}: {what}");
    }
    for (_, text) in totals.failures.iter().take(1) {
        println!("{text}");
    }
    for (seed, text) in &totals.failures {
        println!("FAILED {seed}: {}", text.lines().next().unwrap_or_default());
    }
    println!(
        "{} seeds, {} events (at least {} each), {} failed",
        totals.seeds,
        totals.events,
        totals.events_min,
        totals.failures.len()
    );
    if totals.failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Runs a large cloud, and prints how long each part took.
fn measure(hosts: usize, servers: usize) -> ExitCode {
    let mut scale = Scale::new(hosts, servers);
    for (name, wave) in Scale::waves() {
        let began = std::time::Instant::now();
        match scale.run(name, *wave) {
            Ok(phase) => println!("{}", line(&phase, began.elapsed())),
            Err(why) => {
                println!("{name}: {why}");
                return ExitCode::FAILURE;
            }
        }
    }
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let most = status.lines().find(|line| line.starts_with("VmHWM")).unwrap_or("VmHWM unknown");
    println!("{most}");
    ExitCode::SUCCESS
}
