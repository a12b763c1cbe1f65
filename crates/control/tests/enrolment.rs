//! Enrolment: the uses of a token, the certificates that speak for a host, and the retirement of a host.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "common/registration.rs"]
mod registration;

use lenticular_control::{
    command::host::enrolment::{Newcomer, TokenAsk, admitted, enrol, judge, make_token, renew, retire},
    lifecycle::disk,
    observe::host::{begin_session, in_session},
};
use lenticular_model::{
    HostId, Incarnation, ServerId, State, Timestamp, Txn, UserId,
    compute::server::{Condition, Server},
    error::{Kind as ErrorKind, Result},
    host::{
        enrolment::Issued,
        host::{Heartbeat, Host},
    },
    policy::{Caller, RoleLevel, Scope},
};
use registration::registration;

const HOUR_S: i64 = 3_600;

struct Cloud {
    state: State,
    at: Timestamp,
    entropy: u8,
}

impl Cloud {
    fn new() -> Self {
        let at = Timestamp(1_000_000_000_000_000);
        Self { state: State::new(Incarnation::from_random([1; 16]), at), at, entropy: 1 }
    }

    /// Runs a command like the writer: its transaction counts only if it does not refuse.
    fn run<T>(&mut self, command: impl FnOnce(&mut Txn<'_>) -> Result<T>) -> Result<T> {
        let mut entropy = || {
            self.entropy += 1;
            [self.entropy; 16]
        };
        let mut txn = Txn::new(&self.state, self.at, &mut entropy);
        let done = command(&mut txn)?;
        self.state = txn.finish().0;
        Ok(done)
    }

    fn token(&mut self, secret: &str, name: Option<&str>, replaces: bool) -> Result<Timestamp> {
        let ask = TokenAsk {
            secret_sha256: secret.to_owned(),
            host_name: name.map(str::to_owned),
            replaces,
            valid_for_s: HOUR_S,
        };
        self.run(|txn| make_token(txn, Some(&caller(RoleLevel::Admin)), ask))
    }

    /// A host with this key shows a token.
    fn enrol(&mut self, secret: &str, name: &str, key: &str) -> Result<()> {
        let issued = issued(&format!("{name}-{key}"));
        self.run(|txn| enrol(txn, &newcomer(secret, name, key), issued))
    }

    /// The code of the refusal.
    fn refused(&mut self, secret: &str, name: &str, key: &str) -> &'static str {
        let before = self.state.seq;
        let error = self.enrol(secret, name, key).unwrap_err();
        assert_eq!(self.state.seq, before);
        error.code
    }

    fn begin_session(&mut self, name: &str) -> Heartbeat {
        let intro = registration(name, "");
        self.run(|txn| begin_session(txn, intro)).unwrap()
    }

    fn put(&mut self, server: Server) {
        self.run(|txn| {
            disk::create(txn, &server);
            txn.put(server);
            Ok(())
        })
        .unwrap();
    }

    fn retire(&mut self, name: &str, force: bool) -> Result<Vec<ServerId>> {
        self.run(|txn| retire(txn, &caller(RoleLevel::Admin), name, force)).map(|retired| retired.lost)
    }
}

fn caller(level: RoleLevel) -> Caller {
    Caller { user_id: UserId::from_random([1; 16]), scope: Scope::System, level, request_id: String::new() }
}

fn newcomer(secret: &str, name: &str, key: &str) -> Newcomer {
    Newcomer { secret_sha256: secret.to_owned(), host_name: name.to_owned(), key_sha256: key.to_owned() }
}

fn issued(serial: &str) -> Issued {
    Issued { serial: serial.to_owned(), expires_at: Timestamp(i64::MAX) }
}

/// A server as an older binary might have written it.
fn server(number: u8, host: HostId, wanted: &str) -> Server {
    let id = |n: u8| uuid_text([n; 16]);
    serde_json::from_value(serde_json::json!({
        "id": ServerId::from_random([number; 16]), "project_id": id(1), "user_id": id(2), "name": format!("web-{number}"),
        "description": null, "hostname": "web", "flavor_id": "small", "flavor_name": "small",
        "size": {"vcpus": 1, "ram_mb": 128, "disk_gb": 1, "ephemeral_gb": 0, "swap_mb": 0}, "extra_specs": {},
        "image_id": id(3), "base": "", "base_format": "raw", "key": null, "metadata": {}, "tags": [], "locked": null,
        "config_drive": false, "has_user_data": false, "disk_config_manual": false, "access_ipv4": "",
        "access_ipv6": "", "wanted_zone": null, "reservation_id": "", "launch_index": 0, "host_id": host,
        "wanted": wanted, "boot": 1, "boot_style": "hard",
        "condition": "active", "task": null, "fault": null, "powered": true, "launched_at": null,
        "ssh_forward": null,
    }))
    .unwrap()
}

