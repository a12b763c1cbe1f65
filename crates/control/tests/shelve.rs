//! Shelving: a server's disk is always on a host or in an image, and comes back unchanged.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "common/cloud.rs"]
mod cloud;
mod common;

use cloud::{Cloud, admin, seen};
use common::server_id;
use lenticular_control::{
    command::{
        compute::{
            server,
            shelve::{self, Place},
        },
        image,
    },
    lifecycle::shelf,
    reconcile::{Key, reconcile},
};
use lenticular_model::{
    HostId, ImageId, Timestamp,
    compute::{
        disk::Fate,
        operation::SHELVE_S_MAX,
        server::{Shelf, Wanted},
    },
    error::Kind as ErrorKind,
    host::observation::{Observation, ObservedState, StopReason, Unsaved},
    image::{Data, Phase},
};

fn stopped() -> Observation {
    seen(1, ObservedState::Stopped { why: StopReason::Ordered })
}

fn data() -> Data {
    Data { size: 1, virtual_size: Some(1), checksum: "c".to_owned(), sha512: "whole".to_owned(), file: None }
}

trait Shelving {
    fn shelve(&mut self) -> (ImageId, String);
    fn save(&mut self, upload: &str, sending: &str) -> lenticular_model::error::Result<()>;
    fn shelved() -> (Self, ImageId)
    where
        Self: Sized;
}

impl Shelving for Cloud {
    fn shelve(&mut self) -> (ImageId, String) {
        self.run(|txn| shelve::shelve(txn, &admin(), server_id())).unwrap();
        match self.server().shelf.as_deref() {
            Some(Shelf::Saving { image_id, upload, .. }) => (*image_id, upload.clone()),
            other => panic!("{other:?}"),
        }
    }

    fn save(&mut self, upload: &str, sending: &str) -> lenticular_model::error::Result<()> {
        let host = self.hosts[0];
        self.run(|txn| shelf::begin_saving(txn, server_id(), host, upload, sending))?;
        self.run(|txn| shelf::saved(txn, server_id(), host, (upload, sending), data()))
    }

    fn shelved() -> (Self, ImageId) {
        let mut cloud = Cloud::new();
        let (image, upload) = cloud.shelve();
        cloud.hear(0, stopped());
        cloud.save(&upload, "s1").unwrap();
        (cloud, image)
    }
}

#[test]
fn the_disk_becomes_an_image_and_leaves_its_host_in_one_commit() {
    let mut cloud = Cloud::new();
    let (image, upload) = cloud.shelve();
    assert_eq!((cloud.server().status(), cloud.server().wanted), ("ACTIVE", Wanted::Stopped));
    cloud.hear(0, stopped());
    assert!(cloud.server().task.is_some(), "that it stands still is not the end of it");
    assert!(matches!(cloud.state.images[&image].phase, Phase::Saving { .. }));
    cloud.save(&upload, "s1").unwrap();
    let server = cloud.server();
    assert_eq!((server.status(), server.vm_state()), ("SHELVED_OFFLOADED", "shelved_offloaded"));
    assert_eq!((server.host_id, &*server.base, server.base_image), (None, "whole", Some(image)));
    assert_eq!(cloud.fate_on(0), Some(Fate::Doomed));
    assert_eq!(cloud.state.images[&image].name.as_deref(), Some("web-shelved"));
    for refused in [server::start, server::stop, shelve::shelve] {
        let error = cloud.run(|txn| refused(txn, &admin(), server_id())).unwrap_err();
        assert!(error.message.contains("shelved_offloaded"), "{error}");
    }
    let error = cloud.run(|txn| image::delete(txn, &admin(), image).map(drop)).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Conflict);
    // The image also cannot be edited so that no host would take the server.
    let edit = |image: &mut lenticular_model::image::Image| {
        image.min_ram = 999_999;
        Ok(())
    };
    let error = cloud.run(|txn| image::edit(txn, &admin(), image, edit)).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Conflict);
}

#[test]
fn only_the_last_sending_of_the_right_host_counts() {
    let mut cloud = Cloud::new();
    let (_, upload) = cloud.shelve();
    cloud.hear(0, stopped());
    let (own, other) = (cloud.hosts[0], cloud.hosts[1]);
    let mut begin = |host: HostId, upload: &str, sending: &str| {
        cloud.run(|txn| shelf::begin_saving(txn, server_id(), host, upload, sending))
    };
    assert!(begin(other, &upload, "s0").is_err());
    assert!(begin(own, "upload-other", "s0").is_err());
    begin(own, &upload, "s1").unwrap();
    begin(own, &upload, "s2").unwrap();
    let mut end = |sending| cloud.run(|txn| shelf::saved(txn, server_id(), own, (&upload, sending), data()));
    assert!(end("s1").is_err());
    end("s2").unwrap();
    assert!(end("s2").is_err(), "it has left");
}

#[test]
fn a_server_whose_disk_cannot_be_sent_stays_and_runs_again() {
    let mut cloud = Cloud::new();
    let (image, upload) = cloud.shelve();
    let (message, details) = ("No.".to_owned(), "test".to_owned());
    let unsaved = Some(Unsaved { upload: upload.clone(), message, details });
    let of_another = Unsaved { upload: "another".to_owned(), ..unsaved.clone().unwrap() };
    cloud.hear(0, Observation { unsaved: Some(of_another), ..stopped() });
    assert!(cloud.server().shelf.is_some());
    cloud.hear(0, Observation { unsaved, ..stopped() });
    let server = cloud.server();
    assert_eq!((server.wanted, server.boot, server.task.is_none()), (Wanted::Running, 2, true));
    assert!(server.shelf.is_none() && !cloud.state.images.contains_key(&image));
    assert!(cloud.save(&upload, "s1").is_err(), "nobody waits for it any more");
}

