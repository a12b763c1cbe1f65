//! Finds the cloud and the credentials: from the environment or a clouds.yaml, as every OpenStack tool does.

use crate::CloudArgs;
use anyhow::{Context, Result, anyhow};
use serde::Deserialize;
use std::{collections::BTreeMap, env, fs, path::PathBuf};

/// The data for a log-in.
#[derive(Debug, Clone, Deserialize)]
pub struct Login {
    /// Keystone's URL.
    pub auth_url: String,
    /// The user.
    pub username: String,
    /// The password.
    pub password: String,
    /// The project.
    pub project_name: String,
    /// The user's domain.
    #[serde(default = "default_domain")]
    pub user_domain_name: String,
    /// The project's domain.
    #[serde(default = "default_domain")]
    pub project_domain_name: String,
}

fn default_domain() -> String {
    "Default".to_owned()
}

#[derive(Deserialize)]
struct Clouds {
    clouds: BTreeMap<String, Cloud>,
}

#[derive(Deserialize)]
struct Cloud {
    auth: Login,
}

/// Finds the requested cloud.
///
/// # Errors
/// No cloud is named; the message lists the searched places.
pub fn find(args: &CloudArgs) -> Result<Login> {
    let name = args.os_cloud.clone().or_else(|| env::var("OS_CLOUD").ok());
    if let (None, Some(login)) = (&name, from_environment()) {
        return Ok(login);
    }
    let name = name.unwrap_or_else(|| "lenticular".to_owned());
    let files = candidates(args);
    for file in files.iter().filter(|f| f.exists()) {
        let text = fs::read_to_string(file).with_context(|| format!("{} cannot be read", file.display()))?;
        let mut clouds: Clouds = serde_norway::from_str(&text)
            .with_context(|| format!("{} cannot be read as a clouds.yaml", file.display()))?;
        if let Some(cloud) = clouds.clouds.remove(&name) {
            return Ok(cloud.auth);
        }
    }
    let looked: Vec<String> = files.iter().map(|f| f.display().to_string()).collect();
    Err(anyhow!(
        "no cloud '{name}' in any of {}. Name the data directory with --data, or set OS_CLIENT_CONFIG_FILE.",
        looked.join(", ")
    ))
}

fn from_environment() -> Option<Login> {
    let var = |name: &str| env::var(name).ok().filter(|v| !v.is_empty());
    Some(Login {
        auth_url: var("OS_AUTH_URL")?,
        username: var("OS_USERNAME")?,
        password: var("OS_PASSWORD")?,
        project_name: var("OS_PROJECT_NAME")?,
        user_domain_name: var("OS_USER_DOMAIN_NAME").unwrap_or_else(default_domain),
        project_domain_name: var("OS_PROJECT_DOMAIN_NAME").unwrap_or_else(default_domain),
    })
}

fn candidates(args: &CloudArgs) -> Vec<PathBuf> {
    let named = env::var_os("OS_CLIENT_CONFIG_FILE").map(PathBuf::from);
    let home = env::var_os("HOME").map(|home| PathBuf::from(home).join(".config/openstack/clouds.yaml"));
    let mut files: Vec<PathBuf> = named.into_iter().collect();
    files.push(args.data.join("clouds.yaml"));
    files.push(PathBuf::from("clouds.yaml"));
    files.extend(home);
    files.push(PathBuf::from("/etc/openstack/clouds.yaml"));
    files
}
