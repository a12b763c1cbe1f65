//! Operations on servers: what was asked, by whom, and how it went (Nova's instance actions).

use crate::{record, HostId, OperationId, ProjectId, ServerId, Timestamp, UserId};
use serde::{Deserialize, Serialize};

/// What is done to a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// Make it and start it.
    Create,
    /// Start it.
    Start,
    /// Stop it.
    Stop,
    /// Shut it down from inside and start it again.
    SoftReboot,
    /// Reset it.
    HardReboot,
    /// Remove it.
    Delete,
    /// Move it to another host while it stands still.
    Migrate,
    /// Move it to another host while it runs.
    LiveMigrate,
    /// Give it another size.
    Resize,
    /// Keep the size or the host that it got last.
    ConfirmResize,
    /// Give it back the size or the host that it had before.
    RevertResize,
    /// Make it anew on another host, because its own is lost.
    Evacuate,
    /// Make an image of its disk, and take it off its host.
    Shelve,
    /// Bring it back from that image.
    Unshelve,
    /// Give it another network interface.
    AttachInterface,
    /// Take a network interface from it.
    DetachInterface,
}

impl Action {
    /// The name in the instance-actions API.
    pub fn name(self) -> &'static str {
        match self {
            Action::Create => "create",
            Action::Start => "start",
            Action::Stop => "stop",
            Action::SoftReboot | Action::HardReboot => "reboot",
            Action::Delete => "delete",
            Action::Migrate => "migrate",
            Action::LiveMigrate => "live-migration",
            Action::Resize => "resize",
            Action::ConfirmResize => "confirmResize",
            Action::RevertResize => "revertResize",
            Action::Evacuate => "evacuate",
            Action::Shelve => "shelve",
            Action::Unshelve => "unshelve",
            Action::AttachInterface => "attach_interface",
            Action::DetachInterface => "detach_interface",
        }
    }

    /// The name of the event that its host's part of the work is shown as.
    pub fn event(self) -> &'static str {
        match self {
            Action::Create => "compute__do_build_and_run_instance",
            Action::Start => "compute_start_instance",
            Action::Stop => "compute_stop_instance",
            Action::SoftReboot | Action::HardReboot => "compute_reboot_instance",
            Action::Delete => "compute_terminate_instance",
            Action::Migrate | Action::Resize => "compute_resize_instance",
            Action::LiveMigrate => "compute_live_migration",
            Action::ConfirmResize => "compute_confirm_resize",
            Action::RevertResize => "compute_revert_resize",
            Action::Evacuate => "compute_rebuild_instance",
            Action::Shelve => "compute_shelve_instance",
            Action::Unshelve => "compute_unshelve_instance",
            Action::AttachInterface => "compute_attach_interface",
            Action::DetachInterface => "compute_detach_interface",
        }
    }

    /// Nova's `task_state` while it is under way.
    pub fn task_state(self) -> &'static str {
        match self {
            Action::Create => "spawning",
            Action::Start => "powering-on",
            Action::Stop => "powering-off",
            Action::SoftReboot => "rebooting",
            Action::HardReboot => "rebooting_hard",
            Action::Delete => "deleting",
            Action::Migrate | Action::Resize => "resize_migrating",
            Action::LiveMigrate => "migrating",
            Action::ConfirmResize => "resize_confirming",
            Action::RevertResize => "resize_reverting",
            Action::Evacuate => "rebuilding",
            Action::Shelve => "shelving",
            Action::Unshelve => "unshelving",
            // Done with the request: no server is ever seen in them.
            Action::AttachInterface => "attaching_interface",
            Action::DetachInterface => "detaching_interface",
        }
    }

    /// How long its host may take, in seconds, before it counts as failed.
    pub fn deadline_s(self) -> i64 {
        match self {
            Action::Create | Action::Evacuate | Action::Unshelve => 1_800,
            Action::Shelve => SHELVE_S_MAX,
            Action::Start | Action::HardReboot => 600,
            Action::Stop | Action::SoftReboot => 300,
            Action::Delete => 600,
            // Its migration has the deadline that counts.
            Action::Migrate | Action::LiveMigrate | Action::Resize | Action::RevertResize => MOVE_S_MAX,
            Action::ConfirmResize | Action::AttachInterface | Action::DetachInterface => 600,
        }
    }
}

/// How long a disk may take to become an image, in seconds.
pub const SHELVE_S_MAX: i64 = 3_600;

/// How long a move may take, in seconds.
pub const MOVE_S_MAX: i64 = 3 * 3600;

/// How an operation ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// When.
    pub at: Timestamp,
    /// Why it failed; `None` if it did not.
    pub failure: Option<String>,
}

record! {
    /// An operation.
    pub struct Operation: OperationId {
        /// The server it is done to.
        pub server_id: ServerId,
        /// The server's project.
        pub project_id: ProjectId,
        /// What is done.
        pub action: Action,
        /// The request that asked for it.
        pub request_id: String,
        /// Who asked.
        pub user_id: Option<UserId>,
        /// The host that does it.
        #[serde(default)]
        pub host_id: Option<HostId>,
        /// Until when it must be done.
        pub deadline: Timestamp,
        /// How it ended; `None` while it is under way.
        #[serde(default)]
        pub outcome: Option<Outcome>,
    }
}

impl Operation {
    /// The key of the operation among those that ended: a server's are in the order of their start.
    pub fn past_key(&self) -> String {
        format!("{}/{:020}/{}", self.server_id, self.created_at.0, self.id)
    }
}
