//! Plans: `lenticular plan`, `move`, `freeze` and `thaw`, and those that commands for hosts start.

use crate::{
    CloudArgs, Unsuccessful,
    client::{Client, escape},
    cloud,
    table::{Screen, Table, always, dropped},
};
use anyhow::{Context, Result};
use clap::{Args, Subcommand};
use lenticular_wire::operator::{
    HostStepView, LimitsAsk, PlanAsk, PlanStepView, PlanView, ReasonAsk, ResumeAsk, SkipAsk,
};
use std::{io::Write, path::PathBuf, time::Duration};

/// The commands for plans.
#[derive(Debug, Clone, Subcommand)]
pub enum PlanCommand {
    /// Lists plans, the newest first.
    List {
        /// Shows plans that ended, too.
        #[arg(long)]
        all: bool,
        /// Prints JSON, for scripts.
        #[arg(long)]
        json: bool,
    },
    /// Shows a plan: its steps, what holds each back, and its pace.
    Show {
        /// The plan's name.
        name: String,
        /// Waits until the plan has ended, and shows how far it is meanwhile. The exit status is 2 if the plan was halted or
        /// aborted, and 3 if it was paused.
        #[arg(long)]
        wait: bool,
        /// Prints JSON, for scripts.
        #[arg(long)]
        json: bool,
    },
    /// Begins no more moves. Moves that are under way end as they would.
    Pause {
        /// The plan's name.
        name: String,
        /// The reason, for people.
        #[arg(long)]
        reason: String,
    },
    /// Goes on with a plan that was paused or halted. Servers whose moves failed are tried again.
    Resume {
        /// The plan's name.
        name: String,
        /// Pauses again after so many hours from now.
        #[arg(long, value_name = "HOURS")]
        deadline: Option<f64>,
        /// Pauses again after so many moves in all.
        #[arg(long, value_name = "MOVES")]
        hard_limit: Option<u64>,
    },
    /// Leaves a server where it is, so that the plan can go on with the others.
    Skip {
        /// The plan's name.
        name: String,
        /// The server, by id or by a name that only one server has.
        server: String,
        /// The reason. It is shown with the plan.
        #[arg(long, required_unless_present = "end")]
        reason: Option<String>,
        /// The plan moves the server again.
        #[arg(long, conflicts_with = "reason")]
        end: bool,
    },
    /// Ends a plan before it is done. Servers stay where they are, and moves that are under way end as they would.
    Abort {
        /// The plan's name.
        name: String,
    },
}

/// How a plan is started.
#[derive(Debug, Clone, Args)]
pub struct StartArgs {
    /// Only the hosts of this aggregate take the servers.
    #[arg(long, value_name = "AGGREGATE")]
    to: Option<String>,
    /// Shows what the plan would do, and starts nothing.
    #[arg(long)]
    plan: bool,
    /// Starts the plan although some servers find no host now.
    #[arg(long)]
    anyway: bool,
    /// The reason, for people.
    #[arg(long, default_value = "")]
    reason: String,
    /// Pauses the plan after so many hours.
    #[arg(long, value_name = "HOURS")]
    deadline: Option<f64>,
    /// The most moves from or to one host at a time (2).
    #[arg(long, value_name = "MOVES")]
    per_host: Option<u32>,
    /// The most moves from or to hosts with the same label rack, or gateway, at a time (4).
    #[arg(long, value_name = "MOVES")]
    per_rack: Option<u32>,
    /// The most moves from or to hosts of one zone at a time (20).
    #[arg(long, value_name = "MOVES")]
    per_zone: Option<u32>,
    /// From the start of one server's move to the start of the next (2).
    #[arg(long, value_name = "SECONDS")]
    between_servers: Option<i64>,
    /// From the first move of one host to the first move of the next (180).
    #[arg(long, value_name = "SECONDS")]
    between_hosts: Option<i64>,
    /// Pauses the plan after so many moves.
    #[arg(long, value_name = "MOVES")]
    hard_limit: Option<u64>,
    /// The reason for limits that are looser than the defaults. Only for administrators.
    #[arg(long, value_name = "REASON")]
    loosen: Option<String>,
    /// Waits until the plan has ended, and shows how far it is meanwhile. The exit status is 2 if the plan was halted or
    /// aborted, and 3 if it was paused.
    #[arg(long, conflicts_with = "plan")]
    wait: bool,
    /// Prints JSON, for scripts.
    #[arg(long)]
    json: bool,
}

