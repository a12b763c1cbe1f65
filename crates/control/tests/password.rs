//! Passwords that guests post: the host that may post one, the number of posts, and the orders to hosts.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "common/cloud.rs"]
#[allow(dead_code, reason = "not all of it is asked for here")]
mod cloud;
mod common;

use cloud::{Cloud, admin};
use common::server_id;
use lenticular_control::command::compute::server::{clear_password, post_password};
use lenticular_model::{HostId, error::Result};

fn post(cloud: &mut Cloud, host: HostId, text: &str) -> Result<()> {
    let text = text.to_owned();
    cloud.run(|txn| post_password(txn, host, server_id(), text))
}

fn kept(cloud: &Cloud) -> Option<&str> {
    cloud.state.servers[&server_id()].guest_password.as_deref()
}

#[test]
fn a_password_comes_from_the_servers_own_host_and_once() {
    let mut cloud = Cloud::new();
    let (host, other) = (cloud.hosts[0], cloud.hosts[1]);
    assert!(post(&mut cloud, other, "secret").is_err(), "another host's guest is another");
    assert!(post(&mut cloud, host, &"x".repeat(1021)).is_err());
    post(&mut cloud, host, "").unwrap();
    assert_eq!(kept(&cloud), None, "nothing is no password");
    post(&mut cloud, host, "secret").unwrap();
    assert!(post(&mut cloud, host, "another").is_err());
    assert_eq!(kept(&cloud), Some("secret"));
    cloud.run(|txn| clear_password(txn, &admin(), server_id())).unwrap();
    post(&mut cloud, host, "another").unwrap();
    assert_eq!(kept(&cloud), Some("another"));
}

#[test]
fn hosts_are_told_of_a_password() {
    let mut cloud = Cloud::new();
    let host = cloud.hosts[0];
    let before = cloud.state.seq;
    post(&mut cloud, host, "secret").unwrap();
    assert_eq!(cloud.state.orders_after(host, before).count(), 1);
}
