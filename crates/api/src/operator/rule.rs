//! Rules about hosts, for operators.

use super::readiness::user_name;
use crate::{body::Message, ctx::Ctx, fault::Handled, respond::json};
use axum::extract::Path;
use lenticular_control::command::host::rule::{self, Effects, NewRule};
use lenticular_model::{
    HostId, HostRuleId, State,
    error::{Error, Result},
    host::{
        host::Host,
        rule::{Effect, HostRule, Scope, Subject},
    },
    policy::{self, Action},
};
use lenticular_wire::operator::{ClosedHost, EnforceAsk, Nothing, RuleAsk, RuleEffects, RuleView};

/// `GET /operator/v1/rules`
pub async fn list(ctx: Ctx) -> Handled {
    policy::check(&ctx.caller, Action::OperatorRead, None)?;
    let views: Vec<RuleView> = ctx.state.host_rules.values().map(|rule| view(&ctx.state, rule)).collect();
    json(200, &views)
}

/// `POST /operator/v1/rules`
pub async fn add(ctx: Ctx, Message(ask): Message<RuleAsk>) -> Handled {
    policy::check(&ctx.caller, Action::HostRuleWrite, None)?;
    let new = read(&ctx.state, &ask)?;
    if ask.draft && ask.dry_run {
        return Err(Error::invalid("A draft shows what it would close: leave dry_run out.").into());
    }
    if ask.dry_run {
        let (would_be, effects) = rule::preview(&ctx.state, &ctx.caller, &new)?;
        return json(200, &answer(&ctx.state, &would_be, false, effects));
    }
    let yes_close = ask.yes_close;
    let why = format!("{} {} '{}': {}", ask.effect, ask.subject, ask.range, ask.reason);
    let (added, effects) =
        ctx.commit(&why, move |txn, caller| rule::add(txn, caller, &new, yes_close)).await?;
    json(201, &answer(&ctx.app.store.state(), &added, true, effects))
}

/// `POST /operator/v1/rules/{rule}/enforce`
pub async fn enforce(ctx: Ctx, Path(name): Path<String>, Message(ask): Message<EnforceAsk>) -> Handled {
    policy::check(&ctx.caller, Action::HostRuleWrite, None)?;
    let (id, why) = (HostRuleId::from(name.as_str()), format!("enforce rule {name}"));
    let (rule, effects) =
        ctx.commit(&why, move |txn, caller| rule::enforce(txn, caller, &id, ask.yes_close)).await?;
    json(200, &answer(&ctx.app.store.state(), &rule, true, effects))
}

/// `POST /operator/v1/rules/{rule}/remove`
pub async fn remove(ctx: Ctx, Path(name): Path<String>) -> Handled {
    let id = HostRuleId::from(name.as_str());
    let why = format!("remove rule {name}");
    ctx.commit(&why, move |txn, caller| rule::remove(txn, caller, &id)).await?;
    json(200, &Nothing {})
}

fn read(state: &State, ask: &RuleAsk) -> Result<NewRule> {
    let effect = Effect::from_name(&ask.effect);
    let effect = effect.ok_or_else(|| {
        Error::invalid(format!("A rule's effect is deny or require, not '{}'.", ask.effect))
    })?;
    let scope = match (&ask.zone, &ask.aggregate) {
        (None, None) => Scope::All,
        (Some(zone), None) => Scope::Zone(zone.clone()),
        (None, Some(name)) => {
            let missing = || Error::invalid(format!("There is no aggregate {name}."));
            Scope::Aggregate(state.aggregate_named(name).ok_or_else(missing)?.id)
        }
        (Some(_), Some(_)) => {
            return Err(Error::invalid("A rule is about a zone or about an aggregate, not about both."));
        }
    };
    Ok(NewRule {
        name: ask.name.clone(),
        effect,
        subject: match ask.subject.strip_prefix("check:") {
            Some(check) => Subject::Check(check.to_owned()),
            None => Subject::Version(ask.subject.clone()),
        },
        range: ask.range.parse()?,
        scope,
        reason: ask.reason.clone(),
        link: ask.link.clone(),
        draft: ask.draft,
    })
}

fn answer(state: &State, rule: &HostRule, added: bool, effects: Effects) -> RuleEffects {
    let closed = |id: &HostId| {
        let host = state.hosts.get(id)?;
        let (name, zone) = (host.name.clone(), host.zone.clone());
        Some(ClosedHost { name, zone, servers: state.taken_of_host(*id).servers })
    };
    RuleEffects {
        rule: RuleView { since: added.then(|| rule.created_at.iso()), ..view(state, rule) },
        added,
        closes: effects.closes.iter().filter_map(closed).collect(),
        unknown: names(state, &effects.unknown),
        too_much: effects.too_much,
    }
}

fn names(state: &State, hosts: &[HostId]) -> Vec<String> {
    hosts.iter().filter_map(|id| Some(state.hosts.get(id)?.name.clone())).collect()
}

fn view(state: &State, rule: &HostRule) -> RuleView {
    let breaches = |host: &std::sync::Arc<Host>| {
        let number = state.host_table().hosts.get(&host.id).map(|candidate| candidate.class);
        let class = number.and_then(|number| state.host_table().classes.get(number))?;
        class.breach(rule).map(|_| (host.name.clone(), class.lacks(&rule.subject)))
    };
    let broken: Vec<(String, bool)> = state.hosts_by_name().filter_map(breaches).collect();
    RuleView {
        name: rule.id.to_string(),
        effect: rule.effect.name().to_owned(),
        subject: match &rule.subject {
            Subject::Version(name) => name.clone(),
            Subject::Check(name) => format!("check:{name}"),
        },
        range: rule.range.to_string(),
        scope: match &rule.scope {
            Scope::All => "all hosts".to_owned(),
            Scope::Zone(zone) => format!("zone {zone}"),
            Scope::Aggregate(id) => {
                format!(
                    "aggregate {}",
                    state.aggregates.get(id).map_or_else(|| id.to_string(), |of| of.name.clone())
                )
            }
        },
        reason: rule.reason.clone(),
        link: rule.link.clone(),
        by: user_name(state, rule.user_id),
        since: Some(rule.created_at.iso()),
        draft: rule.draft,
        unknown: broken.iter().filter(|(_, unknown)| *unknown).map(|(name, _)| name.clone()).collect(),
        hosts: broken.into_iter().map(|(name, _)| name).collect(),
    }
}
