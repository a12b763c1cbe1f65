//! Operations on servers: the action, the user who asked, and the result (Nova's instance actions).

use crate::{HostId, OperationId, ProjectId, ServerId, Timestamp, UserId, record};
use serde::{Deserialize, Serialize};

/// The action of an operation on a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OperationKind {
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
    /// Stop it, and remove it later.
    SoftDelete,
    /// Start it again before it is removed.
    Restore,
    /// Move it to another host while its guest is stopped.
    Migrate,
    /// Move it to another host while it runs.
    LiveMigrate,
    /// Give it another size.
    Resize,
    /// Keep the new size or host.
    ConfirmResize,
    /// Return to the size or host before the last move.
    RevertResize,
    /// Rebuild it from its image on another host, because its own host is lost.
    Evacuate,
    /// Make an image of its disk, and take it off its host.
    Shelve,
    /// Bring it back from that image.
    Unshelve,
    /// Let its guest stand still.
    Pause,
    /// Let its guest go on.
    Unpause,
    /// Save its memory on its host's disk.
    Suspend,
    /// Go on with the saved memory.
    Resume,
    /// Give it a new root disk.
    Rebuild,
    /// Start it from another image's disk.
    Rescue,
    /// Start it from its own disk again.
    Unrescue,
    /// Make an image of its root disk.
    CreateImage,
    /// Make an image of its root disk, and remove older ones.
    CreateBackup,
    /// Give it another network interface.
    AttachInterface,
    /// Take a network interface from it.
    DetachInterface,
    /// Set a password in its guest.
    ChangePassword,
    /// Let its guest dump its memory.
    CrashDump,
}

