//! Rebuilt servers: a new root disk in place of the old one, on the same host.
//!
//! ```text
//!            rebuild: the next generation              the host made the new disk
//!  old disk ─────────────────────────────▶ Rebuild ────────────────────────────────▶ new disk, and the old one is gone
//!     ▲                                       │
//!     └───────────────────────────────────────┘ the host could not: a further generation, which the old disk gets
//! ```
//!
//! The host makes the new disk beside the old one, and puts it in the old one's place once it is whole.

use crate::lifecycle::{disk, operation};
use lenticular_model::{
    Txn,
    compute::{
        rebuild::Rebuild,
        server::{BootStyle, Server, Wanted},
    },
    image::Image,
};

/// Orders the server's host to make new disks from an image. `keeps_data` leaves the disks beside the root disk as they
/// are.
pub fn begin(txn: &mut Txn<'_>, server: &Server, image: &Image, keeps_data: bool) {
    let former = Rebuild {
        generation: txn.generation_of_server(server.id),
        image_id: server.image_id,
        base: server.base.clone(),
        base_image: server.base_image,
        base_format: server.base_format.clone(),
        keeps_data,
        ran: server.wanted == Wanted::Running,
    };
    let generation = txn.next_generation(server.id);
    disk::update(txn, server.id, |disk| {
        disk.generation = generation;
        disk.issued = disk.issued.max(generation);
        disk.revives = None;
        disk.made = false;
    });
    let base = image.data().map_or("", |data| data.sha512.as_str()).into();
    let base_format = image.disk_format.as_deref().unwrap_or("raw").into();
    txn.update::<Server>(&server.id, |s| {
        s.image_id = image.id;
        (s.base, s.base_image, s.base_format) = (base, None, base_format);
        s.rebuild = Some(Box::new(former));
        s.boot += 1;
        s.boot_style = BootStyle::Hard;
    });
}

/// The host made the new disk.
pub fn on_made(txn: &mut Txn<'_>, server: &Server) {
    if server.rebuild.is_some() {
        txn.update::<Server>(&server.id, |s| s.rebuild = None);
    }
}

/// The host could not make the new disk: the server goes back to the old one. False if no rebuild is under way.
pub fn go_back(txn: &mut Txn<'_>, server: &Server, message: &str, details: &str) -> bool {
    let Some(former) = server.rebuild.as_deref().cloned() else { return false };
    operation::finish_task(txn, server, Some(format!("{message} ({details})")));
    let generation = txn.next_generation(server.id);
    disk::update(txn, server.id, |disk| {
        disk.generation = generation;
        disk.issued = disk.issued.max(generation);
        disk.revives = Some(former.generation);
        disk.made = true;
    });
    txn.update::<Server>(&server.id, |s| {
        s.image_id = former.image_id;
        (s.base, s.base_image, s.base_format) = (former.base, former.base_image, former.base_format);
        s.rebuild = None;
        s.task = None;
        s.wanted = if former.ran { Wanted::Running } else { Wanted::Stopped };
        s.boot += 1;
        s.boot_style = BootStyle::Hard;
    });
    true
}
