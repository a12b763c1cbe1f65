//! The documents for guests, by path: in OpenStack's layout and in EC2's.

use super::{Caller, Guests};
use crate::{
    config_drive::{self, Kept, VERSIONS},
    link::LinkError,
};
use serde_json::{Value, json};
use std::net::IpAddr;

const EC2: &[&str] = &[
    "1.0",
    "2007-01-19",
    "2007-03-01",
    "2007-08-29",
    "2007-10-10",
    "2007-12-15",
    "2008-02-01",
    "2008-09-01",
    "2009-04-04",
    "latest",
];
/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) kind: &'static str,
    pub(super) body: Vec<u8>,
}

impl Answer {
    pub(super) fn refusal(status: u16, text: &str) -> Self {
        Self { status, kind: "text/plain", body: format!("{text}\n").into_bytes() }
    }

    pub(super) fn text(text: impl Into<String>) -> Self {
        Self { status: 200, kind: "text/plain", body: text.into().into_bytes() }
    }

    fn json(value: &Value) -> Self {
        Self { status: 200, kind: "application/json", body: value.to_string().into_bytes() }
    }

    fn bytes(body: Vec<u8>) -> Self {
        Self { status: 200, kind: "application/octet-stream", body }
    }
}

fn missing() -> Answer {
    Answer::refusal(404, "There is nothing under this path.")
}

/// Answers a request.
pub(super) fn get(guests: &Guests, caller: &Caller, path: &str) -> Answer {
    let steps: Vec<&str> = path.split('/').filter(|step| !step.is_empty()).collect();
    match &steps[..] {
        [] => Answer::text(EC2.join("\n")),
        ["openstack"] => Answer::text(VERSIONS.join("\n")),
        ["openstack", "content", n] => {
            let content = n.parse().ok().and_then(|n| kept(guests, caller).content(n));
            content.map_or_else(missing, Answer::bytes)
        }
        ["openstack", version, rest @ ..] if VERSIONS.contains(version) => {
            openstack(guests, caller, version, rest)
        }
        [version, rest @ ..] if EC2.contains(version) => ec2(guests, caller, rest),
        _ => missing(),
    }
}

/// What was fetched for the guest's start.
fn kept(guests: &Guests, caller: &Caller) -> Kept {
    match caller.guest.has_files {
        true => Kept::read(&guests.dir_of(caller.server)).unwrap_or_default(),
        false => Kept::default(),
    }
}

fn user_data(guests: &Guests, caller: &Caller) -> Option<Vec<u8>> {
    let has = caller.guest.has_user_data;
    has.then(|| std::fs::read(guests.file(caller.server, "user_data")).ok()).flatten()
}

fn openstack(guests: &Guests, caller: &Caller, version: &str, rest: &[&str]) -> Answer {
    let has = |name: &str| name != "user_data" || caller.guest.has_user_data;
    let mut there = config_drive::documents(version).filter(|name| has(name));
    match rest {
        [] => Answer::text(there.collect::<Vec<_>>().join("\n")),
        [name, ..] if !there.any(|known| known == *name) => missing(),
        ["meta_data.json"] => {
            let mut seed = [0; 512];
            // The seed may stay short: a guest has other sources of entropy.
            let _ = getrandom::fill(&mut seed);
            let kept = kept(guests, caller);
            Answer::json(&config_drive::meta_data(caller.server, &caller.guest, &kept, &seed))
        }
        ["network_data.json"] => Answer::json(&config_drive::network_data(&caller.guest, true)),
        ["vendor_data.json" | "vendor_data2.json"] => Answer::json(&json!({})),
        ["user_data"] => user_data(guests, caller).map_or_else(missing, Answer::bytes),
        ["password"] => Answer::text(caller.guest.password.as_deref().unwrap_or("")),
        _ => missing(),
    }
}

fn ec2(guests: &Guests, caller: &Caller, rest: &[&str]) -> Answer {
    match rest {
        [] => Answer::text(if caller.guest.has_user_data { "meta-data/\nuser-data" } else { "meta-data/" }),
        ["user-data"] => user_data(guests, caller).map_or_else(missing, Answer::bytes),
        ["meta-data", path @ ..] => {
            let mut tree = config_drive::ec2(caller.server, &caller.guest);
            let own = caller.guest.ports.iter().flat_map(|port| &port.addresses).map(|a| a.address);
            let v4 =
                std::iter::once(caller.address).chain(own).map(|ip| ip.to_canonical()).find(IpAddr::is_ipv4);
            if let Some(address) = v4 {
                tree["local-ipv4"] = json!(address);
            }
            leaf(&tree, path)
        }
        _ => missing(),
    }
}

/// A value of the tree, or the names under it.
fn leaf(tree: &Value, path: &[&str]) -> Answer {
    let found = path.iter().try_fold(tree, |value, step| value.get(step));
    match found {
        Some(Value::Object(names)) => {
            let line = |(name, value): (&String, &Value)| match value {
                // Keys are listed by number and name.
                Value::Object(under) if under.contains_key("_name") => {
                    under["_name"].as_str().unwrap_or(name).to_owned()
                }
                Value::Object(_) => format!("{name}/"),
                _ => name.clone(),
            };
            let shown = names.iter().filter(|(name, _)| *name != "_name");
            Answer::text(shown.map(line).collect::<Vec<_>>().join("\n"))
        }
        Some(Value::String(text)) => Answer::text(text.as_str()),
        Some(value) => Answer::text(value.to_string()),
        None => missing(),
    }
}