fn uuid_text(bytes: [u8; 16]) -> String {
    HostId::from_random(bytes).to_string()
}

#[test]
fn a_token_admits_one_host_once() {
    let mut cloud = Cloud::new();
    cloud.token("t", None, false).unwrap();
    assert_eq!(cloud.refused("other", "rack-1", "k"), "TokenUnknown");
    cloud.enrol("t", "rack-1", "k").unwrap();
    admitted(&cloud.state, "rack-1", "rack-1-k").unwrap();
    // The same host may ask again, because the answer was lost. No other host may, under any name.
    cloud.enrol("t", "rack-1", "k").unwrap();
    assert_eq!(cloud.refused("t", "rack-1", "thief"), "TokenUsed");
    assert_eq!(cloud.refused("t", "rack-2", "k"), "TokenUsed");
    cloud.at = cloud.at.plus_s(HOUR_S);
    assert_eq!(cloud.refused("t", "rack-1", "k"), "TokenUsed");
}

#[test]
fn tokens_expire_and_are_forgotten_later() {
    let mut cloud = Cloud::new();
    cloud.token("t", None, false).unwrap();
    cloud.at = cloud.at.plus_s(HOUR_S);
    assert_eq!(cloud.refused("t", "rack-1", "k"), "TokenExpired");
    cloud.at = cloud.at.plus_s(8 * 24 * HOUR_S);
    cloud.token("u", None, false).unwrap();
    assert_eq!(cloud.state.join_tokens.len(), 1);
    assert_eq!(cloud.refused("t", "rack-1", "k"), "TokenUnknown");
}

#[test]
fn a_name_that_is_taken_needs_a_token_that_replaces_it() {
    let mut cloud = Cloud::new();
    cloud.token("a", None, false).unwrap();
    cloud.enrol("a", "rack-1", "k").unwrap();
    cloud.token("b", None, false).unwrap();
    assert_eq!(cloud.refused("b", "rack-1", "k2"), "NameEnrolled");
    assert_eq!(cloud.token("c", Some("rack-1"), false).unwrap_err().code, "NameEnrolled");
    cloud.token("c", Some("rack-1"), true).unwrap();
    assert_eq!(cloud.refused("c", "rack-2", "k2"), "TokenForAnother");
    let session = cloud.begin_session("rack-1");
    cloud.enrol("c", "rack-1", "k2").unwrap();
    // The earlier certificate no longer speaks for the name, and its session has ended.
    assert_eq!(admitted(&cloud.state, "rack-1", "rack-1-k").unwrap_err().code, "CertificateRevoked");
    admitted(&cloud.state, "rack-1", "rack-1-k2").unwrap();
    assert!(in_session(&cloud.state, session.id, session.session).is_err());
    assert!(cloud.state.hosts.contains_key(&session.id), "the host itself stays");
}

#[test]
fn an_unenrolled_host_is_admitted_only_by_a_token_with_its_name() {
    let mut cloud = Cloud::new();
    cloud.begin_session("rack-1");
    cloud.token("a", None, false).unwrap();
    assert_eq!(cloud.refused("a", "rack-1", "k"), "NameKnown");
    cloud.token("b", Some("rack-1"), false).unwrap();
    cloud.enrol("b", "rack-1", "k").unwrap();
}

