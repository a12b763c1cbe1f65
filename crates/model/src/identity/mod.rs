//! Keystone's nouns: projects, users, groups, roles, the catalog and tokens.

pub mod access_rule;
pub mod application_credential;
pub mod catalog;
pub mod domain;
pub mod grant;
pub mod group;
pub mod project;
pub mod role;
pub mod token;
pub mod trust;
pub mod user;

pub use access_rule::AccessRule;
pub use application_credential::ApplicationCredential;
pub use catalog::{Endpoint, Interface, Region, Service};
pub use domain::Domain;
pub use grant::{Actor, RoleAssignment, Target};
pub use group::{Group, Membership};
pub use project::Project;
pub use role::{Role, RoleInference};
pub use token::{Proof, Revocation};
pub use trust::Trust;
pub use user::User;