#[test]
fn an_overdue_shelving_is_given_up_and_a_stopped_server_stays_stopped() {
    let mut cloud = Cloud::new();
    cloud.run(|txn| server::stop(txn, &admin(), server_id())).unwrap();
    cloud.hear(0, stopped());
    cloud.shelve();
    cloud.at = Timestamp(cloud.at).plus_s(SHELVE_S_MAX + 1).0;
    cloud.run(|txn| Ok(reconcile(Key::Server(server_id()), txn))).unwrap();
    let server = cloud.server();
    assert_eq!((server.status(), server.boot, server.task.is_none()), ("SHUTOFF", 1, true));
    assert!(server.shelf.is_none() && server.fault.is_none());
}

#[test]
fn a_server_is_unshelved_on_any_host_and_its_image_goes_when_its_guest_was_seen() {
    let (mut cloud, image) = Cloud::shelved();
    let place = Place { host: Some("b".to_owned()), ..Place::default() };
    cloud.run(|txn| shelve::unshelve(txn, &admin(), server_id(), place)).unwrap();
    let server = cloud.server();
    cloud.is_on(1, 2);
    assert_eq!(
        (server.status(), server.wanted, cloud.state.has_made_disks(server_id())),
        ("SHELVED_OFFLOADED", Wanted::Running, false)
    );
    assert!(cloud.state.images.contains_key(&image));
    cloud.hear(
        1,
        Observation { boot: 2, ..seen(2, ObservedState::Running { ssh_forward: None, paused: false }) },
    );
    assert_eq!(cloud.server().status(), "ACTIVE");
    assert!(cloud.server().shelf.is_none() && !cloud.state.images.contains_key(&image));
    assert_eq!(&*cloud.server().base, "whole", "its disk lies over what it was");
}

#[test]
fn a_host_that_cannot_make_the_disk_gives_it_back() {
    let (mut cloud, image) = Cloud::shelved();
    let place = || Place { host: Some("a".to_owned()), ..Place::default() };
    cloud.run(|txn| shelve::unshelve(txn, &admin(), server_id(), place())).unwrap();
    cloud.is_on(0, 2);
    assert_eq!(cloud.fate_on(0), None, "one host has no part of a server beside the server");
    let failed = |disk_made| {
        let (message, details) = ("The disk is full.".to_owned(), "test".to_owned());
        Observation { boot: 2, ..seen(2, ObservedState::Failed { message, details, disk_made }) }
    };
    cloud.hear(0, failed(false));
    assert_eq!((cloud.server().status(), cloud.server().host_id), ("SHELVED_OFFLOADED", None));
    assert_eq!(cloud.fate_on(0), Some(Fate::Doomed));
    assert!(cloud.state.images.contains_key(&image));
    // After the disk was made, the guest may have written to it.
    cloud.run(|txn| shelve::unshelve(txn, &admin(), server_id(), place())).unwrap();
    cloud.is_on(0, 3);
    let failed = Observation { boot: 3, generation: 3, ..failed(true) };
    cloud.hear(0, failed);
    assert_eq!((cloud.server().status(), cloud.server().host_id), ("ERROR", Some(cloud.hosts[0])));
    assert!(cloud.state.images.contains_key(&image), "the last resort stays");
}

#[test]
fn a_deleted_shelved_server_takes_its_image_with_it() {
    let (mut cloud, image) = Cloud::shelved();
    cloud.run(|txn| server::delete(txn, &admin(), server_id())).unwrap();
    assert!(!cloud.state.servers.contains_key(&server_id()) && !cloud.state.images.contains_key(&image));
    let mut cloud = Cloud::new();
    let (image, upload) = cloud.shelve();
    cloud.run(|txn| server::delete(txn, &admin(), server_id())).unwrap();
    assert!(!cloud.state.images.contains_key(&image) && cloud.save(&upload, "s").is_err());
    assert_eq!(cloud.server().wanted, Wanted::Absent);
}

#[test]
fn only_a_shelved_server_is_unshelved_and_only_to_an_existing_place() {
    let mut cloud = Cloud::new();
    let error = cloud.run(|txn| shelve::unshelve(txn, &admin(), server_id(), Place::default())).unwrap_err();
    assert!(error.message.contains("vm_state active"), "{error}");
    let (mut cloud, _) = Cloud::shelved();
    let named = |zone: &str, host: &str| Place {
        zone: (!zone.is_empty()).then(|| Some(zone.to_owned())),
        host: (!host.is_empty()).then(|| host.to_owned()),
    };
    for (place, word) in [(named("", "nowhere"), "nowhere"), (named("moon", ""), "moon")] {
        let error = cloud.run(|txn| shelve::unshelve(txn, &admin(), server_id(), place)).unwrap_err();
        assert!(error.kind == ErrorKind::Invalid && error.message.contains(word), "{error}");
    }
    let zoned = named("nova", "");
    cloud.run(|txn| shelve::unshelve(txn, &admin(), server_id(), zoned)).unwrap();
    assert_eq!(cloud.server().wanted_zone.as_deref(), Some("nova"));
}