/// Takes the password that the guest has encrypted for its user, and passes it on. The password is part of the
/// server, also after a move. It is set once.
pub(super) async fn post(guests: &Guests, caller: &Caller, path: &str, body: &[u8]) -> Answer {
    let steps: Vec<&str> = path.split('/').filter(|step| !step.is_empty()).collect();
    match &steps[..] {
        ["openstack", version, "password"] if VERSIONS.contains(version) => {}
        _ => return Answer::refusal(405, "Only a password can be posted."),
    }
    let Ok(password) = std::str::from_utf8(body) else {
        return Answer::refusal(400, "A password is a text.");
    };
    match (guests.hand_on)(caller.server, password.to_owned()).await {
        Ok(()) => Answer::text(""),
        Err(LinkError::Refused { status: status @ (400 | 409), .. }) => Answer::refusal(
            status,
            if status == 409 { "The password is set already." } else { "It is too long." },
        ),
        Err(error) => {
            tracing::warn!(server = %caller.server, %error, "a guest's password cannot be kept");
            Answer::refusal(503, "The password cannot be kept now. Try again.")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metadata::tests::guests;
    use std::path::Path;

    fn text(answer: &Answer) -> &str {
        assert_eq!(answer.status, 200, "{answer:?}");
        std::str::from_utf8(&answer.body).unwrap()
    }

    #[test]
    fn both_layouts_are_answered_with_the_same_truth() {
        let dir = tempfile::tempdir().unwrap();
        let (guests, network, server) = guests(dir.path(), Box::new(|_, _| unreachable!()));
        let caller = guests.caller(network, "10.5.0.7".parse().unwrap()).unwrap();
        let ask = |path: &str| get(&guests, &caller, path);
        assert!(text(&ask("/")).ends_with("latest") && text(&ask("/openstack/")).contains("2018-08-27"));
        let meta: Value = serde_json::from_str(text(&ask("/openstack/2018-08-27/meta_data.json"))).unwrap();
        assert_eq!(meta["uuid"], json!(server));
        assert_eq!(text(&ask("/latest/meta-data/instance-id")), server.to_string());
        assert_eq!(text(&ask("//latest//meta-data/local-ipv4")), "10.5.0.7");
        assert!(text(&ask("/2009-04-04/meta-data/")).lines().any(|line| line == "placement/"));
        assert!(text(&ask("/openstack/latest")).contains("meta_data.json"));
        assert_eq!(text(&ask("/openstack/2013-10-17/")), "meta_data.json\npassword\nvendor_data.json");
        assert_eq!(text(&ask("/openstack/2016-10-06/vendor_data2.json")), "{}");
        for path in [
            "/openstack/1999-01-01",
            "/latest/x",
            "/openstack/latest/../../etc",
            "/latest/user-data",
            "/openstack/2013-10-17/network_data.json",
            "/openstack/latest/user_data",
        ] {
            assert_eq!(ask(path).status, 404, "{path}");
        }
    }

    #[tokio::test]
    async fn a_password_is_handed_on_and_what_comes_of_it_is_told() {
        let refused = |status| Err(LinkError::Refused { status, body: String::new() });
        let hand_on = move |_, text: String| -> crate::link::Call<'static, ()> {
            let result = match text.as_str() {
                "secret" => Ok(()),
                "another" => refused(409),
                "long" => refused(400),
                _ => Err(LinkError::Unreachable { at: String::new(), why: String::new() }),
            };
            Box::pin(async { result })
        };
        let (guests, network, server) = guests(Path::new("/nowhere"), Box::new(hand_on));
        let caller = || guests.caller(network, "10.5.0.7".parse().unwrap()).unwrap();
        let path = "/openstack/2013-04-04/password";
        let status = async |path: &str, body: &[u8]| post(&guests, &caller(), path, body).await.status;
        assert_eq!(status(path, b"secret").await, 200);
        assert_eq!(status(path, b"another").await, 409);
        assert_eq!(status(path, b"long").await, 400);
        assert_eq!(status(path, b"nobody answers").await, 503);
        assert_eq!(status(path, b"\xff").await, 400);
        assert_eq!(status("/latest/user-data", b"secret").await, 405);
        assert_eq!(text(&get(&guests, &caller(), path)), "");
        let mut guest = crate::metadata::GuestSpec::clone(&caller().guest);
        guest.password = Some("secret".to_owned());
        guests.put(server, crate::metadata::Noted::new(guest));
        assert_eq!(text(&get(&guests, &caller(), path)), "secret");
    }

    #[test]
    fn keys_are_listed_by_number_and_name() {
        let tree = json!({ "public-keys": { "0": { "_name": "0=mine", "openssh-key": "ssh-ed25519 A" } } });
        assert_eq!(text(&leaf(&tree, &["public-keys"])), "0=mine");
        assert_eq!(text(&leaf(&tree, &["public-keys", "0"])), "openssh-key");
        assert_eq!(text(&leaf(&tree, &["public-keys", "0", "openssh-key"])), "ssh-ed25519 A");
    }
}
