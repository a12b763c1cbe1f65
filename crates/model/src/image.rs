//! Disk images (Glance's noun): their records. The bytes live in the image store.

use crate::{ImageId, ImageMemberId, ProjectId, Scoped, State, error::Error, policy::Caller, record};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Display,
};

/// The phase of an image.
///
/// ```text
/// queued ──upload──▶ saving ──committed──▶ active ⇄ deactivated
///    ▲                  │
///    └──failed upload───┘            (delete works from every state)
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "is")]
pub enum Phase {
    /// No bytes yet.
    Queued,
    /// Bytes are arriving under this upload id.
    Saving {
        /// The upload that may commit.
        upload: String,
    },
    /// Ready.
    Active {
        /// The stored bytes.
        data: Data,
    },
    /// Stored, but users may not download or boot it.
    Deactivated {
        /// The stored bytes.
        data: Data,
    },
}

/// The bytes of an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Data {
    /// Bytes stored.
    pub size: u64,
    /// Bytes that the guest sees, if the format tells.
    #[serde(default)]
    pub virtual_size: Option<u64>,
    /// MD5 in hex.
    pub checksum: String,
    /// SHA-512 in hex: also the name of the base in hosts' caches.
    pub sha512: String,
    /// The name of the file in the image store: the upload's, so that no upload overwrites the bytes of another
    /// upload. `None` in older records: then the file has the image's id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
}

/// The projects that see an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Visibility {
    /// Everyone, and it is listed.
    Public,
    /// Everyone who knows its id; listed only for who asks for such images.
    Community,
    /// Its owner and the projects that it was shared with.
    Shared,
    /// Its owner.
    Private,
}

record! {
    /// An image.
    pub struct Image: ImageId {
        /// For people; need not be unique.
        #[serde(default)]
        pub name: Option<String>,
        /// Its project.
        pub owner: Option<ProjectId>,
        /// The projects that see the image.
        pub visibility: Visibility,
        /// Its phase.
        pub phase: Phase,
        /// `qcow2`, `raw`, … ; needed before upload.
        #[serde(default)]
        pub disk_format: Option<String>,
        /// `bare`, …
        #[serde(default)]
        pub container_format: Option<String>,
        /// GiB of disk a flavor must have.
        #[serde(default)]
        pub min_disk: u32,
        /// MiB of memory a flavor must have.
        #[serde(default)]
        pub min_ram: u32,
        /// True forbids deletion.
        #[serde(default)]
        pub protected: bool,
        /// True leaves it out of listings.
        #[serde(default)]
        pub hidden: bool,
        /// Labels.
        #[serde(default)]
        pub tags: BTreeSet<String>,
        /// Properties that the image's creator chose, and those that Nova reads (`hw_…`, `os_…`).
        #[serde(default)]
        pub properties: BTreeMap<String, String>,
    }
}

/// What a project says to an image that was shared with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MemberStatus {
    /// It has not said anything yet.
    Pending,
    /// It lists the image.
    Accepted,
    /// It does not list the image.
    Rejected,
}

record! {
    /// A project that an image is shared with. It counts while the image's visibility is `shared`.
    pub struct ImageMember: ImageMemberId {
        /// The image.
        pub image_id: ImageId,
        /// The project.
        pub project_id: ProjectId,
        /// What the project says to it.
        pub status: MemberStatus,
    }
}

impl ImageMemberId {
    /// The id of a project's membership of an image.
    pub fn of(image: ImageId, project: ProjectId) -> Self {
        format!("{image}/{project}").as_str().into()
    }
}

impl Image {
    /// The bytes, if they are there.
    pub fn data(&self) -> Option<&Data> {
        match &self.phase {
            Phase::Active { data } | Phase::Deactivated { data } => Some(data),
            Phase::Queued | Phase::Saving { .. } => None,
        }
    }

    /// The name of the file with its bytes, if they are there.
    pub fn file(&self) -> Option<String> {
        self.data().map(|data| data.file.clone().unwrap_or_else(|| self.id.to_string()))
    }

    /// Glance's status word.
    pub fn status(&self) -> &'static str {
        match self.phase {
            Phase::Queued => "queued",
            Phase::Saving { .. } => "saving",
            Phase::Active { .. } => "active",
            Phase::Deactivated { .. } => "deactivated",
        }
    }

    /// True if the project may see the image. Operators see all images.
    pub fn is_open_to(&self, state: &State, project: Option<ProjectId>) -> bool {
        matches!(self.visibility, Visibility::Public | Visibility::Community)
            || (self.owner.is_some() && self.owner == project)
            || self.membership(state, project).is_some()
    }

    /// The record that the image is shared with the project.
    pub fn membership<'s>(&self, state: &'s State, project: Option<ProjectId>) -> Option<&'s ImageMember> {
        let shared = project.filter(|_| self.visibility == Visibility::Shared)?;
        state.image_members.get(&ImageMemberId::of(self.id, shared)).map(|member| &**member)
    }
}

/// A project's limits for images, under Glance's names; `None` is no limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Quota {
    /// `image_size_total`, in MiB.
    pub size_mib: Option<u64>,
    /// `image_stage_total`, in MiB.
    pub stage_mib: Option<u64>,
    /// `image_count_total`.
    pub count: Option<u64>,
    /// `image_count_uploading`.
    pub uploading: Option<u64>,
}

/// A project's usage of images.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Bytes that are stored.
    pub size: u64,
    /// Images.
    pub count: u64,
    /// Uploads under way.
    pub uploading: u64,
}

impl Usage {
    /// The project's usage now.
    pub fn of(state: &State, project: ProjectId) -> Self {
        let mut usage = Self::default();
        for image in state.images.values().filter(|image| image.owner == Some(project)) {
            usage.size += image.data().map_or(0, |data| data.size);
            usage.count += 1;
            usage.uploading += u64::from(matches!(image.phase, Phase::Saving { .. }));
        }
        usage
    }
}

impl Scoped for Image {
    fn missing(id: impl Display) -> Error {
        Error::not_found_text(format!("No image found with ID {id}"))
    }

    fn visible_to(&self, state: &State, caller: &Caller) -> bool {
        caller.is_admin() || (caller.may_read() && self.is_open_to(state, caller.project_id()))
    }
}