#[test]
fn invalid_requests_are_refused() {
    let mut cloud = Cloud::new();
    assert!(cloud.token("a", None, true).is_err(), "whom would it replace?");
    assert!(cloud.token("a", Some("10.0.0.1"), false).is_err());
    for valid_for_s in [0, -1, 31 * 24 * HOUR_S] {
        let ask = TokenAsk { secret_sha256: "a".to_owned(), host_name: None, replaces: false, valid_for_s };
        assert!(cloud.run(|txn| make_token(txn, None, ask)).is_err());
    }
    let ask = TokenAsk { secret_sha256: "a".to_owned(), host_name: None, replaces: false, valid_for_s: 1 };
    let member = caller(RoleLevel::Manager);
    assert_eq!(cloud.run(|txn| make_token(txn, Some(&member), ask)).unwrap_err().kind, ErrorKind::Forbidden);
    let error = cloud.run(|txn| retire(txn, &member, "rack-1", false)).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Forbidden);
    cloud.token("b", None, false).unwrap();
    assert_eq!(
        judge(&cloud.state, &newcomer("b", "a b", "k"), cloud.at).unwrap_err().kind,
        ErrorKind::Invalid
    );
}

#[test]
fn a_renewal_keeps_the_shown_certificate_until_the_next_renewal() {
    let mut cloud = Cloud::new();
    cloud.token("t", None, false).unwrap();
    cloud.enrol("t", "rack-1", "k").unwrap();
    let renewed =
        |cloud: &mut Cloud, shown: &str, new: &str| cloud.run(|txn| renew(txn, "rack-1", shown, issued(new)));
    // The first answer is lost: the host renews again with its present certificate.
    renewed(&mut cloud, "rack-1-k", "lost").unwrap();
    renewed(&mut cloud, "rack-1-k", "second").unwrap();
    assert!(admitted(&cloud.state, "rack-1", "lost").is_err());
    admitted(&cloud.state, "rack-1", "rack-1-k").unwrap();
    renewed(&mut cloud, "second", "third").unwrap();
    assert!(admitted(&cloud.state, "rack-1", "rack-1-k").is_err());
    admitted(&cloud.state, "rack-1", "second").unwrap();
    assert_eq!(renewed(&mut cloud, "rack-1-k", "fourth").unwrap_err().code, "CertificateRevoked");
}

#[test]
fn a_host_without_servers_is_retired_with_all_it_had() {
    let mut cloud = Cloud::new();
    cloud.token("t", None, false).unwrap();
    cloud.enrol("t", "rack-1", "k").unwrap();
    let session = cloud.begin_session("rack-1");
    assert_eq!(cloud.retire("rack-1", false).unwrap(), []);
    assert_eq!(admitted(&cloud.state, "rack-1", "rack-1-k").unwrap_err().code, "HostRetired");
    assert!(in_session(&cloud.state, session.id, session.session).is_err());
    assert!(cloud.state.hosts.is_empty() && cloud.state.enrolments.is_empty());
    assert_eq!(cloud.retire("rack-1", false).unwrap_err().kind, ErrorKind::NotFound);
    // A host that never registered is retired as well.
    cloud.token("u", None, false).unwrap();
    cloud.enrol("u", "rack-1", "k").unwrap();
    cloud.retire("rack-1", false).unwrap();
}

#[test]
fn a_host_with_servers_is_retired_only_if_it_is_lost() {
    let mut cloud = Cloud::new();
    let host = cloud.begin_session("rack-1").id;
    cloud.put(server(1, host, "running"));
    cloud.put(server(2, host, "absent"));
    for force in [false, true] {
        let error = cloud.retire("rack-1", force).unwrap_err();
        assert_eq!((error.kind, error.code), (ErrorKind::Conflict, "HostHasServers"));
        assert!(error.message.contains("web-1") && error.message.contains("web-2"), "{error}");
    }
    let now = cloud.at;
    cloud
        .run(|txn| {
            txn.update::<Host>(&host, |host| host.silent_since = Some(now));
            Ok(())
        })
        .unwrap();
    assert!(cloud.retire("rack-1", false).unwrap_err().message.contains("--force"));
    let (lost, gone) = (ServerId::from_random([1; 16]), ServerId::from_random([2; 16]));
    assert_eq!(cloud.retire("rack-1", true).unwrap(), [lost]);
    let left = &cloud.state.servers[&lost];
    assert_eq!((left.host_id, left.condition), (None, Condition::Error));
    assert!(left.fault.as_ref().unwrap().message.contains("rack-1"));
    assert!(!cloud.state.servers.contains_key(&gone), "nobody is left to confirm a tombstone");
    assert!(cloud.state.servers.values().all(|server| server.host_id.is_none()));
    cloud.state.check_indexes().unwrap();
}