/// Which servers a plan moves.
#[derive(Debug, Clone, Args)]
#[group(required = true, multiple = false)]
pub struct WhichArgs {
    /// The servers of this project, by its name or id.
    #[arg(long)]
    project: Option<String>,
    /// The servers on the hosts of this aggregate.
    #[arg(long)]
    aggregate: Option<String>,
    /// The servers that this file names, one in each line, by id or by a name that only one server has.
    #[arg(long, value_name = "FILE")]
    servers: Option<PathBuf>,
}

/// Shows plans, pauses, resumes and ends them.
///
/// # Errors
/// The cloud cannot be reached, or refuses.
pub fn plan(command: &PlanCommand, cloud: &CloudArgs, out: &mut impl Write) -> Result<()> {
    let client = Client::login(&cloud::find(cloud)?)?;
    let mut screen = Screen::new(out);
    match command {
        PlanCommand::List { all, json } => {
            let path = format!("/operator/v1/plans{}", if *all { "?all=true" } else { "" });
            let plans = client.get::<Vec<PlanView>>(&path)?;
            match json {
                true => screen.json(&plans),
                false => list(&plans, &mut screen),
            }
        }
        PlanCommand::Show { name, wait, json } => {
            let plan = client.get::<PlanView>(&path(name))?;
            let plan = if *wait { wait_for(&client, plan, *json, &mut screen)? } else { plan };
            answer(&plan, *json, &mut screen)?;
            if *wait { need_done(&plan) } else { Ok(()) }
        }
        PlanCommand::Pause { name, reason } => {
            let ask = ReasonAsk { reason: reason.clone() };
            show(&client.post::<PlanView>(&format!("{}/pause", path(name)), &ask)?, &mut screen)
        }
        PlanCommand::Resume { name, deadline, hard_limit } => {
            let ask = ResumeAsk { deadline_s: deadline.map(seconds), hard_limit: *hard_limit };
            show(&client.post::<PlanView>(&format!("{}/resume", path(name)), &ask)?, &mut screen)
        }
        PlanCommand::Skip { name, server, reason, .. } => {
            let ask = SkipAsk { server: server.clone(), reason: reason.clone() };
            show(&client.post::<PlanView>(&format!("{}/skip", path(name)), &ask)?, &mut screen)
        }
        PlanCommand::Abort { name } => {
            let plan = client.post::<PlanView>(&format!("{}/abort", path(name)), &serde_json::json!({}))?;
            show(&plan, &mut screen)
        }
    }
}

/// Moves chosen servers to another aggregate.
///
/// # Errors
/// The cloud cannot be reached, or refuses; or the file cannot be read.
pub fn move_servers(
    which: &WhichArgs,
    args: &StartArgs,
    cloud: &CloudArgs,
    out: &mut impl Write,
) -> Result<()> {
    let servers = which.servers.as_ref().map(|file| {
        let text =
            std::fs::read_to_string(file).with_context(|| format!("{} cannot be read", file.display()))?;
        let text = text.trim_start_matches('\u{feff}');
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
        anyhow::Ok(lines.map(str::to_owned).collect::<Vec<_>>())
    });
    let servers = servers.transpose()?;
    if servers.as_ref().is_some_and(Vec::is_empty) {
        anyhow::bail!("the file names no servers");
    }
    let client = Client::login(&cloud::find(cloud)?)?;
    let (project, aggregate) = (which.project.clone(), which.aggregate.clone());
    start(&client, args, &mut Screen::new(out), |ask| {
        (ask.project, ask.aggregate, ask.servers) = (project, aggregate, servers.unwrap_or_default());
    })
}

/// Freezes all plans; with no reason it ends the freeze.
///
/// # Errors
/// The cloud cannot be reached, or refuses.
pub fn freeze(reason: Option<&str>, cloud: &CloudArgs, out: &mut impl Write) -> Result<()> {
    let client = Client::login(&cloud::find(cloud)?)?;
    let mut screen = Screen::new(out);
    match reason {
        Some(reason) => {
            let ask = ReasonAsk { reason: reason.to_owned() };
            client.post::<serde_json::Value>("/operator/v1/freeze", &ask)?;
            screen.line("No plan begins a move any more. Moves that are under way end. `lenticular thaw` ends the freeze.")
        }
        None => {
            client.post::<serde_json::Value>("/operator/v1/thaw", &serde_json::json!({}))?;
            screen.line("Plans go on.")
        }
    }
}

