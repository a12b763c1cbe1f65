//! Nova's filters for a listing of servers, by the columns of Nova's database.

use super::pattern::Pattern;
use crate::{ctx::Ctx, query::Query};
use lenticular_model::{
    ProjectId, State, Timestamp,
    compute::server::Server,
    error::{Error, Result},
    policy::{self, Action},
};
use lenticular_wire::request::text_bool;
use std::{borrow::Cow, ops::RangeInclusive};

/// A listing's filters.
pub struct Filter {
    /// The project that owns the listed servers; `None` for all projects.
    pub project: Option<ProjectId>,
    /// Which servers the listing reads.
    pub which: Which,
    /// The listing leaves out servers that last changed before this time.
    pub since: Option<Timestamp>,
    /// Whether soft-deleted servers are listed.
    pub soft_deleted: bool,
    tests: Vec<Test>,
}

/// Existing servers, deleted servers, or both.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Which {
    /// No servers: the filters exclude each other.
    Nothing,
    /// Existing servers.
    Live,
    /// Deleted servers.
    Deleted,
    /// Both, for clients that ask for changes.
    Both,
}

/// One filter with its value.
enum Test {
    Exact(Column, String),
    Pattern(Column, Pattern),
    Flag(Flag, bool),
    At(fn(&Server) -> Option<Timestamp>, Box<(Pattern, Option<Timestamp>)>),
    Status(Vec<String>),
    Address { is_v4: bool, wanted: Pattern },
    Changed(RangeInclusive<Timestamp>),
    Tags(TagRule, Vec<String>),
}

/// The value of a column, as a text.
pub type Column = for<'a> fn(&'a State, &'a Server) -> Cow<'a, str>;

/// Columns that match only if the whole value is equal.
const EXACT: &[(&str, Column)] = &[
    ("user_id", |_, s| s.user_id.to_string().into()),
    ("uuid", |_, s| s.id.to_string().into()),
    ("image", |_, s| s.image_id.to_string().into()),
    ("image_ref", |_, s| s.image_id.to_string().into()),
    ("flavor", |_, s| s.flavor_id.as_str().into()),
    ("host", |state, s| host_name(state, s).into()),
    ("vm_state", |_, s| s.vm_state().into()),
    ("task_state", |_, s| s.task.as_ref().map_or("", |t| t.action.task_state()).into()),
    ("launch_index", |_, s| s.launch_index.to_string().into()),
];

/// Columns that a regular expression is searched in.
const SEARCHED: &[(&str, Column)] = &[
    ("name", |_, s| s.name.as_str().into()),
    ("display_name", |_, s| s.name.as_str().into()),
    ("description", |_, s| s.description.as_deref().unwrap_or("").into()),
    ("display_description", |_, s| s.description.as_deref().unwrap_or("").into()),
    ("hostname", |_, s| s.hostname.as_str().into()),
    ("key_name", |_, s| s.key.as_ref().map_or("", |key| &key.name).into()),
    ("reservation_id", |_, s| (*s.reservation_id).into()),
    ("power_state", |_, s| s.power_state().to_string().into()),
    ("progress", |_, s| s.progress().to_string().into()),
    ("locked_by", |_, s| s.locked_by().into()),
    ("node", |state, s| host_name(state, s).into()),
    ("availability_zone", |state, s| {
        s.host_id.and_then(|id| state.hosts.get(&id)).map_or("", |h| &h.zone).into()
    }),
    ("access_ip_v4", |_, s| s.access_ipv4.as_str().into()),
    ("access_ip_v6", |_, s| s.access_ipv6.as_str().into()),
    ("root_device_name", |_, _| "/dev/vda".into()),
    // Guests boot from their disks.
    ("kernel_id", |_, _| "".into()),
    ("ramdisk_id", |_, _| "".into()),
];

type Flag = fn(&State, &Server) -> bool;

const FLAGS: &[(&str, Flag)] = &[
    ("config_drive", |state, s| s.has_config_drive(state)),
    ("auto_disk_config", |_, s| !s.disk_config_manual),
];

type Time = fn(&Server) -> Option<Timestamp>;

const TIMES: &[(&str, Time)] = &[
    ("created_at", |s| Some(s.created_at)),
    ("launched_at", |s| s.launched_at),
    ("terminated_at", |s| s.terminated_at),
];

