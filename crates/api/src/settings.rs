//! An operator's settings and their defaults. Names of times end in their unit.

use lenticular_model::image::Quota;
use serde::Deserialize;
use std::num::NonZeroU32;

/// The settings, as tables of a TOML file.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Images and their bytes.
    pub images: ImageSettings,
    /// Log-ins.
    pub security_compliance: SecurityCompliance,
    /// Metrics.
    pub metrics: MetricsSettings,
    /// Consoles.
    pub console: ConsoleSettings,
    /// Servers.
    pub compute: ComputeSettings,
}

/// Servers, under Nova's names.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ComputeSettings {
    /// How long a deleted server can be restored, in seconds; 0 deletes servers at once.
    pub reclaim_instance_interval: u32,
}

/// Guests' consoles in browsers.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ConsoleSettings {
    /// How long the URL of a console can be used, in seconds.
    pub token_life_s: NonZeroU32,
    /// Sites whose pages may open consoles, as a browser names them (`https://dashboard.example`). The cloud's own pages
    /// always may.
    pub allowed_origins: Vec<String>,
}

impl Default for ConsoleSettings {
    fn default() -> Self {
        Self { token_life_s: NonZeroU32::MIN.saturating_add(599), allowed_origins: Vec::new() }
    }
}

/// Log-ins, under Keystone's names.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SecurityCompliance {
    /// The number of wrong passwords that locks an account; without a value, accounts are never locked.
    pub lockout_failure_attempts: Option<u32>,
    /// How long the account stays locked after the last wrong password, in seconds.
    pub lockout_duration: i64,
    /// How many of a user's last passwords a new one must differ from when the user changes it. Without a value, a
    /// user may take an old password again.
    pub unique_last_password_count: Option<u32>,
}

impl SecurityCompliance {
    /// How many of the last passwords a new one must differ from; 0 is none.
    pub fn unique(&self) -> usize {
        self.unique_last_password_count.unwrap_or_default().min(UNIQUE_MAX) as usize
    }
}

/// The most passwords that a new one is compared with: each comparison costs a hashing.
const UNIQUE_MAX: u32 = 24;

impl Default for SecurityCompliance {
    fn default() -> Self {
        Self { lockout_failure_attempts: None, lockout_duration: 1_800, unique_last_password_count: None }
    }
}

/// Metrics.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MetricsSettings {
    /// True requires an operator's token at `/metrics`. By default every client that reaches the port can read
    /// the metrics.
    pub require_token: bool,
}

/// Images and their bytes.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ImageSettings {
    /// MiB of images that a project may have; -1 is no limit.
    pub image_size_total: i64,
    /// MiB that a project may have staged for import; -1 is no limit. Images are uploaded, so nothing is ever
    /// staged.
    pub image_stage_total: i64,
    /// Images that a project may have; -1 is no limit.
    pub image_count_total: i64,
    /// Uploads that a project may have in progress; -1 is no limit.
    pub image_count_uploading: i64,
    /// MiB of the disk that uploads leave free, so that the store on the same disk always has room. By default a
    /// tenth of the disk, at most 1,024.
    pub reserve_mb: Option<u64>,
}

impl Default for ImageSettings {
    fn default() -> Self {
        Self {
            image_size_total: -1,
            image_stage_total: -1,
            image_count_total: -1,
            image_count_uploading: -1,
            reserve_mb: None,
        }
    }
}

impl ImageSettings {
    /// Bytes of the disk that uploads leave free, if the operator set them.
    pub fn reserve_bytes(&self) -> Option<u64> {
        self.reserve_mb.map(|mb| mb.saturating_mul(1 << 20))
    }

    /// The limits of every project.
    pub fn quota(&self) -> Quota {
        let limit = |number: i64| u64::try_from(number).ok();
        Quota {
            size_mib: limit(self.image_size_total),
            stage_mib: limit(self.image_stage_total),
            count: limit(self.image_count_total),
            uploading: limit(self.image_count_uploading),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_limited_unless_it_is_set() {
        assert_eq!(ImageSettings::default().quota(), Quota::default());
        let set = ImageSettings { image_size_total: 10, image_count_uploading: 0, ..Default::default() };
        assert_eq!(set.quota(), Quota { size_mib: Some(10), uploading: Some(0), ..Default::default() });
    }
}