fn path(name: &str) -> String {
    format!("/operator/v1/plans/{}", escape(name))
}

fn seconds(hours: f64) -> i64 {
    (hours * 3_600.0) as i64
}

fn ask(args: &StartArgs) -> PlanAsk {
    PlanAsk {
        to: args.to.clone(),
        reason: args.reason.clone(),
        deadline_s: args.deadline.map(seconds),
        limits: LimitsAsk {
            per_host: args.per_host,
            per_rack: args.per_rack,
            per_zone: args.per_zone,
            between_servers_s: args.between_servers,
            between_hosts_s: args.between_hosts,
            hard_limit: args.hard_limit,
        },
        loosen: args.loosen.clone(),
        dry_run: args.plan,
        anyway: args.anyway,
        ..PlanAsk::default()
    }
}

/// Starts a plan whose goal `set` writes into the request, or shows what the plan would do.
///
/// # Errors
/// The cloud refuses, or does not answer any more; or the plan ended in another way than it should.
pub(crate) fn start<W: Write>(
    client: &Client,
    args: &StartArgs,
    screen: &mut Screen<W>,
    set: impl FnOnce(&mut PlanAsk),
) -> Result<()> {
    let mut ask = ask(args);
    set(&mut ask);
    let plan = client.post::<PlanView>("/operator/v1/plans", &ask)?;
    if !args.wait {
        return answer(&plan, args.json, screen);
    }
    let plan = wait_for(client, plan, args.json, screen)?;
    answer(&plan, args.json, screen)?;
    need_done(&plan)
}

fn answer<W: Write>(plan: &PlanView, json: bool, screen: &mut Screen<W>) -> Result<()> {
    match json {
        true => screen.json(plan),
        false => show(plan, screen),
    }
}

/// How often a plan is looked at, in milliseconds.
const LOOK_EVERY_MS: u64 = 500;

/// How often in a row the cloud may not answer: for a minute.
const UNHEARD_MAX: u64 = 60_000 / LOOK_EVERY_MS;

/// Looks at a plan until it does not run any more. Says each change in a line.
fn wait_for<W: Write>(
    client: &Client,
    mut plan: PlanView,
    quiet: bool,
    screen: &mut Screen<W>,
) -> Result<PlanView> {
    let (whole, mut said) = (path(&plan.name), String::new());
    loop {
        let line = progress(&plan);
        if !quiet && line != said {
            screen.line(&line)?;
            said = line;
        }
        if !matches!(plan.phase.as_str(), "running" | "frozen") {
            // What it did is read at its end.
            return look(client, &whole);
        }
        rest();
        plan = look(client, &format!("{whole}?steps=open"))?;
    }
}

