//! A real database becomes equal to State, from any earlier content.

use crate::{
    server::{Cluster, Server, connect, skipped},
    sets::until_equal,
    world::{Step, World, step},
};
use lenticular_model::{Incarnation, PortId};
use lenticular_ovn::{
    ovsdb::{Condition, Datum, Operation, Remote},
    sync::{Settings, Status, Superseded, Update, run},
};
use proptest::{
    prelude::*,
    strategy::ValueTree,
    test_runner::{Config, RngAlgorithm, TestRng, TestRunner},
};
use std::sync::{Arc, Mutex};
use tokio::{
    sync::{mpsc, watch},
    task::JoinHandle,
};

/// A network of the first tenant.
const NETWORK: Step =
    Step::Network { n: 0, tenant: 0, external: false, up: true, mtu: 1442, vlan: false, policy: None };

type Told = Arc<Mutex<Vec<(PortId, bool)>>>;

/// A running sync.
struct Work {
    commits: mpsc::UnboundedSender<Update>,
    told: Told,
    status: watch::Receiver<Status>,
    task: JoinHandle<Result<(), Superseded>>,
}

fn work(server: &Server, world: &World, epoch: u64) -> Work {
    work_on(vec![server.remote()], world, epoch)
}

fn work_on(remotes: Vec<Remote>, world: &World, epoch: u64) -> Work {
    let settings = Settings { remotes, epoch, cloud: Incarnation::from_random([9; 16]) };
    let (commits, receiver) = mpsc::unbounded_channel();
    let (sender, status) = watch::channel(Status::default());
    let told = Told::default();
    let sink = told.clone();
    let ports = Box::new(move |news: Vec<(PortId, bool)>| sink.lock().unwrap().extend(news));
    let task = tokio::spawn(run(settings, world.state.clone(), receiver, ports, sender, Box::new(|| 1)));
    Work { commits, told, status, task }
}

fn clouds(seed: u8, steps: usize) -> Vec<Step> {
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &[seed; 32]);
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    let tree = prop::collection::vec(step(), steps).new_tree(&mut runner).unwrap();
    tree.current()
}

fn block_on(test: impl std::future::Future<Output = ()>) {
    if skipped() {
        return;
    }
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(test);
}

#[test]
fn a_change_writes_the_same_rows_as_a_rebuild() {
    block_on(async {
        for seed in 0..6 {
            let server = Server::start();
            let mut world = World::new();
            let work = work(&server, &world, 1);
            let mut own = server.connect().await;
            let steps = clouds(seed, 160);
            for part in steps.chunks(20) {
                for step in part {
                    work.commits.send(world.step(step)).unwrap();
                }
                until_equal(&mut own, &world.state).await;
            }
            drop(work.commits);
            assert_eq!(work.task.await.unwrap(), Ok(()));
            // The result is the same from an empty database and from the present content.
            let fresh = Server::start();
            let again = self::work(&fresh, &world, 1);
            until_equal(&mut fresh.connect().await, &world.state).await;
            drop(again.commits);
        }
    });
}

#[test]
fn rows_of_others_stay_and_rows_that_they_broke_are_repaired() {
    block_on(async {
        let server = Server::start();
        let mut world = World::new();
        for step in clouds(40, 120) {
            world.step(&step);
        }
        drop(server.connect().await);
        server.nbctl(&["ls-add", "theirs", "--", "lsp-add", "theirs", "their-port"]);
        server.nbctl(&[
            "pg-add",
            "their_group",
            "their-port",
            "--",
            "acl-add",
            "theirs",
            "to-lport",
            "1",
            "ip4",
            "drop",
        ]);
        server.nbctl(&["create", "address_set", "name=odd", "external_ids:\"lenticular:id\"=planet/1"]);
        let work = work(&server, &world, 1);
        let mut own = server.connect().await;
        until_equal(&mut own, &world.state).await;

        // Another writer empties one of our switches, renames a group, and adds a port and a rule to ours.
        let switch =
            own.replica.rows("Logical_Switch").find(|(_, row)| row["name"] != Datum::one("theirs")).unwrap();
        let switch = switch.0.to_string();
        server.nbctl(&["clear", "logical_switch", &switch, "ports"]);
        server.nbctl(&["set", "port_group", "lenticular_filter", "name=broken"]);
        server.nbctl(&["lsp-add", &switch, "a-guest-of-theirs"]);
        server.nbctl(&["acl-add", &switch, "to-lport", "7", "ip6", "drop"]);
        // Half of a copy of a row.
        server.nbctl(&["create", "logical_switch", "name=copy", "external_ids:\"lenticular:id\"=filter"]);
        until_equal(&mut own, &world.state).await;
        let names = |own: &lenticular_ovn::ovsdb::Connected, table: &str| -> Vec<String> {
            own.replica
                .rows(table)
                .filter_map(|(_, row)| row.get("name")?.text().map(str::to_owned))
                .collect()
        };
        let ports = names(&own, "Logical_Switch_Port");
        assert!(
            ports.contains(&"their-port".to_owned()) && ports.contains(&"a-guest-of-theirs".to_owned()),
            "{ports:?}"
        );
        assert!(names(&own, "Port_Group").contains(&"their_group".to_owned()));
        assert_eq!(own.replica.rows("ACL").filter(|(_, row)| !row.contains_key("external_ids")).count(), 2);
        drop(work.commits);
        work.task.await.unwrap().unwrap();
    });
}