/// Every status that Nova knows.
const STATUSES: &[&str] = &[
    "ACTIVE",
    "REBOOT",
    "HARD_REBOOT",
    "PASSWORD",
    "REBUILD",
    "MIGRATING",
    "RESIZE",
    "BUILD",
    "SHUTOFF",
    "VERIFY_RESIZE",
    "REVERT_RESIZE",
    "PAUSED",
    "SUSPENDED",
    "RESCUE",
    "ERROR",
    "DELETED",
    "SOFT_DELETED",
    "SHELVED",
    "SHELVED_OFFLOADED",
];

fn host_name<'a>(state: &'a State, server: &Server) -> &'a str {
    server.host_id.and_then(|id| state.hosts.get(&id)).map_or("", |h| &h.name)
}

/// The value of a column.
pub fn column(name: &str) -> Option<Column> {
    EXACT.iter().chain(SEARCHED).find(|(known, _)| *known == name).map(|(_, column)| *column)
}

/// The last part of a text that may be a URL.
fn last_part(text: &str) -> &str {
    text.rsplit('/').next().unwrap_or(text)
}

impl Filter {
    /// Reads the filters of a request, and checks that the caller may use them.
    ///
    /// # Errors
    /// The caller may not, or a value has the wrong type.
    pub fn read(ctx: &Ctx) -> Result<Self> {
        let query = &ctx.query;
        let all = query.flag("all_tenants")?.unwrap_or(false);
        policy::check(&ctx.caller, if all { Action::ServerReadAll } else { Action::ServerRead }, None)?;
        let changes = query.changes()?;
        let asks_changes = ["changes-since", "changes-before"].iter().any(|n| query.get(n).is_some());
        let mut which = match query.get("deleted").map(|text| text_bool(text.trim()).unwrap_or(false)) {
            Some(true) => Which::Deleted,
            None if asks_changes => Which::Both,
            _ => Which::Live,
        };
        let mut tests = Vec::new();
        let statuses = statuses(ctx)?;
        match statuses.as_deref() {
            None => {}
            Some([]) => which = Which::Nothing,
            Some([only]) if only == "DELETED" && !ctx.caller.is_admin() => {
                return Err(Error::forbidden("Only administrators may list deleted instances"));
            }
            Some([only]) if only == "DELETED" => which = Which::Deleted,
            Some(_) => {}
        }
        let asks_soft = statuses.iter().flatten().any(|status| status == "SOFT_DELETED");
        let soft_deleted = query.flag("soft_deleted")?.unwrap_or(asks_soft || which != Which::Live);
        tests.extend(statuses.map(Test::Status));
        let since = asks_changes.then(|| *changes.start());
        tests.extend(asks_changes.then_some(Test::Changed(changes)));
        let asked = query.get("project_id").or(query.get("tenant_id"));
        let project = match (asked, all) {
            (Some(text), true) => {
                let id = text.parse().ok();
                which = if id.is_some() { which } else { Which::Nothing };
                id
            }
            (None, true) => None,
            (_, false) => Some(ctx.caller.need_project()?),
        };
        read_tests(query, &mut tests)?;
        Ok(Self { project, which, since, soft_deleted, tests })
    }

    /// Whether a server is listed.
    pub fn matches(&self, state: &State, server: &Server) -> bool {
        let soft_deleted = server.reclaim_at.is_some() && server.terminated_at.is_none();
        self.project.is_none_or(|p| server.project_id == p)
            && (self.soft_deleted || !soft_deleted)
            && self.tests.iter().all(|test| test.holds(state, server))
    }
}

/// The known statuses among the requested ones; `None` if the request names none.
fn statuses(ctx: &Ctx) -> Result<Option<Vec<String>>> {
    let asked: Vec<String> = ctx.query.all("status").map(str::to_ascii_uppercase).collect();
    if asked.is_empty() {
        return Ok(None);
    }
    let mut known: Vec<String> = asked.into_iter().filter(|s| STATUSES.contains(&s.as_str())).collect();
    known.sort();
    known.dedup();
    match known.is_empty() && ctx.version.has(38) {
        true => Err(Error::invalid("Invalid status value")),
        false => Ok(Some(known)),
    }
}