impl OperationKind {
    /// The name in the instance-actions API.
    pub fn name(self) -> &'static str {
        match self {
            OperationKind::Create => "create",
            OperationKind::Start => "start",
            OperationKind::Stop => "stop",
            OperationKind::SoftReboot | OperationKind::HardReboot => "reboot",
            OperationKind::Delete => "delete",
            OperationKind::SoftDelete => "softDelete",
            OperationKind::Restore => "restore",
            OperationKind::Migrate => "migrate",
            OperationKind::LiveMigrate => "live-migration",
            OperationKind::Resize => "resize",
            OperationKind::ConfirmResize => "confirmResize",
            OperationKind::RevertResize => "revertResize",
            OperationKind::Evacuate => "evacuate",
            OperationKind::Shelve => "shelve",
            OperationKind::Unshelve => "unshelve",
            OperationKind::Pause => "pause",
            OperationKind::Unpause => "unpause",
            OperationKind::Suspend => "suspend",
            OperationKind::Resume => "resume",
            OperationKind::Rebuild => "rebuild",
            OperationKind::Rescue => "rescue",
            OperationKind::Unrescue => "unrescue",
            OperationKind::CreateImage => "createImage",
            OperationKind::CreateBackup => "createBackup",
            OperationKind::AttachInterface => "attach_interface",
            OperationKind::DetachInterface => "detach_interface",
            OperationKind::ChangePassword => "changePassword",
            OperationKind::CrashDump => "trigger_crash_dump",
        }
    }

    /// The name of the event that shows the host's part of the work.
    pub fn event(self) -> &'static str {
        match self {
            OperationKind::Create => "compute__do_build_and_run_instance",
            OperationKind::Start => "compute_start_instance",
            OperationKind::Stop => "compute_stop_instance",
            OperationKind::SoftReboot | OperationKind::HardReboot => "compute_reboot_instance",
            OperationKind::Delete => "compute_terminate_instance",
            OperationKind::SoftDelete => "compute_soft_delete_instance",
            OperationKind::Restore => "compute_restore_instance",
            OperationKind::Migrate | OperationKind::Resize => "compute_resize_instance",
            OperationKind::LiveMigrate => "compute_live_migration",
            OperationKind::ConfirmResize => "compute_confirm_resize",
            OperationKind::RevertResize => "compute_revert_resize",
            OperationKind::Evacuate | OperationKind::Rebuild => "compute_rebuild_instance",
            OperationKind::Shelve => "compute_shelve_instance",
            OperationKind::Unshelve => "compute_unshelve_instance",
            OperationKind::Pause => "compute_pause_instance",
            OperationKind::Unpause => "compute_unpause_instance",
            OperationKind::Suspend => "compute_suspend_instance",
            OperationKind::Resume => "compute_resume_instance",
            OperationKind::Rescue => "compute_rescue_instance",
            OperationKind::Unrescue => "compute_unrescue_instance",
            OperationKind::CreateImage => "compute_snapshot_instance",
            OperationKind::CreateBackup => "compute_backup_instance",
            OperationKind::AttachInterface => "compute_attach_interface",
            OperationKind::DetachInterface => "compute_detach_interface",
            OperationKind::ChangePassword => "compute_set_admin_password",
            OperationKind::CrashDump => "compute_trigger_crash_dump",
        }
    }

    /// True if it copies the server's disk, and leaves its guest alone.
    pub fn is_snapshot(self) -> bool {
        matches!(self, Self::CreateImage | Self::CreateBackup)
    }

    /// Nova's `task_state` while it is under way.
    pub fn task_state(self) -> &'static str {
        match self {
            OperationKind::Create => "spawning",
            OperationKind::Start => "powering-on",
            OperationKind::Stop => "powering-off",
            OperationKind::SoftReboot => "rebooting",
            OperationKind::HardReboot => "rebooting_hard",
            OperationKind::Delete => "deleting",
            OperationKind::Restore => "restoring",
            OperationKind::Migrate | OperationKind::Resize => "resize_migrating",
            OperationKind::LiveMigrate => "migrating",
            OperationKind::ConfirmResize => "resize_confirming",
            OperationKind::RevertResize => "resize_reverting",
            OperationKind::Evacuate | OperationKind::Rebuild => "rebuilding",
            OperationKind::Shelve => "shelving",
            OperationKind::Unshelve => "unshelving",
            OperationKind::Pause => "pausing",
            OperationKind::Unpause => "unpausing",
            OperationKind::Suspend => "suspending",
            OperationKind::Resume => "resuming",
            OperationKind::Rescue => "rescuing",
            OperationKind::Unrescue => "unrescuing",
            OperationKind::CreateImage => "image_uploading",
            OperationKind::CreateBackup => "image_backup",
            // The request ends these at once, so no server is ever seen in them.
            OperationKind::SoftDelete => "soft-deleting",
            OperationKind::AttachInterface => "attaching_interface",
            OperationKind::DetachInterface => "detaching_interface",
            OperationKind::ChangePassword => "updating_password",
            OperationKind::CrashDump => "interrupting",
        }
    }

    /// How long its host may take, in seconds, before it counts as failed.
    pub fn deadline_s(self) -> i64 {
        match self {
            OperationKind::Create
            | OperationKind::Evacuate
            | OperationKind::Rebuild
            | OperationKind::Rescue
            | OperationKind::Unshelve => 1_800,
            OperationKind::Shelve | OperationKind::CreateImage | OperationKind::CreateBackup => SHELVE_S_MAX,
            OperationKind::Start
            | OperationKind::Restore
            | OperationKind::HardReboot
            | OperationKind::Unrescue
            | OperationKind::Suspend
            | OperationKind::Resume => 600,
            OperationKind::Pause | OperationKind::Unpause => 120,
            OperationKind::Stop | OperationKind::SoftReboot => 300,
            OperationKind::Delete => 600,
            // The deadline of the operation's migration counts instead.
            OperationKind::Migrate
            | OperationKind::LiveMigrate
            | OperationKind::Resize
            | OperationKind::RevertResize => MOVE_S_MAX,
            OperationKind::ConfirmResize
            | OperationKind::SoftDelete
            | OperationKind::AttachInterface
            | OperationKind::DetachInterface
            | OperationKind::ChangePassword
            | OperationKind::CrashDump => 600,
        }
    }
}

/// How long a disk may take to become an image, in seconds.
pub const SHELVE_S_MAX: i64 = 3_600;

/// How long a move may take, in seconds.
pub const MOVE_S_MAX: i64 = 3 * 3600;

/// The result of an operation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// When.
    pub at: Timestamp,
    /// The cause of the failure; `None` if it succeeded.
    pub failure: Option<String>,
}

record! {
    /// An operation.
    pub struct Operation: OperationId {
        /// The server it is done to.
        pub server_id: ServerId,
        /// The server's project.
        pub project_id: ProjectId,
        /// The action.
        pub action: OperationKind,
        /// The request that asked for it.
        pub request_id: String,
        /// The user who asked.
        pub user_id: Option<UserId>,
        /// The host that does it.
        #[serde(default)]
        pub host_id: Option<HostId>,
        /// Until when it must be done.
        pub deadline: Timestamp,
        /// The result; `None` while the operation is under way.
        #[serde(default)]
        pub outcome: Option<Outcome>,
    }
}

impl Operation {
    /// The key of the operation among those that ended. The keys sort a server's operations by their start.
    pub fn past_key(&self) -> String {
        format!("{}/{:020}/{}", self.server_id, self.created_at.0, self.id)
    }
}