#[test]
fn a_database_that_was_away_or_lost_is_brought_up_to_date() {
    block_on(async {
        let mut server = Server::start();
        let mut world = World::new();
        let work = work(&server, &world, 3);
        let steps = clouds(77, 90);
        for (n, step) in steps.iter().enumerate() {
            match n {
                30 => server.kill(),
                60 => server.resume(),
                80 => server.wipe(),
                _ => {}
            }
            work.commits.send(world.step(step)).unwrap();
            tokio::task::yield_now().await;
        }
        until_equal(&mut server.connect().await, &world.state).await;
        let mut status = work.status.clone();
        let seq = world.state.seq;
        status.wait_for(|status| status.connected && status.written == seq).await.unwrap();
        work.task.abort();
    });
}

#[test]
fn an_older_leader_writes_nothing_once_a_newer_one_has_come() {
    block_on(async {
        let server = Server::start();
        let mut world = World::new();
        let old = work(&server, &world, 5);
        let mut own = server.connect().await;
        until_equal(&mut own, &world.state).await;
        let new = work(&server, &world, 6);
        assert_eq!(old.task.await.unwrap(), Err(Superseded));
        let late = work(&server, &world, 5);
        assert_eq!(late.task.await.unwrap(), Err(Superseded));
        new.commits.send(world.step(&NETWORK)).unwrap();
        until_equal(&mut own, &world.state).await;
        // A transaction of the old leader would fail from here on.
        let mark = Datum::map([("lenticular:epoch", "5")]);
        let require =
            Operation::Require { table: "NB_Global", of: Condition::Includes("external_ids", mark) };
        let late = [require, Operation::Delete { table: "Logical_Switch", of: Condition::All }];
        assert!(own.session.transact("OVN_Northbound", &late).await.unwrap_err().is_unmet());
        new.task.abort();
    });
}

#[test]
fn ports_are_reported_up_when_the_database_says_so() {
    block_on(async {
        let server = Server::start();
        let mut world = World::new();
        world.step(&NETWORK);
        let snapshot = crate::world::PortShape {
            network: 0,
            subnet: 0,
            host: None,
            groups: vec![],
            secure: true,
            up: true,
            owner: 0,
            device: 0,
            pair: false,
            option: false,
            policy: None,
        };
        world.step(&Step::Port { n: 0, port: snapshot });
        let work = work(&server, &world, 1);
        let mut own = server.connect().await;
        until_equal(&mut own, &world.state).await;
        let port = PortId(crate::world::id(crate::world::PORT, 0));
        for up in ["true", "false", "true"] {
            server.nbctl(&["set", "logical_switch_port", &port.to_string(), &format!("up={up}")]);
        }
        let told = async {
            while work.told.lock().unwrap().len() < 4 {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(std::time::Duration::from_secs(20), told).await.unwrap();
        assert_eq!(*work.told.lock().unwrap(), [(port, false), (port, true), (port, false), (port, true)]);
        work.task.abort();
    });
}

#[test]
fn a_cluster_goes_on_when_its_leader_is_gone() {
    block_on(async {
        let mut cluster = Cluster::start();
        let mut world = World::new();
        drop(connect(cluster.remotes()).await);
        let work = work_on(cluster.remotes(), &world, 1);
        let steps = clouds(5, 90);
        for part in steps.chunks(30) {
            let leader = connect(cluster.remotes()).await;
            let number = cluster.number(leader.remote());
            drop(leader);
            for step in &part[..15] {
                work.commits.send(world.step(step)).unwrap();
            }
            cluster.kill(number);
            for step in &part[15..] {
                work.commits.send(world.step(step)).unwrap();
            }
            until_equal(&mut connect(cluster.remotes()).await, &world.state).await;
            cluster.resume(number);
            cluster.wait(number);
        }
        drop(work.commits);
        assert_eq!(work.task.await.unwrap(), Ok(()));
    });
}