/// Reads a plan. The control plane may restart; the plan goes on after that.
fn look(client: &Client, path: &str) -> Result<PlanView> {
    let mut unheard = 0;
    loop {
        match client.get::<PlanView>(path) {
            Err(_) if unheard < UNHEARD_MAX => {
                unheard += 1;
                rest();
            }
            read => return read.context("the plan may go on; see `lenticular plan show`"),
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "the cloud does not tell a client that a plan goes on")]
fn rest() {
    std::thread::sleep(Duration::from_millis(LOOK_EVERY_MS));
}

/// How far a plan is, in a line.
fn progress(plan: &PlanView) -> String {
    let done = plan.moved + plan.woken + plan.gone;
    let all = done + plan.under_way + plan.waiting;
    let moving = plan.steps.iter().filter_map(|step| match step.state.as_str() {
        "moving" | "landed" => {
            Some(format!("{} to {}", step.name, step.to.as_deref().unwrap_or("another host")))
        }
        "suspending" | "stopping" | "resuming" | "starting" => Some(format!("{} {}", step.state, step.name)),
        _ => None,
    });
    let moving: Vec<String> = moving.collect();
    let under_way = match moving.is_empty() {
        true => String::new(),
        false => format!("; under way: {}", moving.join(", ")),
    };
    // What holds all of the others back, if something does.
    let held: Vec<&PlanStepView> =
        plan.steps.iter().filter(|step| step.state == "waiting" && step.why.is_some()).collect();
    let all_held = plan.under_way == 0 && held.len() as u64 == plan.waiting;
    let held = held
        .first()
        .filter(|_| all_held)
        .map(|step| format!("; {} waits: {}", step.name, step.why.as_deref().unwrap_or_default()));
    let claim = plan.claims.first().filter(|_| plan.waiting + plan.under_way == 0);
    let claim = claim.map(|claim| format!("; {claim}"));
    let why = plan.why.as_ref().map(|why| format!(": {why}"));
    // A host that is being emptied is shown by its servers.
    let host = plan.host.as_ref().filter(|host| host.stage != "emptying");
    let host = host.map(|host| format!("; host {} is {}", host.host, host.stage));
    format!(
        "{}: {done} of {all} done, {}{}{}{under_way}{}{}",
        plan.name,
        plan.phase,
        why.unwrap_or_default(),
        host.unwrap_or_default(),
        held.unwrap_or_default(),
        claim.unwrap_or_default(),
    )
}

/// Fails unless the plan is done.
fn need_done(plan: &PlanView) -> Result<()> {
    let why = plan.why.as_deref().unwrap_or("somebody ended it");
    match plan.phase.as_str() {
        "done" => Ok(()),
        "paused" => Err(Unsuccessful::Waiting(format!("Plan {} is paused: {why}", plan.name)).into()),
        phase => Err(Unsuccessful::Refused(format!("Plan {} is {phase}: {why}", plan.name)).into()),
    }
}

fn list<W: Write>(plans: &[PlanView], screen: &mut Screen<W>) -> Result<()> {
    let mut table = Table::new(&[
        always("plan"),
        always("does"),
        always("phase"),
        always("moved"),
        always("under way"),
        always("waiting"),
        always("why"),
        dropped(1, "reason"),
        dropped(2, "by"),
        dropped(3, "since"),
        dropped(4, "ended"),
    ]);
    for plan in plans {
        table.row([
            &plan.name,
            &plan.goal,
            &plan.phase,
            &plan.moved.to_string(),
            &plan.under_way.to_string(),
            &plan.waiting.to_string(),
            plan.why.as_deref().unwrap_or_default(),
            &plan.reason,
            &plan.by,
            plan.since.as_deref().unwrap_or_default(),
            plan.ended.as_deref().unwrap_or_default(),
        ]);
    }
    table.print(screen)
}

fn show<W: Write>(plan: &PlanView, screen: &mut Screen<W>) -> Result<()> {
    let mut table = Table::pairs();
    let mut row = |name: &str, value: &str| {
        if !value.is_empty() {
            table.row([name, value]);
        }
    };
    row("plan", &plan.name);
    row("does", &plan.goal);
    row("to", plan.to.as_deref().map(|to| format!("aggregate {to}")).as_deref().unwrap_or_default());
    row("phase", &plan.phase);
    row("why", plan.why.as_deref().unwrap_or_default());
    row("reason", &plan.reason);
    row("by", &plan.by);
    row("since", plan.since.as_deref().unwrap_or_default());
    row("ended", plan.ended.as_deref().unwrap_or_default());
    row("deadline", plan.deadline.as_deref().unwrap_or_default());
    row("limits", &plan.limits.join("; "));
    row("loosened", plan.loosened.as_deref().unwrap_or_default());
    if plan.phase != "preview" {
        let PlanView { moved, woken, under_way, waiting, gone, .. } = plan;
        let woken = if *woken > 0 { format!("{woken} go on, ") } else { String::new() };
        row(
            "servers",
            &format!("{moved} moved, {woken}{under_way} under way, {waiting} waiting, {gone} gone"),
        );
    }
    if let Some(host) = &plan.host {
        let HostStepView { host, stage, since, why, before, after } = host;
        let why = why.as_ref().map(|why| format!(": {why}")).unwrap_or_default();
        row("host", &format!("{host}, {stage} since {since}{why}"));
        row("before", before);
        row("now", if before == after { "the same" } else { after });
    }
    row("pace", &pace(plan));
    plan.claims.iter().for_each(|claim| row("waits for", claim));
    table.print(screen)?;
    match (plan.steps.is_empty(), plan.phase.as_str()) {
        (true, "preview") => screen.line("No server has to move."),
        (true, _) => Ok(()),
        _ => steps(&plan.steps, screen),
    }
}

fn pace(plan: &PlanView) -> String {
    plan.pace.as_ref().map_or(String::new(), |pace| {
        format!(
            "asked for at least {} s from start to start; it was {:.1} to {:.1} s, {:.1} moves per minute, at most {} under \
             way",
            pace.asked_gap_s, pace.shortest_gap_s, pace.longest_gap_s, pace.per_minute, pace.most_under_way
        )
    })
}

fn steps<W: Write>(steps: &[PlanStepView], screen: &mut Screen<W>) -> Result<()> {
    let mut table = Table::new(&[
        always("step"),
        always("server"),
        dropped(3, "from"),
        always("to"),
        dropped(2, "how"),
        always("state"),
        always("why"),
        dropped(1, "next try"),
        dropped(4, "id"),
    ]);
    for step in steps {
        table.row([
            &step.number.to_string(),
            &step.name,
            &step.from,
            step.to.as_deref().unwrap_or_default(),
            step.mode.as_deref().unwrap_or_default(),
            &step.state,
            step.why.as_deref().unwrap_or_default(),
            step.next_try.as_deref().unwrap_or_default(),
            &step.server,
        ]);
    }
    table.print(screen)
}

#[cfg(test)]
mod tests {
    use super::*;
    use lenticular_wire::operator::PaceView;

    fn step(number: u64, name: &str, state: &str) -> PlanStepView {
        PlanStepView {
            number,
            server: format!("11111111-1111-4111-8111-00000000000{number}"),
            name: name.to_owned(),
            from: "rack-1-host-01".to_owned(),
            state: state.to_owned(),
            ..PlanStepView::default()
        }
    }

    fn view() -> PlanView {
        let to = |to: &str, mode: &str, step| PlanStepView {
            to: Some(to.to_owned()),
            mode: Some(mode.to_owned()),
            ..step
        };
        let held = PlanStepView {
            why: Some("its owner does not allow it (lenticular:maintenance=none in its metadata)".to_owned()),
            ..step(3, "db-1", "waiting")
        };
        PlanView {
            name: "drain-rack-1-host-01-4711".to_owned(),
            goal: "drain rack-1-host-01".to_owned(),
            phase: "running".to_owned(),
            reason: "a new kernel".to_owned(),
            by: "admin".to_owned(),
            since: Some("2026-11-30T09:00:00Z".to_owned()),
            limits: vec!["2 moves at a time per host".to_owned(), "2 s between servers".to_owned()],
            moved: 1,
            under_way: 1,
            waiting: 1,
            pace: Some(PaceView {
                asked_gap_s: 2,
                shortest_gap_s: 2.1,
                longest_gap_s: 9.0,
                per_minute: 6.5,
                most_under_way: 2,
            }),
            steps: vec![
                to("rack-1-host-02", "live", step(1, "web-1", "moved")),
                to("rack-2-host-01", "cold", step(2, "web-2", "moving")),
                held,
            ],
            ..PlanView::default()
        }
    }

    #[test]
    fn a_plan_is_shown_with_its_steps() {
        insta::assert_snapshot!(Screen::printed(|screen| show(&view(), screen)));
    }

    #[test]
    fn plans_are_a_table() {
        let why = Some("3 moves in a row failed".to_owned());
        let halted = PlanView { phase: "halted".to_owned(), why, ..view() };
        insta::assert_snapshot!(Screen::printed(|screen| list(&[view(), halted], screen)));
    }

    #[test]
    fn progress_is_a_line() {
        let waits = PlanView { under_way: 0, steps: view().steps.split_off(2), ..view() };
        let claims = vec!["server a (1) may come back".to_owned()];
        let (steps, under_way, waiting) = (Vec::new(), 0, 0);
        let claimed = PlanView { steps, under_way, waiting, claims, ..view() };
        let lines: Vec<String> = [view(), waits, claimed].iter().map(progress).collect();
        insta::assert_snapshot!(lines.join("\n"));
    }

    #[test]
    fn scripts_learn_how_a_plan_ended() {
        let exit = |phase: &str| {
            let ended = need_done(&PlanView { phase: phase.to_owned(), ..view() });
            ended.err().map(|error| match error.downcast_ref::<Unsuccessful>() {
                Some(Unsuccessful::Refused(_)) => 2,
                Some(Unsuccessful::Waiting(_)) => 3,
                None => 1,
            })
        };
        let seen = ["done", "paused", "halted", "aborted"].map(exit);
        assert_eq!(seen, [None, Some(3), Some(2), Some(2)]);
    }
}