fn read_tests(query: &Query, tests: &mut Vec<Test>) -> Result<()> {
    for (name, column) in EXACT {
        tests.extend(query.get(name).map(|text| Test::Exact(*column, last_part(text).to_owned())));
    }
    for (name, column) in SEARCHED {
        if let Some(text) = query.get(name) {
            tests.push(Test::Pattern(*column, Pattern::anywhere(name, text)?));
        }
    }
    for (name, flag) in FLAGS {
        if let Some(text) = query.get(name) {
            let wanted = text_bool(text).ok_or_else(|| not_flag(name, text))?;
            tests.push(Test::Flag(*flag, wanted));
        }
    }
    if let Some(text) = query.get("locked") {
        let wanted = text_bool(text).ok_or_else(|| not_flag("locked", text))?;
        tests.push(Test::Flag(|_, s| s.locked.is_some(), wanted));
    }
    for (name, time) in TIMES {
        if let Some(text) = query.get(name) {
            let wanted = (Pattern::anywhere(name, text)?, Timestamp::parse(text));
            tests.push(Test::At(*time, Box::new(wanted)));
        }
    }
    for (name, is_v4) in [("ip", true), ("ip6", false)] {
        if let Some(text) = query.get(name) {
            tests.push(Test::Address { is_v4, wanted: Pattern::at_start(name, text)? });
        }
    }
    let rules = [
        ("tags", TagRule::All),
        ("tags-any", TagRule::Any),
        ("not-tags", TagRule::NotAll),
        ("not-tags-any", TagRule::NotAny),
    ];
    for (name, rule) in rules {
        let list = query.get(name).map(|list| list.split(',').map(str::to_owned).collect());
        tests.extend(list.map(|list| Test::Tags(rule, list)));
    }
    Ok(())
}

fn not_flag(name: &str, text: &str) -> Error {
    Error::invalid(format!(
        "Invalid input for query parameters {name}. Value: {text}. It must be true or false."
    ))
}

impl Test {
    fn holds(&self, state: &State, server: &Server) -> bool {
        match self {
            Self::Exact(column, wanted) => *column(state, server) == **wanted,
            Self::Pattern(column, wanted) => wanted.matches(&column(state, server)),
            Self::Flag(flag, wanted) => flag(state, server) == *wanted,
            Self::At(time, wanted) => time(server).is_some_and(|at| is_at(at, wanted)),
            Self::Status(wanted) => wanted.iter().any(|status| status == server.status()),
            Self::Address { is_v4, wanted } => {
                let mut all =
                    state.ports_of_server(server.id).flat_map(|port| &port.fixed_ips).map(|ip| ip.ip_address);
                all.any(|ip| ip.is_ipv4() == *is_v4 && wanted.matches(&ip.to_string()))
            }
            Self::Changed(when) => when.contains(&server.changed_at()),
            Self::Tags(rule, tags) => rule.holds(tags, server),
        }
    }
}

/// Whether a time equals the requested time, to the second, or matches the expression as a text.
fn is_at(at: Timestamp, (pattern, time): &(Pattern, Option<Timestamp>)) -> bool {
    let is_same = time.is_some_and(|time| time.unix_s() == at.unix_s());
    is_same || pattern.matches(&at.iso()) || pattern.matches(&at.iso_naive_us().replace('T', " "))
}

#[derive(Clone, Copy)]
enum TagRule {
    All,
    Any,
    NotAll,
    NotAny,
}

impl TagRule {
    fn holds(self, tags: &[String], server: &Server) -> bool {
        let all = || tags.iter().all(|t| server.tags.contains(t));
        let any = || tags.iter().any(|t| server.tags.contains(t));
        match self {
            TagRule::All => all(),
            TagRule::Any => any(),
            TagRule::NotAll => !all(),
            TagRule::NotAny => !any(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lenticular_wire::compute::query::SERVERS;

    #[test]
    fn every_parameter_that_is_taken_is_honoured() {
        let elsewhere = [
            "project_id",
            "tenant_id",
            "all_tenants",
            "deleted",
            "status",
            "ip",
            "ip6",
            "sort_key",
            "sort_dir",
            "limit",
            "marker",
            "changes-since",
            "changes-before",
            "tags",
            "tags-any",
            "not-tags",
            "not-tags-any",
            "locked",
            "soft_deleted",
        ];
        for param in SERVERS.params {
            let here = column(param.name).is_some()
                || FLAGS.iter().any(|(name, _)| *name == param.name)
                || TIMES.iter().any(|(name, _)| *name == param.name);
            assert!(here != elsewhere.contains(&param.name), "{}", param.name);
        }
    }

    #[test]
    fn a_time_is_found_by_itself_and_by_its_beginning() {
        let at = Timestamp(1_424_783_096_000_123);
        let found =
            |text: &str| is_at(at, &(Pattern::anywhere("created_at", text).unwrap(), Timestamp::parse(text)));
        for good in ["2015-02-24T13:04:56Z", "2015-02-24T13:04:56.000123", "2015-02-24 13:04:56", "^2015-02"]
        {
            assert!(found(good), "{good}");
        }
        assert!(!found("2015-02-24T13:04:57Z") && !found("^2016"));
    }
}
